"""R@2kt and R@5kt of XOR-Retrieve (Asai et al. 2021, arXiv 2010.11856) as its official script computes them.

Predictions are what that script takes, one JSON list of `{"id", "lang", "ctxs": [text, ...]}`, and gold is XOR-TyDi JSONL with answers.
The mean is over the predictions of a language, whose code is the prediction's own, and the score the plain mean over languages:
a question without a prediction is not counted, which is said here.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

from umr.errors import FormatError, InputError
from umr.evaluate.token_limit import within, word_tokenizer
from umr.progress import Reporter
from umr.storage import read_lines

LIMITS = {"R@2kt": 2000, "R@5kt": 5000}
NO_SPAN = ("yes", "no")  # answers that no passage has to hold
FORM = 'expected one JSON list of {"id": "...", "lang": "...", "ctxs": ["passage text", ...]}'
AT_ONCE = 200  # questions from which on every core is used
TITLED = re.compile(r"\s*(title\s*:|[^\n]{1,100}(\n|\[SEP\]|</s>))", re.IGNORECASE)


@dataclass(frozen=True)
class Gold:
    """A question's language and its answers."""

    lang: str
    answers: tuple[str, ...]

    @property
    def spans(self) -> tuple[str, ...]:
        """The answers that a passage has to hold: not yes and no."""
        return tuple(answer for answer in self.answers if answer not in NO_SPAN)


@dataclass(frozen=True)
class Prediction:
    """What was found for a question: texts of passages, best first, without titles."""

    id: str
    lang: str
    ctxs: tuple[str, ...]


@dataclass(frozen=True)
class XorScore:
    """Scores by language, in percent.

    Arguments:
        counted: language -> predictions that count.
        hits: metric -> language -> those with an answer in their first tokens.
        reachable: language -> those with an answer that tokenising does not take apart.
    """

    counted: Mapping[str, int]
    hits: Mapping[str, Mapping[str, int]]
    reachable: Mapping[str, int]

    def data(self) -> dict[str, Any]:
        """As the official script has it: metric -> macro mean, and count and score of each language."""
        return {name: {"macro": self.macro(row), "languages": self._languages(row)} for name, row in self.hits.items()}

    def _languages(self, row: Mapping[str, int]) -> dict[str, dict[str, float]]:
        return {lang: {"counted": n, "score": row[lang] / n * 100} for lang, n in self.counted.items()}

    def macro(self, row: Mapping[str, int]) -> float:
        """The plain mean over languages of a row of counts, in percent."""
        return mean(row[lang] / n * 100 for lang, n in self.counted.items())


def read_gold(path: Path) -> dict[str, Gold]:
    """Questions with answers: XOR-TyDi JSONL, plain or gzip-compressed.

    Raises:
        InputError: no question in it.
        FormatError: a line is no object with id, lang and a list of answers; names the line.
    """
    found: dict[str, Gold] = {}
    for line, text in read_lines(path):
        try:
            row = json.loads(text)
            answers = row["answers"]
            if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
                raise TypeError("answers is no list of texts")
            found[str(row["id"])] = Gold(str(row["lang"]).strip(), tuple(answers))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}:{line}: {error}", 'expected {"id", "question", "lang", "answers": [...]} a line') from None
    if not found:
        raise InputError(f"{path}: no question in the file", "name the questions with their answers")
    return found


def read_predictions(path: Path) -> list[Prediction]:
    """Predictions in the official form, plain or gzip-compressed.

    Raises:
        FormatError: another form; names the record.
    """
    try:
        rows = json.loads("".join(text for _, text in read_lines(path)))
    except ValueError as error:
        raise FormatError(f"{path}: not valid JSON ({error})", FORM) from None
    if not isinstance(rows, list):
        raise FormatError(f"{path}: a JSON {type(rows).__name__}, no list", FORM)
    return [_prediction(path, number, row) for number, row in enumerate(rows)]


