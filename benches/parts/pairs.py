"""Real pairs to label: xquad-r's queries in 12 languages with their candidates among the English passages, mined by umr.

Groups are built so that each passage is shared by exactly so many queries. Passages are taken in corpus order, where the
paragraphs of an article stand together, and queries in one fixed random order, so that sibling passages share queries:
the rival, who goes query by query in batches, gets pairs of the same set.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benches.harness import UnavailableError, say
from benches.parts.inputs import E5, cache_folder, key_of, passages, queries, sample, write_jsonl, write_tsv

TOP = 10  # candidates a query
A_LANGUAGE = 100  # queries
BATCH = 4  # pairs of one query that the rival can take at once


@dataclass(frozen=True)
class Pair:
    """A query with a passage (its number in the mined file)."""

    query: str
    lang: str
    passage: int


@dataclass(frozen=True)
class Pool:
    """What was mined: English passages, and the pairs in order of query and rank."""

    texts: list[str]
    pairs: list[Pair]


def pool(a_language: int = A_LANGUAGE) -> Pool:
    """The mined pairs, from the cache folder where an earlier run left them."""
    from umr.storage import beside

    path = cache_folder() / f"pairs-{key_of('xquad-r')}-{a_language}-{TOP}.json"
    if not path.exists():
        found = _mine(a_language)
        with beside(path) as temporary:
            temporary.write_text(json.dumps(asdict(found), ensure_ascii=False), encoding="utf-8")
    value = json.loads(path.read_text(encoding="utf-8"))
    return Pool(value["texts"], [Pair(**pair) for pair in value["pairs"]])


def _mine(a_language: int) -> Pool:
    from umr.config import EncoderConfig, MineConfig
    from umr.data.workspace import create_workspace
    from umr.mine import mine
    from umr.progress.console import Console

    say(f"mining {TOP} candidates of {a_language} xquad-r queries a language with e5-small (once, about a minute)")
    english = [p for p in passages("xquad-r") if p["id"].startswith("en:")]
    asked = _queries(a_language)
    with tempfile.TemporaryDirectory(prefix="umr-bench-") as name:
        folder, reporter = Path(name), Console(quiet=True)
        files = [write_tsv(folder / "passages.tsv", english), write_jsonl(folder / "queries.jsonl", asked)]
        encoder = EncoderConfig(E5, title="none")  # the text alone, as the label prompt has it
        workspace = create_workspace(folder / "work", [str(files[0])], [str(files[1])], encoder, None, reporter)
        rows = mine(workspace, MineConfig(top_k=TOP, precision="auto"), reporter=reporter).rows
    pairs = [Pair(q["question"], q["lang"], int(row)) for q, found in zip(asked, rows, strict=True) for row in found]
    return Pool([p["text"] for p in english], pairs)


def _queries(a_language: int) -> list[dict[str, Any]]:
    by_lang: dict[str, list[dict[str, Any]]] = {}
    for row in queries("xquad-r"):
        by_lang.setdefault(row["lang"], []).append(row)
    return [row for rows in by_lang.values() for row in sample(rows, min(a_language, len(rows)))]


def by_passage(pairs: list[Pair]) -> list[list[Pair]]:
    """Pairs in groups of one passage."""
    found: dict[int, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.passage, []).append(pair)
    return list(found.values())


def groups(found: Pool, sharing: int, seed: int = 0) -> list[list[Pair]]:
    """Groups of exactly `sharing` pairs of one passage, in corpus order; passages that too few queries mined are left out.

    Raises:
        UnavailableError: no passage has so many.
    """
    asked = sorted({(p.query, p.lang) for p in found.pairs})
    random.Random(seed).shuffle(asked)
    place = {query: number for number, query in enumerate(asked)}
    every = sorted(by_passage(found.pairs), key=lambda group: group[0].passage)
    made = [sorted(group, key=lambda x: place[x.query, x.lang])[:sharing] for group in every]
    full = [group for group in made if len(group) == sharing]
    if not full:
        raise UnavailableError(f"no passage was mined by {sharing} queries: take more than the {len(asked)} queries")
    return full


def for_rival(chosen: list[list[Pair]], count: int, cost: dict[Pair, int], seed: int = 0) -> list[Pair]:
    """About `count` pairs of the groups, whole queries of up to 4 pairs one after another, of typical length.

    Arguments:
        chosen: the groups that are timed.
        count: pairs.
        cost: tokens of each whole pair; of 200 random draws the one with the nearest mean is taken.
        seed: of the draws.
    """
    by_query: dict[tuple[str, str], list[Pair]] = {}
    for pair in (p for group in chosen for p in group):
        by_query.setdefault((pair.query, pair.lang), []).append(pair)
    ranked = sorted(by_query.values(), key=lambda pairs: -min(BATCH, len(pairs)))
    most = min(BATCH, len(ranked[0]))
    queries = [q for q in ranked if min(BATCH, len(q)) == most]
    queries += ranked[len(queries) : max(len(queries), -(-count // most))]
    mean = _mean([p for group in chosen for p in group], cost)
    rng = random.Random(seed)
    draws = [[p for pairs in rng.sample(queries, len(queries)) for p in pairs[:BATCH]][:count] for _ in range(200)]
    return min(draws, key=lambda pairs: abs(_mean(pairs, cost) - mean))


def _mean(pairs: list[Pair], cost: dict[Pair, int]) -> float:
    return sum(cost[p] for p in pairs) / len(pairs)


def whole_lists(found: Pool, a_language: int, seed: int = 1) -> list[Pair]:
    """All candidates of so many queries a language, drawn at random."""
    asked = sorted({(p.lang, p.query) for p in found.pairs})
    random.Random(seed).shuffle(asked)
    taken: dict[str, int] = {}
    chosen = set()
    for lang, query in asked:
        taken[lang] = taken.get(lang, 0) + 1
        if taken[lang] <= a_language:
            chosen.add((query, lang))
    return [pair for pair in found.pairs if (pair.query, pair.lang) in chosen]
