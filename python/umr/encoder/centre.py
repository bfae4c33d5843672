"""Centring: what mining, retrieval and training subtract from an encoder's vectors; estimated once for an encoder, and kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from umr._rust import Records
from umr.config import MineConfig
from umr.data.corpus_langs import Languages, corpus_languages
from umr.data.embeddings import Embeddings
from umr.data.queries import Queries
from umr.encoder.encode import encode
from umr.encoder.encoder import DualEncoder
from umr.encoder.means import FEWEST, SHRINK, Means, Numbers, SideMeans, Vectors, estimate, filled, read_means, whitening_of, write_means
from umr.encoder.rows import Side
from umr.layout import WorkLayout
from umr.manifest import checksums, digest, read_manifest, require_whole, write_manifest
from umr.progress import Bar, Reporter

BLOCK = 65536  # vectors that are read at once
SHOWN = 12  # languages that a message names

Rows = NDArray[np.uint32]
Coded = tuple[Sequence[str], Numbers | None]
"""Language codes, and for each text the place of its own [n]; none where all have one mean."""


def means_for(
    passages: Records, queries: Queries, encoder: DualEncoder, layout: WorkLayout, config: MineConfig, reporter: Reporter
) -> Means | None:
    """The means that this encoder's vectors are centred with in a work folder: read, or estimated once and kept.

    An encoder that was trained with means brings them along. They are taken as they are, unless means of another kind, or
    (where `centre` is set) of other texts, are asked for: the same means then, at whatever is searched with this encoder.

    Arguments:
        passages, queries: the work folder's own, whatever else will be searched.
        encoder: of both sides.
        layout: where vectors and means are kept.
        config: `centre`, and how the vectors are made.
        reporter: shows what is made.

    Returns:
        the means, or None where nothing is centred.
    """
    texts = {"passages": passages.fingerprint, "queries": queries.records.fingerprint}
    own = encoder.means
    asked = {**texts, **({"whiten": config.whiten} if config.whiten else {})}
    alike = own is not None and own.centre == config.centre and asked.items() <= own.made_from.items()
    if own is not None and (config.centre == "off" or (alike and own.made_from.get("whiten", 0.0) == config.whiten)):
        reporter.say(f"centring with the means that the encoder was trained with ({own.centre})")
        return own
    if config.centre == "off":
        return None
    stores = {
        "passage": encode(passages, encoder, "passage", layout, config, reporter),
        "query": encode(queries.records, encoder, "query", layout, config, reporter),
    }
    made_from: dict[str, Any] = {"centre": config.centre, **asked} | {f"{side}_vectors": s.folder.name for side, s in stores.items()}
    if config.whiten:
        made_from |= {"shrink": SHRINK, "moments": "of each side"}
    coded: dict[str, Coded] = dict.fromkeys(stores, ((), None))
    if config.centre == "language":
        languages = corpus_languages(passages, layout, reporter)
        codes, numbers = np.unique(queries.langs, return_inverse=True)
        coded = {"passage": (languages.codes, languages.numbers), "query": (codes.tolist(), numbers)}
        made_from |= {
            "passage_langs": languages.fingerprint,
            "query_langs": digest({"langs": queries.langs}),
            "fewest": FEWEST,
            "lacking": "moved",
        }
    return _kept(stores, coded, made_from, encoder, layout, reporter)


def _kept(
    stores: Mapping[str, Embeddings],
    coded: Mapping[str, Coded],
    made_from: Mapping[str, Any],
    encoder: DualEncoder,
    layout: WorkLayout,
    reporter: Reporter,
) -> Means:
    path = layout.means(digest(made_from)) / "means.safetensors"
    manifest = path.with_name("manifest.json")
    if manifest.exists():
        require_whole(manifest, read_manifest(manifest, "means"), "remove its folder: the means are estimated again")
        return read_means(path)
    with reporter.bar("estimating means", sum(store.rows for store in stores.values()), "vectors") as bar:
        sides = {side: estimate(_blocks(store, coded[side][1], bar), store.dimensions, coded[side][0]) for side, store in stores.items()}
    passages, queries = filled(sides["passage"], sides["query"]), filled(sides["query"], sides["passage"])
    means = Means(made_from["centre"], encoder.query.settings.similarity == "cosine", passages, queries, made_from)
    if "whiten" in made_from:
        with reporter.bar("estimating the whitening", sum(store.rows for store in stores.values()), "vectors") as bar:
            both = (_centred(stores[side], side, coded[side], means, bar) for side in get_args(Side))
            whitening = whitening_of(both, encoder.query.dimensions, made_from["whiten"])
        means = replace(means, whitening=whitening)
    write_means(path, means)
    write_manifest(manifest, "means", made_from, {"files": checksums(path)})
    return means


def _centred(store: Embeddings, side: Side, coded: Coded, means: Means, bar: Bar) -> Iterator[Vectors]:
    codes, numbers = coded
    places = means.side(side).groups(codes)
    for vectors, here in _blocks(store, numbers, bar):
        yield means.apply(vectors, side, np.zeros(len(vectors), dtype=np.int64) if here is None else places[here])


def _blocks(store: Embeddings, numbers: Numbers | None, bar: Bar) -> Iterator[tuple[Vectors, Numbers | None]]:
    for start in range(0, store.rows, BLOCK):
        rows = np.arange(start, min(store.rows, start + BLOCK), dtype=np.uint32)
        yield store.read(rows), None if numbers is None else numbers[rows]
        bar.advance(len(rows))


def means_record(means: Means | None) -> dict[str, str]:
    """What a manifest says of the means that were used; nothing where nothing was centred."""
    return {"means": means.fingerprint} if means else {}


def passage_vectors(
    passages: Records, encoder: DualEncoder, layout: WorkLayout, config: MineConfig, reporter: Reporter, means: Means | None = None
) -> Embeddings:
    """The vectors that are searched: the encoder's own, or centred ones in a store of their own.

    Arguments:
        passages: any passages.
        encoder: of both sides.
        layout: where vectors and languages are kept.
        config: how the vectors are made.
        reporter: shows what is made.
        means: from `means_for`; None leaves the encoder's vectors as they are.

    Returns:
        finished embeddings, [n, d] in corpus order.
    """
    raw = encode(passages, encoder, "passage", layout, config, reporter)
    if means is None:
        return raw
    made_from: dict[str, Any] = {"vectors": raw.folder.name, "means": means.fingerprint, "side": "passage"}
    made_from |= {"dtype": raw.dtype, "shard_rows": raw.shard_rows}
    languages = languages_for(means, passages, layout, reporter)
    if languages:
        made_from["langs"] = languages.fingerprint
    folder = layout.embeddings / digest(made_from)[:16]
    store = Embeddings(folder, made_from, raw.rows, raw.dimensions, raw.dtype, raw.shard_rows)
    if store.complete:
        return store
    if languages:
        _say_unseen(means.passages, languages.counts(), "passages", reporter)
    groups = passage_groups(means, passages, languages)
    with reporter.bar("centring passages", raw.rows, "vectors") as bar:

        def centre(rows: Rows) -> Vectors:
            vectors = np.empty((len(rows), raw.dimensions), dtype=np.float32)
            for start in range(0, len(rows), BLOCK):
                some = rows[start : start + BLOCK]
                vectors[start : start + BLOCK] = means.apply(raw.read(some), "passage", groups[some])
                bar.advance(len(some))
            return vectors

        store.fill(centre, bar)
    return store


def passage_groups(means: Means, passages: Records, languages: Languages | None) -> NDArray[np.int64]:
    """For each passage the row of its mean in `means.passages.table`: [n]. Global means need no languages."""
    if languages is None:
        return np.zeros(len(passages), dtype=np.int64)
    return means.passages.groups(languages.codes)[languages.numbers]


def languages_for(means: Means, passages: Records, layout: WorkLayout, reporter: Reporter) -> Languages | None:
    """The languages of passages where the means are those of languages."""
    return corpus_languages(passages, layout, reporter) if means.centre == "language" else None


def query_vectors(
    queries: Queries, encoder: DualEncoder, layout: WorkLayout, config: MineConfig, reporter: Reporter, means: Means | None = None
) -> Vectors:
    """The queries' vectors, centred where there are means.

    Arguments:
        queries: any queries.
        encoder, layout, config, reporter, means: as in `passage_vectors`.

    Returns:
        [Q, d] float32.
    """
    raw = encode(queries.records, encoder, "query", layout, config, reporter).read()
    return centred_queries(raw, queries.langs, means, reporter)


def centred_queries(vectors: Vectors, langs: Sequence[str], means: Means | None, reporter: Reporter | None = None) -> Vectors:
    """Query vectors that were made elsewhere, centred where there are means.

    Arguments:
        vectors: [m, d] float32, as the query encoder makes them.
        langs: m language codes.
        means: from `means_for`.
        reporter: told of languages without a mean.

    Returns:
        [m, d] float32.
    """
    if means is None:
        return vectors
    if means.centre == "language" and reporter:
        _say_unseen(means.queries, Counter(langs), "queries", reporter)
    return means.apply(vectors, "query", means.queries.groups(langs))


def _say_unseen(means: SideMeans, counts: Mapping[str, int], what: str, reporter: Reporter) -> None:
    unseen = Counter({code: count for code, count in counts.items() if code not in means.langs})
    if unseen:
        named = ", ".join(f"{code} {count:,}" for code, count in unseen.most_common(SHOWN)) + (", ..." if len(unseen) > SHOWN else "")
        reporter.say(f"{unseen.total():,} {what} get the mean over all languages, theirs have none (fewer than {FEWEST} texts): {named}")
