"""Files that are whole or absent: written beside their place, flushed, renamed; JSON and lines of text read with good errors."""

from __future__ import annotations

import errno
import glob
import gzip
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from umr._rust import fingerprint
from umr.errors import FormatError, InputError, MissingExtraError, StorageError, UmrError

FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_NUMBER = 19  # digits of a whole number in JSON of ours: what fits 64 bits
MODELS_NUMBER = 31  # and in files of models: transformers writes 10^30 where a tokenizer has no longest text
STALE = 3600.0  # seconds without a write after which an unfinished file belongs to a process that was killed


def storage_error(error: OSError, path: Path, doing: str = "use", size: int = 0) -> UmrError:
    """The error a user should see for a failed read or write (`doing`) of `path`, which takes `size` bytes where that is known."""
    if error.errno in FULL:
        return StorageError(
            f"no space left on the device while writing {path}: {_room(path, size)}",
            "free some space and run it again: finished work is kept",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StorageError(f"no permission to {doing} {path}", "check the permissions of the file and of its folder")
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return InputError(f"{path}: {error.strerror or error}", "check the path")
    return StorageError(f"{path}: {error.strerror or error}")


def _room(path: Path, size: int) -> str:
    folder = next((folder for folder in path.absolute().parents if folder.exists()), Path("/"))
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free" + (f", {size / 1e6:,.1f} MB needed" if size else "")


def _error_of_the_system(error: Exception) -> OSError | None:
    """What the system told a compiled library, whose message ends with it: `No space left on device (os error 28)`."""
    number = None if isinstance(error, UmrError) else re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


@contextmanager
def beside(path: Path, size: int = 0) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Arguments:
        path: the file or folder that is to exist afterwards, whole.
        size: bytes that it takes, where that is known; for the message about a full disk.

    Yields:
        the path to write to.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    # Processes of several machines may have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        _flush(temporary)
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        rename(temporary, path)
    except OSError as error:
        raise storage_error(error, path, "write", size) from error
    except Exception as error:
        told = _error_of_the_system(error)
        if told is None:
            raise
        raise storage_error(told, path, "write", size) from error
    finally:
        remove(temporary)


@contextmanager
def text_beside(path: Path) -> Iterator[IO[str]]:
    """A text file that is written as `beside` does, UTF-8, lines ended by a newline; compressed where its name ends in .gz."""
    how: dict[str, Any] = {"encoding": "utf-8", "newline": "\n"}
    with beside(path) as temporary, gzip.open(temporary, "wt", **how) if path.suffix == ".gz" else temporary.open("w", **how) as handle:
        yield handle


def _sweep(path: Path) -> None:
    """Remove what killed processes left beside a path: unfinished files that are not written to for an hour."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with suppress(OSError):  # another process may remove it at the same time
            if time.time() - left.stat().st_mtime > STALE:
                remove(left)


def rename(path: Path, to: Path) -> None:
    """Rename a file or a folder so that it lasts: the folders of both names are flushed."""
    path.replace(to)
    for folder in {path.parent, to.parent}:
        _flush_one(folder)


def _flush(path: Path) -> None:
    mask = os.umask(0o077)
    os.umask(mask)
    for one in [path, *path.rglob("*")]:
        if one.is_file():
            one.chmod(0o666 & ~mask)  # safetensors writes for its owner alone
        _flush_one(one)


def _flush_one(path: Path) -> None:
    """Flush a file or the names in a folder to the device."""
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # of file systems that cannot flush a folder
            raise
    finally:
        os.close(file)


def remove(path: Path) -> None:
    """Remove a file or a folder, where it is there and as far as that can be done."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # the error that brought us here is the one to show
            path.unlink(missing_ok=True)


def canonical(value: Any) -> str:
    """A JSON value as the one text that stands for it: keys sorted, no white space.

    Raises:
        ValueError, RecursionError: it holds what JSON of ours never holds: NaN, half a surrogate pair, nesting without end.
    """
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":"))
    text.encode("utf-8")
    return text


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object whole, two-space indented, keys in their order, UTF-8."""
    with beside(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path, digits: int = LONGEST_NUMBER) -> dict[str, Any]:
    """Read a JSON object.

    Arguments:
        path: the file.
        digits: of the longest whole number that it may have.

    Raises:
        InputError: there is no such file.
        FormatError: it is not a JSON object, or one with numbers, texts or nesting that nothing of ours has; the message names path
            and line.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_int=partial(_whole_number, digits))
        canonical(value)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits and deep nesting too
        line = getattr(error, "lineno", 1)
        raise FormatError(f"{path}:{line}: not valid JSON ({error})", "the file is damaged: remove it and run the stage again") from error
    if not isinstance(value, dict):
        raise FormatError(f"{path}:1: expected a JSON object, found {type(value).__name__}")
    return value


