"""Files are whole or absent: what a full disk, a missing permission or an error in the middle leaves behind."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from umr.errors import FormatError, InputError, StorageError, UmrError
from umr.storage import beside, read_json, storage_error, write_json


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "file.json"
    write_json(path, {"old": 1})
    return path


def test_a_file_is_replaced_whole(kept: Path) -> None:
    write_json(kept, {"new": "é", "b": [1, 2]})
    assert read_json(kept) == {"new": "é", "b": [1, 2]}
    assert kept.read_text(encoding="utf-8") == '{\n  "new": "é",\n  "b": [\n    1,\n    2\n  ]\n}\n'
    assert list(kept.parent.iterdir()) == [kept]


def test_what_a_killed_process_left_goes_after_an_hour(kept: Path) -> None:
    old, fresh, other = (kept.parent / name for name in (".file.json.7.part", ".file.json.8.part", ".other.json.7.part"))
    for left in (old, fresh, other):
        left.mkdir()
        (left / "half").write_text("of")
    for left in (old, other):
        os.utime(left, (1, 1))
    write_json(kept, {"new": 1})
    assert sorted(kept.parent.iterdir()) == sorted([kept, fresh, other])


class BrokenError(Exception):
    """Anything that goes wrong while a file is written."""


def test_an_error_in_the_middle_leaves_the_old_file(kept: Path) -> None:
    with pytest.raises(BrokenError), beside(kept) as temporary:  # noqa: PT012
        temporary.write_text("half of")
        raise BrokenError
    assert read_json(kept) == {"old": 1}
    assert list(kept.parent.iterdir()) == [kept]


def test_a_value_that_is_no_json_leaves_the_old_file(kept: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(kept, {"score": float("nan")})
    assert read_json(kept) == {"old": 1}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    for content in ("one", "two"):
        with beside(folder) as temporary:
            temporary.mkdir()
            (temporary / content).write_text(content)
        assert [p.name for p in folder.iterdir()] == [content]
    with pytest.raises(BrokenError), beside(folder) as temporary:  # noqa: PT012
        temporary.mkdir()
        (temporary / "three").write_text("three")
        raise BrokenError
    assert [p.name for p in folder.iterdir()] == ["two"]
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_so(kept: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync", full) if step == "fsync" else (Path, "replace", full)))
    with pytest.raises(StorageError, match="no space left on the device while writing") as caught:
        write_json(kept, {"new": 1})
    assert str(kept) in caught.value.message
    assert "finished work is kept" in caught.value.hint
    assert read_json(kept) == {"old": 1}
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.ENOSPC, StorageError, "no space left"),
        (errno.EDQUOT, StorageError, "no space left"),
        (errno.EACCES, StorageError, "no permission"),
        (errno.EROFS, StorageError, "no permission"),
        (errno.ENOENT, InputError, "No such file"),
        (errno.EISDIR, InputError, "Is a directory"),
        (errno.EIO, StorageError, "Input/output error"),
    ],
)
def test_every_error_of_the_system_becomes_ours(number: int, kind: type[UmrError], words: str) -> None:
    error = storage_error(OSError(number, os.strerror(number)), Path("/folder/file"))
    assert type(error) is kind
    assert words in error.message
    assert "/folder/file" in error.message


def test_an_error_of_the_system_in_the_words_of_a_library_is_known(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no space left") as caught, beside(tmp_path / "weights", 5_000_000):
        raise RuntimeError("while serializing: No space left on device (os error 28)")
    assert "MB free, 5.0 MB needed" in caught.value.message
    with pytest.raises(RuntimeError, match="something else"), beside(tmp_path / "weights"):
        raise RuntimeError("something else")


def test_a_rename_is_flushed_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash of the machine would lose is the name, which stands in the folder."""
    real, flushed = os.fsync, list[tuple[int, bool]]()

    def watched(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, (tmp_path / "made" / "file.json").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_json(tmp_path / "made" / "file.json", {})
    assert ((tmp_path / "made").stat().st_ino, True) in flushed, "the folder was not flushed after the rename"
    assert ((tmp_path / "made" / "file.json").stat().st_ino, False) in flushed, "the file was not flushed before it"


def test_a_folder_that_is_a_file_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UmrError, match="file"):
        write_json(tmp_path / "file" / "below.json", {})


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{\n\n x", ":3: not valid JSON"), (b"\xff", "not valid JSON"), (b"3", "found int"), (b"", ":1: not valid JSON")],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "work.json"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_json(path)
    assert str(path) in caught.value.message
    assert words in caught.value.message


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_json(tmp_path / "absent.json")


APPEND = """
import numpy as np, sys
from umr._rust import ScoreLog
from umr.errors import StorageError
log = ScoreLog.create(sys.argv[1], "a store")
for n in range(1000):
    keys = np.full((3, 2), n, dtype=np.uint64)
    keys[:, 1] = range(3)
    try:
        log.append(keys, keys, np.full(3, -n, dtype=np.float32))
    except StorageError as error:
        print(n)
        print(error.message)
        break
"""


def test_scores_survive_a_device_that_takes_no_more(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: what was appended before is there, nothing else is."""
    import numpy as np

    from umr._rust import merge_stores

    path = tmp_path / "segment.scores"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # noqa: E731
    ran = subprocess.run(
        [sys.executable, "-c", APPEND, str(path)], capture_output=True, text=True, check=True, preexec_fn=limit, env=ENVIRONMENT
    )
    appended, message = int(ran.stdout.splitlines()[0]), ran.stdout.splitlines()[1]
    assert str(path) in message
    assert appended > 10
    keys = np.array([(n, i) for n in range(appended + 1) for i in range(3)], dtype=np.uint64)
    tables, (counts,), _ = merge_stores([("a store", [str(path)])], keys, keys, np.arange(len(keys), dtype=np.uint32)[:, None])
    scores = tables.reshape(-1)
    assert scores[:-3].tolist() == [-n for n in range(appended) for _ in range(3)]
    assert np.isnan(scores[-3:]).all()
    assert counts["records"] == 3 * appended


ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2] / "python"), os.environ.get("PYTHONPATH", "")])
}
