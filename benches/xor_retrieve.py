"""The official score of XOR-Retrieve beside the plain way: every passage tokenised by NLTK, one question after the other.

The predictions are the two sets of `shared/data/xor/official`, 735 questions with 29 to 32 passages each. The plain way looks at the first
5,000 tokens alone, ours at the first 2,000 and the first 5,000. Both begin with NLTK loaded and without any passage remembered.

Equality: counts and hits of every language. Target: 10 times the speed.

    .venv/bin/python benches/xor_retrieve.py [--check]    about a minute on 2 cores
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from benches.harness import REPOSITORY, DiffersError, Report, bench, parser, require_file, require_package, timed

FACTOR = 10.0
FILES = {
    "afriqa_mixed": ("afriqa_train.retrieve_eng_span.jsonl",),
    "xor_dev_mixed": ("xor-retrieve", "xor_dev_retrieve_eng_span_v1_1.jsonl.gz"),
}


def main(args: argparse.Namespace, report: Report) -> None:
    """Time both, after their results were compared."""
    from dataclasses import asdict

    from umr.evaluate import token_limit
    from umr.evaluate.xor_retrieve import Gold, Prediction, read_gold, read_predictions, xor_score
    from umr.progress import Silent

    require_package("nltk", "nltk")
    table = require_file("data", "nltk_data", "tokenizers", "punkt_tab", "english", "abbrev_types.txt")
    os.environ["NLTK_DATA"] = str(table.parents[3])
    sys.path.append(str(REPOSITORY / "tests"))
    plain = import_module("reference.xor_retrieve")

    found: list[Prediction] = []
    gold: dict[str, Gold] = {}
    for name, questions in FILES.items():
        found += read_predictions(require_file("data", "xor", "official", f"{name}.pred.json.gz"))
        gold |= read_gold(require_file("data", "xor", *questions))
    token_limit.word_tokenizer()
    rows, answers = [asdict(one) for one in found], {name: one.answers for name, one in gold.items()}

    def ours() -> object:
        for remembered in (token_limit._tokens, token_limit.bounds):
            remembered.cache_clear()
        return xor_score(found, gold, Silent()).data()["R@5kt"]

    fast, mine = timed(ours, 3)
    slow, theirs = timed(lambda: plain.score(rows, answers, 5000), 1, lambda: None)
    if json.dumps(mine) != json.dumps(theirs):
        raise DiffersError(f"the scores differ: {mine} and {theirs}")
    passages = sum(len(one.ctxs) for one in found)
    report.row(questions=len(found), passages=passages, ours_s=round(fast, 2), plain_s=round(slow, 2), ratio=round(slow / fast, 1))
    report.target("times the speed of the plain way", slow / fast, FACTOR)


if __name__ == "__main__":
    raise SystemExit(bench(parser(__doc__), main))
