"""A usearch HNSW graph over a store of embeddings: built with all threads, written whole, opened without being read."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from umr.data.embeddings import Embeddings
from umr.errors import MismatchError
from umr.layout import near_index
from umr.manifest import checksums, read_manifest, require_same, require_whole, write_manifest
from umr.progress import Reporter
from umr.search.equal_vectors import equal_pairs, hashes
from umr.search.lists import Floats, Rows
from umr.search.reader import Reader, not_finite
from umr.search.space import Space, space_for
from umr.storage import beside, storage_error

NEIGHBOURS = 16  # of a passage; twice as many on the lowest level
BUILD_EXPANSION = 128  # passages looked at where one is put in
BLOCK_ROWS = 16384  # read at a time
ADDED_ROWS = 512  # put in between two looks at Ctrl-C
FILES = ("index.usearch", "centre.npy", "equal.npy")
HINT = "remove the folder: the index is built again"


@dataclass(frozen=True)
class Recall:
    """What a sample of queries showed.

    Arguments:
        k: length of the lists.
        expansion: passages that the search looks at.
        recall: mean share of the exact k best that was found; a passage with the same score counts as found.
        queries: size of the sample.
        of: whose vectors were asked for: queries, or passages where there were too few queries.
    """

    k: int
    expansion: int
    recall: float
    queries: int
    of: Literal["queries", "passages"]


@dataclass(frozen=True)
class Graph:
    """An opened graph.

    Arguments:
        passages: the embeddings that it was built over.
        index: usearch's, mapped.
        space: how vectors enter it.
        equal: [m, 2] rows that it holds, and rows with the same vector that it does not.
        measured: what is known of its recall.
        manifest: `made_from` and the rest.
    """

    passages: Embeddings
    index: Any
    space: Space
    equal: Rows
    measured: list[Recall] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)

    def remember(self, recall: Recall) -> None:
        """Keep a measurement in place of those of the same k."""
        self.measured[:] = sorted([m for m in self.measured if m.k != recall.k] + [recall], key=lambda m: m.k)
        contents = {k: v for k, v in self.manifest.items() if k not in ("format", "kind", "made_from")}
        contents["recall"] = [asdict(m) for m in self.measured]
        write_manifest(near_index(self.passages.folder) / "manifest.json", "hnsw", self.manifest["made_from"], contents)


def open_graph(passages: Embeddings) -> Graph | None:
    """The graph over a store, or None where none was finished.

    Raises:
        MismatchError: it belongs to other embeddings, or a file is not the one that was written.
    """
    folder = near_index(passages.folder)
    path = folder / "manifest.json"
    if not path.exists():
        return None
    manifest = read_manifest(path, "hnsw")
    require_same(path, "the index was made", manifest["made_from"], _made_from(passages), HINT)
    for name in FILES:  # usearch itself trusts every byte
        require_whole(path, manifest, HINT, name)
    centre = np.load(folder / "centre.npy", allow_pickle=False)
    space = Space(centre, manifest["largest"], manifest["augmented"], manifest["scale"], manifest["dtype"])
    index = _empty(space, manifest["connectivity"], manifest["expansion_add"])
    try:
        index.view(str(folder / FILES[0]))
    except RuntimeError as error:
        raise MismatchError(f"{folder / FILES[0]}: usearch cannot open it ({error})", HINT) from error
    equal = np.load(folder / "equal.npy", mmap_mode="r", allow_pickle=False)
    return Graph(passages, index, space, equal, [Recall(**m) for m in manifest["recall"]], manifest)


def build_graph(passages: Embeddings, queries: Floats, k: int, threads: int, reporter: Reporter) -> Graph:
    """Build the graph and put it beside the vectors. Killed meanwhile, nothing is left, and the next call builds it anew.

    Arguments:
        passages: finished embeddings.
        queries: [m, d] some queries: what is stored must keep their best apart.
        k: how many passages a query will want.
        threads: 0 takes all. With more than one the graph is another each time, for passages enter in no fixed order.
        reporter: shows the progress.

    Raises:
        ScoreError: a vector is not finite.
        StorageError: the index cannot be written.
    """
    reader, rows = Reader(passages), np.arange(passages.rows, dtype=np.uint32)
    hashed, shortest, longest = _looked_through(reader, rows, reporter)
    equal = equal_pairs(passages, hashed)
    space = space_for(reader.sample(rows), queries, shortest, longest, k)
    index = _empty(space, NEIGHBOURS, BUILD_EXPANSION)
    _fill(index, reader, np.delete(rows, equal[:, 1]), space, threads, reporter)
    folder = near_index(passages.folder)
    with beside(folder) as temporary:
        temporary.mkdir()
        _save(index, temporary / FILES[0])
        np.save(temporary / "centre.npy", space.centre, allow_pickle=False)
        np.save(temporary / "equal.npy", equal, allow_pickle=False)
        contents: dict[str, Any] = {
            "dtype": space.kind, "connectivity": NEIGHBOURS, "expansion_add": BUILD_EXPANSION, "scale": space.scale,
            "largest": space.largest, "augmented": space.augmented, "equal": len(equal),
            "files": checksums(*(temporary / name for name in FILES)), "recall": [],
        }  # fmt: skip
        write_manifest(temporary / "manifest.json", "hnsw", _made_from(passages), contents)
    graph = open_graph(passages)
    if graph is None:
        raise MismatchError(f"{folder} was removed while it was written", "run it again")
    return graph


def _made_from(passages: Embeddings) -> dict[str, Any]:
    return {"embeddings": passages.identity, "rows": passages.rows, "dimensions": passages.dimensions}


def _looked_through(reader: Reader, rows: Rows, reporter: Reporter) -> tuple[NDArray[np.uint64], float, float]:
    """Hashes [n] of all passages, and the least and the largest |p|^2."""
    hashed, shortest, longest = np.empty(len(rows), dtype=np.uint64), np.inf, 0.0
    with reporter.bar("looking for equal passages", len(rows), "passages") as bar:
        for part, vectors in reader.chunks(rows, BLOCK_ROWS):
            bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            if len(bad):
                raise not_finite(int(part[bad[0]]))
            lengths = np.square(vectors, dtype=np.float64).sum(axis=1)
            shortest, longest = min(shortest, float(lengths.min())), max(longest, float(lengths.max()))
            hashed[part] = hashes(vectors)
            bar.advance(len(part))
    return hashed, shortest, longest


def _empty(space: Space, connectivity: int, expansion: int) -> Any:
    from usearch.index import Index

    return Index(
        ndim=space.dimensions, metric="l2sq", dtype=space.kind, connectivity=connectivity, expansion_add=expansion,
        enable_key_lookups=False,
    )  # fmt: skip


def _fill(index: Any, reader: Reader, rows: Rows, space: Space, threads: int, reporter: Reporter) -> None:
    with reporter.bar(f"building the index ({space.kind})", len(rows), "passages") as bar:
        for part, vectors in reader.chunks(rows, BLOCK_ROWS):
            placed = space.of_passages(vectors)
            for at in range(0, len(part), ADDED_ROWS):
                index.add(part[at : at + ADDED_ROWS].astype(np.uint64), placed[at : at + ADDED_ROWS], threads=threads)
                bar.advance(len(part[at : at + ADDED_ROWS]))


def _save(index: Any, path: Path) -> None:
    try:
        index.save(str(path))
    except RuntimeError as error:  # usearch's own words for a full disk, among others
        free = shutil.disk_usage(path.parent).free
        raise storage_error(OSError(28 if free < 1 << 20 else 5, str(error)), path) from error