def _prediction(path: Path, number: int, row: Any) -> Prediction:
    form = {"id": str, "lang": str, "ctxs": list}
    wrong = [name for name, kind in form.items() if not isinstance(row, dict) or not isinstance(row.get(name), kind)]
    if wrong:
        raise FormatError(f"{path}: record {number}: {wrong[0]} is missing or no {form[wrong[0]].__name__}", FORM)
    if not all(isinstance(text, str) for text in row["ctxs"]):
        raise FormatError(f"{path}: record {number} (id {row['id']!r}): a passage is no text", FORM + ", without titles and scores")
    return Prediction(row["id"], row["lang"], tuple(row["ctxs"]))


def xor_score(predictions: Sequence[Prediction], gold: Mapping[str, Gold], reporter: Reporter) -> XorScore:
    """Score predictions; what looks wrong in them is said.

    Raises:
        InputError: no prediction is of a question with a span answer.
        MissingExtraError: NLTK or its table is not installed.
    """
    asked = [p for p in predictions if p.id in gold and gold[p.id].spans]
    if not asked:
        raise InputError(
            f"none of the {len(predictions):,} predictions is of a question with an answer", "do both files have the same ids?"
        )
    for warning in doubts(predictions, gold):
        reporter.warn(warning)
    found = _all_within([(p.ctxs, gold[p.id].spans) for p in asked])
    of = {name: Counter(p.lang for p, hits in zip(asked, found, strict=True) if hits[at]) for at, name in enumerate(LIMITS)}
    reachable = Counter(p.lang for p in asked if any(map(survives, gold[p.id].spans)))
    return XorScore(Counter(p.lang for p in asked), of, reachable)


def _all_within(asked: Sequence[tuple[tuple[str, ...], tuple[str, ...]]]) -> list[list[bool]]:
    """Whether each question's passages hold an answer within each limit; on every core where there are many."""
    word_tokenizer()  # once, before there are processes
    cores = len(os.sched_getaffinity(0))
    if len(asked) < AT_ONCE or cores == 1:
        return [_within(one) for one in asked]
    with warnings.catch_warnings(), ProcessPoolExecutor(cores, get_context("fork")) as pool:
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads: the children tokenise and nothing else
        return list(pool.map(_within, asked, chunksize=max(1, len(asked) // (4 * cores))))


def _within(one: tuple[tuple[str, ...], tuple[str, ...]]) -> list[bool]:
    return within(*one, tuple(LIMITS.values()))


def survives(answer: str) -> bool:
    """Whether an answer stands in a text as it is tokenised: at its end, in its midst, or alone."""
    return any(answer in " ".join(word_tokenizer()(text)) for text in (f"It is {answer} that is meant", f"It is {answer}", answer))


def doubts(predictions: Sequence[Prediction], gold: Mapping[str, Gold]) -> list[str]:
    """What in predictions lowers or bends the score, each with its number of cases."""
    ids = Counter(p.id for p in predictions)
    known = [p for p in predictions if p.id in gold]
    most = max(LIMITS.values())
    few = sum(sum(len(text.split()) for text in p.ctxs) < most for p in known)
    texts = [p.ctxs[0] for p in known if p.ctxs]
    titled = sum(bool(TITLED.match(text)) for text in texts)
    cases = {
        "questions with an answer have no prediction: the official score leaves them out": sum(
            bool(g.spans) and q not in ids for q, g in gold.items()
        ),
        "predictions are of questions that the gold file does not have: left out": len(predictions) - len(known),
        "questions are predicted more than once: each counts": sum(n > 1 for n in ids.values()),
        "predictions name another language than the gold file: they count for the one they name": sum(
            p.lang != gold[p.id].lang for p in known
        ),
        f"predictions have fewer than {most:,} words: more passages could only help (50 to 100 of 100 words)": few,
        "predictions seem to have the title before the text: the official score is of the text alone": titled * (2 * titled > len(texts)),
    }
    return [f"{count:,} {what}" for what, count in cases.items() if count]
