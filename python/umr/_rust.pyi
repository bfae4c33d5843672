"""The compiled core: records, tokens, exact search, scores and sampling.

Arrays are borrowed in and must be C-contiguous of exactly the dtype named; anything else is a `UsageError` that says
what came. Arrays that come out are new. Long calls release the GIL and answer Ctrl-C with `KeyboardInterrupt`; none
of their arrays may be changed meanwhile. Where a `counter` is taken, it counts what is named there as it gets done.

Letters of shapes: n passages, Q queries, k candidates, B batch, C or c passages a query, L tokens, d dimensions,
m and b anything.
"""

from os import PathLike
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Counter",
    "Records",
    "ScoreLog",
    "TokenStore",
    "build_info",
    "file_digest",
    "fingerprint",
    "fingerprint_files",
    "merge_stores",
    "merge_topk",
    "permutation",
    "plan_batches",
    "sample_candidates",
    "search",
    "write_int8_shards",
]

@final
class Counter:
    """A number that a long call counts up and that another thread may read meanwhile."""

    def __new__(cls) -> Counter: ...
    @property
    def value(self) -> int:
        """What was counted since the counter was made."""

@final
class Records:
    """Passages or queries that stay in their memory-mapped files. Rows count from 0 over all files in order.

    The files must not change while the object lives.
    """

    @staticmethod
    def open(paths: list[str], kind: Literal["passages", "queries"], cache: str, counter: Counter | None = None) -> Records:
        """Open files of passages or queries: TSV or JSONL, gzip or not.

        Arguments:
            paths: files in order; the ending of a name tells the format (.tsv .txt .csv, .jsonl .json .ndjson), where
                it does not, the first letter does.
            kind: what the records are.
            cache: folder of unpacked copies and of the offset index, which is reused while the files are unchanged.
            counter: counts records.

        Raises:
            InputError: a missing or empty file.
            FormatError: anything else that is wrong with a record; names file and line.
            StorageError: the cache cannot be written.
        """

    @staticmethod
    def from_texts(ids: list[str], texts: list[str], langs: list[str]) -> Records:
        """Typed queries, in memory; the lists have equal lengths.

        Raises:
            InputError: no queries, a blank text, an empty id or one that occurs twice.
        """

    def __len__(self) -> int: ...
    @property
    def fingerprint(self) -> str:
        """Hexadecimal BLAKE3-256 of kind, reader version and unpacked content; independent of paths and times."""

    def counts(self) -> dict[str, int]:
        """Records with white space around the language, which was removed (`lang_trimmed`), `empty_passages`, and queries that
        name the passage that they were made from (`sources`).
        """

    def ids(self, rows: NDArray[np.uint32]) -> list[str]:
        """Ids of `rows` [m]."""

    def texts(self, rows: NDArray[np.uint32]) -> list[tuple[str, str]]:
        """(title, text) of `rows` [m]; queries have empty titles."""

    def langs(self, rows: NDArray[np.uint32]) -> list[str]:
        """Trimmed language codes of `rows` [m]; empty where the file has none."""

    def sources(self, rows: NDArray[np.uint32]) -> list[str]:
        """Ids of the passages that the queries in `rows` [m] were made from, as the file gives them; empty where it has none, and
        for passages.
        """

    def keys(self, rows: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """Content keys [m, 2] of `rows` [m]: 128 bits of BLAKE3 of title, 0x1f and text, or of a query's text."""

    def find(self, ids: list[str]) -> NDArray[np.int64]:
        """Rows [m] of `ids`, -1 where there is none."""

    def verify(self) -> list[str]:
        """Read every byte of the files again; what is not as it was read first, in words."""

    def locate(self, row: int) -> tuple[str, int]:
        """The path as it was given and the line, from 1, at which a record starts."""

@final
class TokenStore:
    """Ragged token ids on disk, made once for records, tokenizer and options."""

    @staticmethod
    def build(
        records: Records,
        tokenizer: str,
        folder: str,
        *,
        prefix: str,
        title: Literal["text", "pair", "none"],
        max_length: int,
        strip_question_mark: bool = False,
        counter: Counter | None = None,
    ) -> TokenStore:
        """Tokenise records into a folder, or open the folder when it holds exactly these tokens.

        Arguments:
            records: passages or queries.
            tokenizer: path of a tokenizer.json; its own padding and truncation are ignored.
            folder: where the store is, or will be.
            prefix: stands before the text, and before the title where the title comes first.
            title: "text" puts title and a space before the text, "pair" makes a pair of both, "none" drops the title;
                a record without a title is its text alone.
            max_length: most tokens a row, special ones included; cut on the right, the longest segment first.
            strip_question_mark: drop one trailing ASCII question mark and the white space around it.
            counter: counts records.

        Raises:
            InputError, FormatError: the tokenizer is missing or unreadable.
            UsageError: an unknown `title`, or a `max_length` without room for text.
            MismatchError: the folder holds other tokens.
            StorageError: the folder cannot be written, or holds a torn store.
        """

    @staticmethod
    def open(folder: str) -> TokenStore:
        """Open a finished store.

        Raises:
            InputError: there is none.
            StorageError: a file is missing, truncated or not the one that was written.
            MismatchError: it was written by another version.
        """

    def __len__(self) -> int: ...
    @property
    def fingerprint(self) -> str:
        """Hexadecimal name of records, tokenizer and options together."""

    def lengths(self, rows: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Tokens [m] of `rows` [m], special ones included."""

    def gather(self, rows: NDArray[np.uint32], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and attention mask, both [b, L], of `rows` [b], padded on the right with `pad` to the longest."""

@final
class ScoreLog:
    """A score segment open for appending, by one process."""

    @staticmethod
    def create(path: str | PathLike[str], store: str) -> ScoreLog:
        """Start a new segment.

        Arguments:
            path: of the segment.
            store: the name of its store; it is read as part of no other.

        Raises:
            StorageError: the file exists already or cannot be written.
        """

    def append(self, query_keys: NDArray[np.uint64], passage_keys: NDArray[np.uint64], scores: NDArray[np.float32]) -> None:
        """Append scores, all or none, and return once the device has them.

        Arguments:
            query_keys: [m, 2] content keys.
            passage_keys: [m, 2] content keys.
            scores: [m], all finite.

        Raises:
            ScoreError: a score is not finite; names its index.
            StorageError: the device is full or failed.
            UsageError: lengths differ, or the log is closed.
        """

    def close(self) -> None:
        """Close the file; closing again does nothing."""

def plan_batches(lengths: NDArray[np.uint32], budget: int, max_rows: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Batches of similar lengths.

    Arguments:
        lengths: [n] tokens a row.
        budget: most tokens a batch, padding included; a longer row is a batch of its own.
        max_rows: most rows a batch.

    Returns:
        rows [n], longest first and equal lengths by row, and bounds [b + 1]: batch i is
        `rows[bounds[i]:bounds[i + 1]]`.
    """

def search(
    queries: NDArray[np.float32],
    shards: list[tuple[str, int, int]],
    dtype: Literal["f32", "f16"],
    k: int,
    *,
    threads: int = 0,
    counter: Counter | None = None,
    only: NDArray[np.uint8] | None = None,
    int8_shards: list[str] = [],
    memory: int = 0,
    checkpoint: str | None = None,
    checkpoint_seconds: float = 30.0,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """The exact best passages of every query by inner product.

    The score is the sum of the exact products in f64, in a fixed order, rounded once to f32; the order is score down,
    then row up. The bytes depend neither on threads nor on the machine. Passages are screened in 8 bits, and left out
    only on a proof (docs/search.md).

    Arguments:
        queries: [Q, d].
        shards: (path, bytes before the rows, rows); the rows are little-endian, in C order, up to the end of the file.
        dtype: of the rows.
        k: at least 1.
        threads: 0 for all.
        counter: counts queries.
        only: [n] which passages are searched: those that are not 0; None for all.
        int8_shards: a path for each shard, as `write_int8_shards` wrote them; where there is none of the shard's size,
            its rows are quantised while they are searched.
        memory: bytes of working memory beside queries, results and mapped files; 0 for 1 GiB.
        checkpoint: a file that is written from time to time, that the same search goes on from, and removed in the end; where it
            cannot be written the search goes on without.
        checkpoint_seconds: seconds between two checkpoints.

    Returns:
        rows and scores, both [Q, width]: the width is min(k, n), or less where `only` leaves less to every query. Shorter
        lists end in row 2**32 - 1 with score -inf.

    Raises:
        ScoreError: a value or a score is not finite; names the row.
        StorageError: a file is not as long as its rows of d values.
    """

def write_int8_shards(
    shards: list[tuple[str, int, int]],
    dtype: Literal["f32", "f16"],
    dimensions: int,
    int8_shards: list[str],
    *,
    threads: int = 0,
    counter: Counter | None = None,
) -> None:
    """Write the int8 shards that exact search screens with.

    Arguments:
        shards, dtype: as for `search`.
        dimensions: d.
        int8_shards: a path for each shard.
        threads: 0 for all.
        counter: counts passages.

    Raises:
        ScoreError: a value is not finite; names the row.
        StorageError: a file cannot be written, a shard is not as long as its rows, or it changed meanwhile.
        UsageError: not a path for each shard.
    """

def merge_topk(rows: NDArray[np.uint32], scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Merge P partial lists of the same queries.

    Arguments:
        rows: [P, Q, width]; 2**32 - 1 stands for no passage.
        scores: [P, Q, width].
        k: at least 1.

    Returns:
        rows and scores, both [Q, min(k, the most different rows of a query)], score down, then row up. A row that
        occurs twice keeps its best score, once. Shorter lists end in row 2**32 - 1 with score -inf.

    Raises:
        ScoreError: a score of a passage is not finite.
    """

def merge_stores(
    stores: list[tuple[str, list[str]]],
    query_keys: NDArray[np.uint64],
    passage_keys: NDArray[np.uint64],
    rows: NDArray[np.uint32],
) -> tuple[NDArray[np.float32], list[dict[str, int]], list[list[tuple[PathLike[str], int | None]]]]:
    """The scores of candidates in M stores; query q wants `passage_keys[rows[q, j]]` for every j.

    Within a store the first record of a pair counts: segments in the order given, records in the order written. The
    bytes do not depend on threads. Beside the scores it takes about 12 bytes a passage and a query.

    Arguments:
        stores: name and score segments of each store.
        query_keys: [Q, 2] content keys; queries may share one.
        passage_keys: [n, 2] content keys; passages may share one.
        rows: [Q, k] rows of `passage_keys`; 2**32 - 1 stands for no passage.

    Returns:
        scores [M, Q, k], NaN where a store lacks the pair; the counts of each store: `records` read, segments that end
        `torn`, wanted pairs met again with the same score (`duplicates`) or with another (`conflicts`), a record once a
        query that wants it; of each store the segments with damaged records, which are left out, and how many: None where the
        header is damaged or another store's, so that all of the segment is left out.

    Raises:
        InputError: a file is missing.
        UsageError: shapes do not fit together, or a row names no passage.
    """

def sample_candidates(seed: int, step: int, queries: NDArray[np.uint32], counts: NDArray[np.uint32], c: int) -> NDArray[np.uint32]:
    """Draw positions [B, c] without replacement, decided by seed, step and query alone.

    Arguments:
        seed: of the run.
        step: every step draws anew.
        queries: [B] query rows.
        counts: [B] candidates of each, at least 1; where there are fewer than c, all come and then again in the
            same order.
        c: positions a query.
    """

def permutation(seed: int, epoch: int, n: int) -> NDArray[np.uint32]:
    """The numbers 0 to n - 1 in an order decided by seed and epoch: [n]."""

def fingerprint_files(paths: list[str], counter: Counter | None = None) -> str:
    """Hexadecimal BLAKE3-256 over the lengths and contents of files, in order. `counter` counts files.

    Raises:
        InputError: a file is missing.
    """

def file_digest(path: str) -> str:
    """Hexadecimal BLAKE3-256 of a file's content.

    Raises:
        InputError: the file is missing.
    """

def fingerprint(text: str) -> str:
    """Hexadecimal BLAKE3-256 of a text in UTF-8."""

def build_info() -> dict[str, str]:
    """`version`, `profile` ("release" or "debug"), `target`, processor `features` found, search `kernel`, `threads`."""
