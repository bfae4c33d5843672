"""Tokenising and padding beside the HF fast tokenizer: does the Rust token store pay, at first and in every later round?

Both sides turn the same 20,000 real passages of train-mix ("passage: " + title + text, e5's tokenizer, at most 512 tokens)
into padded NumPy batches, with all cores. The rival is `tokenizer(texts, padding=True, truncation=True, max_length=512,
return_tensors="np")`, 1,000 texts a call. Ours is TokenStore.build into a fresh folder and the gather of every
length-bucketed batch; later rounds are TokenStore.open and the gather. Medians of 3 after a warm-up.

Equality: the ids of every passage are identical in the gathered batches.

Targets: at least 3x the first time, at least 50x in later rounds, and less than 3 % of padding in a length-bucketed epoch
(sequential batches of 64 stand beside it).

    .venv/bin/python benches/tokens.py [--check]    about 1 minute on 2 cores; with --check, exit 0 exactly when the targets hold
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import DiffersError, Report, bench, parser, positive, require_model, timed
from benches.parts.inputs import E5, passages, sample, write_jsonl

if TYPE_CHECKING:
    from umr._rust import Records, TokenStore

PREFIX, LENGTH, CALL = "passage: ", 512, 1000
BUDGET, MAX_ROWS, SEQUENTIAL = 16_384, 1024, 64  # umr's own batches; the usual ones
Batches = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def options() -> argparse.ArgumentParser:
    """The options of this benchmark; the defaults are the stated cells."""
    made = parser(__doc__)
    made.add_argument("--passages", type=positive, default=20_000)
    return made


def main(args: argparse.Namespace, report: Report) -> None:
    """Time every engine, after their results were compared."""
    from umr._rust import Records, TokenStore

    tokenizer = _tokenizer()
    rows = sample(passages("train-mix"), args.passages)
    texts = [PREFIX + (f"{row['title']} {row['text']}" if row["title"] else row["text"]) for row in rows]
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        file, folder = Path(name) / "tokenizer.json", Path(name)
        file.write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
        path = write_jsonl(folder / "passages.jsonl", rows)
        records = Records.open([str(path)], "passages", str(folder / "cache"))
        theirs, rival = timed(lambda: _rival(tokenizer, texts), args.repeats)
        stores = (folder / f"store-{number}" for number in itertools.count())
        first, _ = timed(lambda: _first(records, str(file), next(stores), tokenizer.pad_token_id), args.repeats)
        later, batches = timed(lambda: _batches(TokenStore.open(str(folder / "store-0")), tokenizer.pad_token_id), args.repeats)
        store = TokenStore.open(str(folder / "store-0"))
        _require_same(store, batches, rival)
        _tell(report, store, theirs, first, later)


def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(require_model(E5))


def _rival(tokenizer: Any, texts: list[str]) -> list[Any]:
    return [
        tokenizer(texts[start : start + CALL], padding=True, truncation=True, max_length=LENGTH, return_tensors="np")
        for start in range(0, len(texts), CALL)
    ]


def _first(records: Records, tokenizer: str, folder: Path, pad: int) -> Batches:
    from umr._rust import TokenStore

    return _batches(TokenStore.build(records, tokenizer, str(folder), prefix=PREFIX, title="text", max_length=LENGTH), pad)


def _all_rows(store: TokenStore) -> NDArray[np.uint32]:
    return np.arange(len(store), dtype=np.uint32)


def _plan(store: TokenStore) -> Iterator[NDArray[np.uint32]]:
    from umr._rust import plan_batches

    rows, bounds = plan_batches(store.lengths(_all_rows(store)), BUDGET, MAX_ROWS)
    return (rows[start:end] for start, end in itertools.pairwise(bounds))


def _batches(store: TokenStore, pad: int) -> Batches:
    return [store.gather(rows, pad) for rows in _plan(store)]


def _require_same(store: TokenStore, batches: Batches, rival: list[Any]) -> None:
    """The ids of every passage: the gathered ones and the rival's."""
    found: dict[int, NDArray[np.int64]] = {}
    for rows, (ids, mask) in zip(_plan(store), batches, strict=True):
        found |= {int(row): ids[at, : mask[at].sum()] for at, row in enumerate(rows)}
    theirs = [ids[mask.astype(bool)] for call in rival for ids, mask in zip(call["input_ids"], call["attention_mask"], strict=True)]
    if not all(np.array_equal(found[row], ids) for row, ids in enumerate(theirs)):
        raise DiffersError("the token ids are not those of the HF tokenizer")


def _padding(lengths: NDArray[np.uint32], batches: Iterator[NDArray[np.uint32]]) -> float:
    padded = sum(len(rows) * int(lengths[rows].max()) for rows in batches)
    return 1 - int(lengths.sum()) / padded


def _tell(report: Report, store: TokenStore, theirs: float, first: float, later: float) -> None:
    rows = _all_rows(store)
    lengths = store.lengths(rows)
    tokens = int(lengths.sum())
    bucketed = _padding(lengths, _plan(store))
    sequential = _padding(lengths, (rows[start : start + SEQUENTIAL] for start in range(0, len(rows), SEQUENTIAL)))
    cells = (
        ("HF fast tokenizer", theirs, _padding(lengths, (rows[start : start + CALL] for start in range(0, len(rows), CALL)))),
        ("umr, first time", first, bucketed),
        ("umr, later rounds", later, bucketed),
    )
    for engine, seconds, padding in cells:
        report.row(**{
            "engine": engine, "seconds": seconds, "tokens/s": tokens / seconds, "x HF": theirs / seconds,
            "padding %": 100 * padding,
        })  # fmt: skip
    report.fact("passages and tokens", f"{len(store):,} and {tokens:,}, ids identical")
    report.fact("padding", f"length-bucketed {bucketed:.2%}, sequential batches of {SEQUENTIAL} {sequential:.2%}")
    report.target("first tokenising and padding, times the HF tokenizer", theirs / first, 3)
    report.target("later rounds, times the HF tokenizer", theirs / later, 50)
    report.target("padding of a length-bucketed epoch", bucketed, 0.03, at_least=False, strict=True)


if __name__ == "__main__":
    raise SystemExit(bench(options(), main))
