"""Damages each kind of file of a finished work folder and goes on with it in forks: `python every_file_forks.py FOLDER PLACES`.

FOLDER holds `bert` (an encoder), `llama` and `other` (language models) and `corpus`. PLACES are flipped and cut in each kind; 0 does
one damage to each kind, another one in turn. On stdout, a line of JSON a case as soon as it is over: `file`, `damage`, `place`, `code`
(the exit code of the fork, a signal as its negative number), `said` (the error or the traceback), `same` (whether the results are those
of the whole folder), `named` (whether the error names the file) and, of a flip, `seen` (whether `umr status --verify` names it). The
first line is of the folder without damage.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from umr.cli.status import status
from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.data import embeddings
from umr.data.workspace import Workspace, create_workspace, open_workspace
from umr.encoder import encode
from umr.encoder.load import load_encoder
from umr.errors import UmrError
from umr.label import scoring
from umr.label.scorers import causal  # noqa: F401 - loaded before the forks
from umr.mine import per_language, select, sources  # noqa: F401
from umr.progress import Silent
from umr.retrieve import search
from umr.train import loop

torch.set_num_threads(1)
stages = {name: import_module(f"umr.{name}") for name in ("mine", "label", "train")}
FOLDER = Path(sys.argv[1])
ENCODER = EncoderConfig(str(FOLDER / "bert"), pooling="mean", similarity="cosine")
MINE = MineConfig(top_k=4, shard_rows=20, batch_tokens=256, threads=1, centre="language", precision="fp32")
AGAIN = replace(MINE, store="f16")  # with vectors of its own: they are unfinished
NEAR = replace(MINE, index="hnsw", centre="off", precision="auto")
LABEL = LabelConfig(lm=str(FOLDER / "llama"), precision="fp32", batch_tokens=400)
OTHER = replace(LABEL, lm=str(FOLDER / "other"))
TRAIN = TrainConfig(epochs=1, batch_size=4, passages_per_query=2, learning_rate=1e-3, held_out=0.2, evaluations=2, precision="fp32")
Case = dict[str, Any]


class BrokenOffError(BaseException):
    """Stands for a kill."""


def broken_off(module: Any, name: str, calls: int, run: Callable[[], object]) -> None:
    """Run something until a function was called so often."""
    function, left = getattr(module, name), iter(range(calls))

    def counted(*arguments: Any, **options: Any) -> Any:
        if next(left, None) is None:
            raise BrokenOffError
        return function(*arguments, **options)

    setattr(module, name, counted)
    try:
        run()
    except BrokenOffError:
        pass
    finally:
        setattr(module, name, function)


def build(work: Path) -> None:
    """A round that is finished, one whose training is broken off, and an encoding and a labelling that are."""
    packed = work.with_name("passages.tsv.gz")
    packed.write_bytes(gzip.compress((FOLDER / "corpus" / "passages.tsv").read_bytes()))
    space = create_workspace(work, [str(packed)], [str(FOLDER / "corpus" / "queries.jsonl")], ENCODER)
    for number, config in ((0, MINE), (1, NEAR)):
        stages["mine"].mine(space, config, number)
        stages["label"].label(space, LABEL, number)
        if number == 0:
            stages["train"].train(space, TRAIN, number)
    search(space, "the river", which="first", index="hnsw")
    loop.CHECKPOINT_SECONDS = -1.0
    broken_off(loop, "batch_at", 2, lambda: stages["train"].train(space, TRAIN, 1))
    broken_off(encode, "encode_rows", 3, lambda: stages["mine"].mine(space, AGAIN, 0, force=True))
    broken_off(scoring, "score_within", 2, lambda: stages["label"].label(space, OTHER, 1, force=True))


def _mined(space: Workspace) -> bytes:
    return b"".join(stages["mine"].mine(space, config, n).rows.tobytes() for n, config in ((0, MINE), (1, NEAR)))


def _found(space: Workspace) -> bytes:
    kinds: list[tuple[Any, Any]] = [("first", "exact"), ("first", "hnsw"), (0, "exact"), (0, "hnsw")]
    return repr([search(space, "the old bridge of the king", which=which, index=index) for which, index in kinds]).encode()


def _labelled(space: Workspace) -> bytes:
    stages["label"].label(space, OTHER, 1, force=True)
    return space.layout.round(1).labels.read_bytes()


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


STEPS: dict[str, Callable[[Workspace], bytes]] = {
    "mined": _mined,
    "found": _found,
    "trained": lambda space: _weights(stages["train"].train(space, TRAIN, 1)),
    "labelled": _labelled,  # of the round that was trained just before
    "trained again": lambda space: _weights(stages["train"].train(space, TRAIN, 0, force=True)),
    "mined again": lambda space: stages["mine"].mine(space, AGAIN, 0, force=True).rows.tobytes(),
}
READERS = {
    r"round-\d/(candidates|mine)": ("mined", "trained", "labelled"),
    r"round-\d/label": ("trained", "trained again"),
    r"round-\d/plan|scores": ("labelled",),
    r"round-\d/training": ("trained",),
    r"round-\d/(encoder|train)": ("mined", "found"),
    r"corpus/(tokens|languages)|embeddings|lock": ("mined", "found", "trained", "trained again", "mined again"),
}
"""Kinds of files -> the steps that read them; every other kind goes through all steps."""


def results(work: Path, steps: tuple[str, ...]) -> dict[str, str]:
    """What some steps make of a work folder, as digests."""
    space = open_workspace(work)
    return {name: hashlib.sha256(STEPS[name](space)).hexdigest() for name in steps}


def kinds(work: Path) -> dict[str, list[Path]]:
    """The files of a work folder by kind: paths that differ in numbers and fingerprints alone are of one."""
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        name = path.relative_to(work)
        found.setdefault(re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{16}", "F", str(name))), []).append(name)
    return found


def damages(files: list[Path], work: Path, other: Path, places: int) -> Iterator[tuple[Path, str, int, bytes]]:
    """A file of a kind, how it is damaged, where, and its bytes then: flips, cuts, nothing left, and another file in its place."""
    draw = random.Random(str(files))
    for _ in range(places):
        name = draw.choice(files)
        whole = (work / name).read_bytes()
        if whole:
            at = draw.randrange(len(whole))
            yield name, "flip", at, whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
            yield name, "cut", at, whole[:at]
    name = draw.choice(files)
    yield name, "empty", 0, b""
    others = [work / one for one in files if one != name] + [other / name]
    swapped = next((path.read_bytes() for path in others if path.exists() and path.read_bytes() != (work / name).read_bytes()), None)
    if swapped is not None:
        yield name, "swap", 0, swapped


def in_copy(work: Path, name: Path, content: bytes, run: Callable[[Path], Any]) -> Case:
    """Run something in a fork with a copy of a work folder in which one file has another content, and its old time."""
    copy = work.with_name("copy")
    shutil.copytree(work, copy, copy_function=os.link)
    before = (work / name).stat()
    (copy / name).unlink()
    (copy / name).write_bytes(content)
    os.utime(copy / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _child(lambda: run(copy), writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    shutil.rmtree(copy)
    return {"said": "", "made": None, **(json.loads(said) if said else {}), "code": code}


def _child(run: Callable[[], Any], pipe: int) -> None:
    """Never returns."""
    case: Case = {}
    code = 3
    try:
        case["made"] = run()
        code = 0
    except UmrError as error:
        case["said"], code = error.message, error.exit_code
    except BaseException:
        case["said"] = traceback.format_exc()
    finally:
        os.write(pipe, json.dumps(case).encode())
        os._exit(code)


def verified(work: Path) -> str:
    """What `umr status --verify` says of a work folder that is damaged; empty where it finds nothing."""
    warned: list[str] = []
    reporter = Silent()
    reporter.warn = warned.append  # type: ignore[method-assign]
    try:
        found = status(work, reporter, verify_all=True)
    except UmrError as error:
        return " ".join([error.message, *warned])
    return " ".join(map(str, found.data["damaged"]))


def in_fork(run: Callable[[], object]) -> None:
    """Run in a fork, so that threads of the compiled core are never here."""
    pid = os.fork()
    if not pid:
        try:
            run()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(pid, 0)[1]:
        sys.exit("the work folder could not be made")


def case_of(work: Path, name: Path, damage: str, content: bytes, expected: Mapping[str, str]) -> Case:
    """Go on with a damaged work folder, and verify it."""
    steps = next((steps for form, steps in READERS.items() if re.match(form, str(name))), tuple(STEPS))
    case = in_copy(work, name, content, lambda copy: results(copy, steps))
    case["same"] = case.pop("made") == {step: expected[step] for step in steps}
    parts = (name.name, str(name.parent))
    case["named"] = any(part in case["said"] for part in parts)
    if damage in ("none", "flip"):
        status = in_copy(work, name, content, verified)
        case["seen"] = any(part in str(status["made"]) for part in parts)
        case["code"] = case["code"] or status["code"]
    return {"file": str(name), "damage": damage, **case}


def say(case: Case) -> None:
    """One line."""
    print(json.dumps(case), flush=True)  # noqa: T201


def main(places: int) -> None:
    encode.PIECE_TOKENS["cpu"], embeddings.KEEP_SECONDS = 96, 0.0
    load_encoder(ENCODER)  # and with it what every fork needs
    work, other = FOLDER / "one" / "work", FOLDER / "two" / "work"
    for place in (work, other):
        place.parent.mkdir()
        in_fork(lambda place=place: build(place))  # type: ignore[misc]
    found = kinds(work)
    first = found["work.json"][0]
    whole = (work / first).read_bytes()
    expected: dict[str, str] = {}
    for step in STEPS:
        made = in_copy(work, first, whole, lambda copy, step=step: results(copy, (step,)))  # type: ignore[misc]
        if made["code"]:
            sys.exit(f"{step}: {made['said']}")
        expected |= made["made"]
    say({**case_of(work, first, "none", whole, expected), "kinds": list(found)})
    for number, files in enumerate(found.values()):
        all_damages = list(damages(files, work, other, max(1, places)))
        for name, damage, place, content in all_damages if places else [all_damages[number % len(all_damages)]]:
            say({"place": place, **case_of(work, name, damage, content, expected)})


if __name__ == "__main__":
    main(int(sys.argv[2]))