def _whole_number(most: int, digits: str) -> int:
    if len(digits) > most:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file, plain or gzip-compressed (by content, not by name), that are not blank, numbered from 1.

    Arguments:
        path: the file, UTF-8, with or without a byte order mark.

    Raises:
        InputError: the file cannot be read, or is a pipe.
        FormatError: the bytes are not UTF-8, or the gzip stream is torn.
    """
    line = 0
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is no regular file but a pipe or a device, which can be read only once", "write it to a file first")
    try:
        with path.open("rb") as start:
            packed = start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as handle:
            for line, raw in enumerate(handle, start=1):
                text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
                if text.strip():
                    yield line, text
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}:{line}: not UTF-8 at byte {error.start} of the line", "save the file as UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(f"{path}: torn gzip stream: {error}", "fetch the file again") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}", "check the path") from None


def is_remote(name: str) -> bool:
    """Whether a name is that of an object in a store: `s3://BUCKET/KEY`."""
    return re.match(r"[a-z][a-z0-9+.-]+://", name) is not None


def _store(url: str) -> tuple[Any, str]:
    """The store of an object, by fsspec, and the object's name there.

    Raises:
        MissingExtraError: fsspec, or its driver for this kind of store, is not installed.
    """
    try:
        import fsspec

        store, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise MissingExtraError(f"{url}: {error}", "pip install 'umr[remote]', or fsspec and the driver of this kind of store") from error
    return store, path


def fetched(url: str, folder: Path) -> list[Path]:
    """Objects of a store as files, copied once for each content, which the store tells by size, time or checksum.

    Arguments:
        url: of an object, or a glob.
        folder: where the copies are kept.

    Raises:
        InputError: there is no such object, or it cannot be read.
        MissingExtraError: fsspec or its driver is not installed.
        StorageError: the disk is full.
    """
    store, path = _store(url)
    hint = "check the address, and the credentials that fsspec's driver reads from the environment"
    try:
        names = sorted(store.glob(path)) if glob.has_magic(path) else [path]
        versions = [(name, f"{url.partition('://')[0]} {name} {store.ukey(name)}", store.info(name)["size"]) for name in names]
    except Exception as error:  # each driver has errors of its own
        raise InputError(f"{url} cannot be read ({type(error).__name__}: {error})", hint) from error
    if not names:
        raise InputError(f"no object at {url}", hint)
    copies = []
    for name, version, size in versions:
        place = folder / f"{fingerprint(version)[:16]}-{name.rpartition('/')[2]}"
        if not place.exists():
            with beside(place, size) as temporary:
                _copy(partial(store.get_file, name, str(temporary)), url, hint)
        copies.append(place)
    return copies


def put(path: Path, url: str) -> None:
    """Copy a file or a folder into a store.

    Raises:
        InputError: it cannot be written.
        MissingExtraError: fsspec or its driver is not installed.
    """
    store, there = _store(url)
    _copy(partial(store.put, str(path), there, recursive=path.is_dir()), url, "check the address, and whether you may write there")


def _copy(copy: Callable[[], object], url: str, hint: str) -> None:
    try:
        copy()
    except Exception as error:
        if _error_of_the_system(error) is not None:
            raise
        raise InputError(f"{url} cannot be copied ({type(error).__name__}: {error})", hint) from error
