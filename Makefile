# `make` alone prints the targets. All set-up is scripts/setup.sh: repeated in under a second while nothing changed.

# The first shell of a fresh rustup has no cargo on its PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
PYTHON_BIN = .venv/bin/python

.PHONY: help demo test lint bench headline reproduce sanitize fuzz constraints clean distclean
.NOTPARALLEL:

help: ## Print the targets
	@echo "make TARGET, with"
	@sed -n 's/^\([a-z]*\): ## \(.*\)/\1\t\2/p' Makefile | while IFS='	' read -r name what; do printf '  %-12s %s\n' "$$name" "$$what"; done
	@echo "PYTHON=/path/to/python3 chooses the interpreter, TORCH_BACKEND=cpu the small torch without CUDA."

demo: ## Set up, then run the whole loop on the shipped corpus: mine, label, train, mine again, evaluate
	@sh scripts/setup.sh demo
	.venv/bin/umr demo

test: ## Set up, then run every Rust and Python test
	@sh scripts/setup.sh dev
	cargo test --locked
	$(PYTHON_BIN) -m pytest

lint: ## Set up, then check format, lints, types and the extension's stub
	@sh scripts/setup.sh dev
	$(PYTHON_BIN) -m ruff check
	$(PYTHON_BIN) -m ruff format --check
	$(PYTHON_BIN) -m mypy --strict
	$(PYTHON_BIN) -m mypy.stubtest umr._rust
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	PYO3_PYTHON="$(CURDIR)/$(PYTHON_BIN)" cargo clippy --locked --all-targets --features python -- -D warnings

bench: ## Set up, then run the benchmarks beside their rivals (about 45 minutes; quality.py, labels.py, centring.py and scale.py are apart)
	@sh scripts/setup.sh dev
	@for bench in benches/search.py benches/tokens.py benches/label.py benches/merge.py; do \
	  echo "==> $$bench" >&2; $(PYTHON_BIN) "$$bench" || exit 1; \
	done

headline: ## Set up, then train on pseudo labels and on gold from one start, three seeds (two hours on 2 cores; a killed run goes on)
	@sh scripts/setup.sh dev
	$(PYTHON_BIN) benches/headline.py --bm25 --fuse 0.25 --rows start umr gold --seeds 0 1 2 --rounds 1 --learning-rates 5e-5 --drops 0 \
	  --queries 800 --apart 300 --passages 2500 --k 8 --a-language 200 --centres language

reproduce: ## Set up, then run the command of a published figure and compare: make reproduce NAME=demo (without NAME: the names)
	@sh scripts/setup.sh dev
	$(PYTHON_BIN) benches/reproduce.py $(NAME)

sanitize: ## Run the tests of the unsafe code under AddressSanitizer (needs the nightly toolchain)
	ASAN_OPTIONS=detect_leaks=0 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/sanitize cargo +nightly test --locked --lib \
	  --target "$$(rustc -vV | sed -n 's/^host: //p')" -- search:: shards:: topk::

fuzz: ## Fuzz the readers for some minutes (needs the nightly toolchain and cargo-fuzz: cargo install cargo-fuzz)
	mkdir -p fuzz/target/corpus
	cd fuzz && cargo +nightly fuzz run records target/corpus corpus/records -- -max_total_time=$${SECONDS_OF_FUZZING:-300} -max_len=4096

constraints: ## Renew constraints.txt after an edit of pyproject.toml (UPGRADE=1: newest versions)
	@sh scripts/setup.sh constraints

clean: ## Remove what was built and cached; .venv stays
	rm -rf target fuzz/target fuzz/artifacts dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f python/umr/_rust.*.so
	find python tests benches -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: ## Remove .venv as well
	@$(MAKE) --no-print-directory clean
	rm -rf .venv
