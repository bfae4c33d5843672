"""Benchmarks whose published files have a form of their own, which is written once, in a folder of the cache, as umr reads it.

LAReQA (Roy et al. 2020, arXiv 2004.05484): the sentences of all languages, each with its paragraph, are candidates for the questions of all
languages; relevant is, in every language that has the question, the sentence in which its answer begins.
MKQA (Longpre et al. 2021, arXiv 2007.15207) as mContriever's evaluation takes it (Izacard et al. 2022, arXiv 2112.09118).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from umr.errors import FormatError, InputError, MismatchError
from umr.manifest import checksums, digest
from umr.models import cache_folder
from umr.progress import Reporter
from umr.storage import beside, read_json, read_lines

Row = dict[str, str]
LAREQA = {
    "xquad-r": {
        "ar": (1190, 1222), "de": (1190, 1276), "el": (1190, 1234), "en": (1190, 1180), "es": (1190, 1215), "hi": (1190, 1244),
        "ru": (1190, 1219), "th": (1190, 852), "tr": (1190, 1167), "vi": (1190, 1209), "zh": (1190, 1196),
    },
    "mlqa-r": {
        "ar": (517, 2545), "de": (512, 2362), "en": (1148, 6264), "es": (500, 1787), "hi": (507, 2426), "vi": (511, 2828),
        "zh": (504, 2322),
    },
}  # fmt: skip
"""Questions and candidates of each language, from its README."""
LAREQA_FORM = 'expected {"data": [{"paragraphs": [{"context", "qas", "sentences", "sentence_breaks"}]}]} of google-research-datasets/lareqa'
MKQA_FORM = 'expected {"example_id", "queries": {LANG: text}, "answers": {"en": [{"type", "text", "aliases"}]}} a line'
MKQA = "6,619 of 10,000 questions count, with 172,094 queries in 26 languages"
NO_SPAN = ("unanswerable", "binary", "long_answer")  # types of answers that no passage has to hold
WRONG = (KeyError, TypeError, ValueError, AttributeError, RecursionError)  # what another form leads to


def convert_lareqa(part: str, files: Sequence[Path]) -> tuple[Path, int]:
    """The folder with passages.jsonl, queries.jsonl and qrels.txt, and the number of passages.

    Arguments:
        part: xquad-r or mlqa-r.
        files: LANG.json of every language.

    Raises:
        FormatError: a file is damaged or has another form, or an answer is in no sentence; names the place.
        MismatchError: questions or sentences of a language are not as many as were published.
    """
    passages, queries, relevant = list[Row](), dict[str, Row](), dict[str, dict[str, None]]()
    for path in files:
        place = str(path)
        try:
            for number, row in enumerate(one for article in read_json(path)["data"] for one in article["paragraphs"]):
                place = f"{path}: paragraph {number}"
                _read_paragraph(row, path.stem, number, passages, queries, relevant)
        except WRONG as error:
            raise FormatError(f"{place}: {_why(error)}", LAREQA_FORM) from None
    for lang in sorted({*LAREQA[part], *(path.stem for path in files)}):
        texts, asked = [p["text"] for p in passages if p["lang"] == lang], sum(q["lang"] == lang for q in queries.values())
        known = LAREQA[part].get(lang, (0, 0))  # the README does not say whether it counts equal candidates once
        if known not in ((asked, len(texts)), (asked, len(set(texts)))):
            what = f"{lang} has {asked:,} questions and {len(texts):,} sentences, published are {known[0]:,} and {known[1]:,}"
            raise MismatchError(f"{files[0].parent}: {what}", "fetch the files again")
    lines = (f"{query} 0 {passage} 1\n" for query in queries for passage in relevant[query.rpartition("_")[0]])
    made = {"passages.jsonl": _jsonl(passages), "queries.jsonl": _jsonl(queries.values()), "qrels.txt": "".join(lines)}
    return _made_once(f"lareqa-{part}", files, made), len(passages)


def _read_paragraph(
    row: Any, lang: str, number: int, passages: list[Row], queries: dict[str, Row], relevant: dict[str, dict[str, None]]
) -> None:
    context, sentences, breaks = _text(row, "context"), row["sentences"], row["sentence_breaks"]
    if len(sentences) != len(breaks):
        raise ValueError(f"{len(sentences)} sentences and {len(breaks)} sentence_breaks")
    passages += [{"id": f"{lang}:{number}:{at}", "text": sentence + " " + context, "lang": lang} for at, sentence in enumerate(sentences)]
    for one in row["qas"]:
        name = _text(one, "id")
        if f"{name}_{lang}" in queries or len(name.split()) != 1 or not one["answers"]:
            raise ValueError(f"question {name!r} is there twice, has white space in its id or has no answer")
        queries[f"{name}_{lang}"] = {"id": f"{name}_{lang}", "query": _text(one, "question"), "lang": lang}
        for answer in one["answers"]:
            relevant.setdefault(name, {})[f"{lang}:{number}:{_sentence(answer, breaks, name)}"] = None


def _sentence(answer: Any, breaks: Sequence[tuple[int, int]], name: str) -> int:
    """The sentence in which an answer begins, without white space before it; between two sentences, the one that it reaches into."""
    text, start = _text(answer, "text"), answer["answer_start"]
    first, end = start + len(text) - len(text.lstrip()), start + len(text)
    found = next((at for at, (begin, after) in enumerate(breaks) if first < after and begin < end), None)
    if start < 0 or found is None:
        raise ValueError(f"question {name!r}: the answer {text!r} at {start} is in no sentence of {breaks}")
    return found


def convert_mkqa(path: Path, reporter: Reporter) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """The queries as JSONL, ids `EXAMPLE_LANG`, the languages of a question beside each other; and the answers of each.

    Arguments:
        path: mkqa.jsonl.gz, packed or not.
        reporter: told how many questions count, and warned where the published file has others.

    Raises:
        FormatError: a line is no JSON, or has another form; names it.
        InputError: no question counts.
    """
    queries, answers, total = dict[str, Row](), dict[str, tuple[str, ...]](), dict[str, bool]()
    for line, text in read_lines(path):
        try:
            row = json.loads(text)
            name, own = str(row["example_id"]), _english_answers(row["answers"]["en"])
            if name in total:
                raise ValueError(f"example_id {name} is there twice")
            total[name] = bool(own)
            for query, lang in ((f"{name}_{lang}", lang) for lang in row["queries"] if own):
                queries[query], answers[query] = {"id": query, "query": _text(row["queries"], lang), "lang": lang}, own
        except WRONG as error:
            raise FormatError(f"{path}:{line}: {_why(error)}", MKQA_FORM) from None
    langs = len({one["lang"] for one in queries.values()})
    what = f"{sum(total.values()):,} of {len(total):,} questions count, with {len(queries):,} queries in {langs} languages"
    if not queries:
        raise InputError(f"{path}: {what}", MKQA_FORM)
    (reporter.say if what == MKQA else reporter.warn)(f"{path}: {what}" + ("" if what == MKQA else f"; published: {MKQA}"))
    return _made_once("mkqa", [path], {"queries.jsonl": _jsonl(queries.values())}) / "queries.jsonl", answers


def _english_answers(rows: Any) -> tuple[str, ...]:
    """Texts and aliases of the answers that passages can hold; as in mContriever's script none where the last answer is another one."""
    counts = [_text(one, "type") not in NO_SPAN for one in rows]
    if not counts:
        raise ValueError("no English answer")
    held = (one for one, there in zip(rows, counts, strict=True) if there and counts[-1])
    return tuple(dict.fromkeys(_text({"answer": text}, "answer") for one in held for text in (one["text"], *(one.get("aliases") or ()))))


def _text(row: Any, key: str) -> str:
    if not isinstance(row[key], str) or not row[key].strip():
        raise ValueError(f"{key} is no text but {str(row[key])[:80]!r}")
    return str(row[key])


def _why(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def _jsonl(rows: Iterable[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _made_once(name: str, files: Sequence[Path], made: Mapping[str, str]) -> Path:
    """A folder of files that were made of others, under the digest of those."""
    folder = cache_folder().parent / "converted" / f"{name}-{digest(checksums(*files))[:16]}"
    if not folder.is_dir():
        with beside(folder) as temporary:
            temporary.mkdir()
            for file, text in made.items():
                (temporary / file).write_text(text, encoding="utf-8")
    return folder
