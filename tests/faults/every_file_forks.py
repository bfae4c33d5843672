"""Damages each kind of file of a finished work folder and goes on with it in forks: `python every_file_forks.py FOLDER PLACES`.

FOLDER holds `bert` (an encoder), `llama` and `other` (language models) and `corpus`. On stdout: JSON of `kinds`, the files found by
listing the folder, and `cases`, a list of {`file`, `damage`, `place`, `code`: the exit code of the fork, a signal as its negative
number, `said`: the error or the traceback, `same`: whether the results are those of the whole folder, `named`: whether the error
names the file}.
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
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.data.workspace import create_workspace, open_workspace
from umr.encoder import encode
from umr.encoder.encoder import load_encoder
from umr.errors import UmrError
from umr.label import scoring
from umr.label.scorers import causal  # noqa: F401
from umr.mine import per_language, select, sources  # noqa: F401
from umr.retrieve import search
from umr.train import loop

torch.set_num_threads(1)
stages = {name: import_module(f"umr.{name}") for name in ("mine", "label", "train")}
FOLDER = Path(sys.argv[1])
MINE = MineConfig(top_k=4, shard_rows=20, batch_tokens=256, threads=1, centre="language", precision="fp32")
AGAIN = replace(MINE, store="f16")  # with vectors of its own: they are unfinished
NEAR = replace(MINE, index="hnsw", centre="off", precision="auto")
LABEL = LabelConfig(lm=str(FOLDER / "llama"), precision="fp32", pack_tokens=400)
OTHER = replace(LABEL, lm=str(FOLDER / "other"))
TRAIN = TrainConfig(epochs=1, batch_size=8, passages_per_query=2, learning_rate=1e-3, held_out=0.2, evaluations=2, precision="fp32")
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
    encoder = EncoderConfig(model=str(FOLDER / "bert"), pooling="mean", similarity="cosine")
    space = create_workspace(work, [str(packed)], [str(FOLDER / "corpus" / "queries.jsonl")], encoder)
    for number, config in ((0, MINE), (1, NEAR)):
        stages["mine"].mine(space, config, number)
        stages["label"].label(space, LABEL, number)
        if number == 0:
            stages["train"].train(space, TRAIN, number)
    search(space, "the river", number=0, index="hnsw")
    loop.CHECKPOINT_SECONDS = -1.0
    broken_off(loop, "batch_at", 4, lambda: stages["train"].train(space, TRAIN, 1))
    broken_off(encode, "encode_rows", 3, lambda: stages["mine"].mine(space, AGAIN, 0, force=True))
    broken_off(scoring, "score_within", 2, lambda: stages["label"].label(space, OTHER, 1, force=True))


def results(work: Path) -> dict[str, str]:
    """What every stage makes of a work folder, as digests."""
    space = open_workspace(work)
    found = {f"mined {n}": stages["mine"].mine(space, config, n).rows.tobytes() for n, config in ((0, MINE), (1, NEAR))}
    for number, index in ((0, "exact"), (0, "hnsw"), (1, "exact")):
        hits = search(space, "the old bridge of the king", number=number, index=index)  # type: ignore[arg-type]
        found[f"hits {number} {index}"] = repr(hits).encode()
    found["trained"] = _weights(stages["train"].train(space, TRAIN, 1))
    stages["label"].label(space, OTHER, 1, force=True)
    found["labels"] = space.layout.round(1).labels.read_bytes()
    found["trained again"] = _weights(stages["train"].train(space, TRAIN, 0, force=True))
    found["mined again"] = stages["mine"].mine(space, AGAIN, 0, force=True).rows.tobytes()
    return {name: hashlib.sha256(value).hexdigest() for name, value in found.items()}


def _weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def kinds(work: Path) -> dict[str, list[Path]]:
    """The files of a work folder by kind: paths that differ in numbers and fingerprints alone are of one."""
    found: dict[str, list[Path]] = {}
    for path in sorted(p for p in work.rglob("*") if p.is_file()):
        name = path.relative_to(work)
        found.setdefault(re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{16}", "F", str(name))), []).append(name)
    return found


def damages(name: Path, files: list[Path], work: Path, other: Path, places: int) -> Iterator[tuple[str, int, bytes]]:
    """How a file is damaged, where, and its bytes then: flips, cuts, nothing left, and another file of its kind in its place."""
    whole, draw = (work / name).read_bytes(), random.Random(str(name))
    for _ in range(places if whole else 0):
        at = draw.randrange(len(whole))
        yield "flip", at, whole[:at] + bytes([whole[at] ^ 1 << draw.randrange(8)]) + whole[at + 1 :]
        yield "cut", at, whole[:at]
    yield "empty", 0, b""
    others = [work / one for one in files if one != name] + [other / name]
    swapped = next((path.read_bytes() for path in others if path.exists() and path.read_bytes() != whole), None)
    if swapped is not None:
        yield "swap", 0, swapped


def went_on(work: Path, name: Path, content: bytes, expected: dict[str, str] | None) -> Case:
    """Go on in a fork with a copy of a work folder in which one file has another content, and its old time."""
    copy = work.with_name("copy")
    shutil.copytree(work, copy, copy_function=os.link)
    before = (work / name).stat()
    (copy / name).unlink()
    (copy / name).write_bytes(content)
    os.utime(copy / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        _child(copy, name, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    shutil.rmtree(copy)
    case: Case = json.loads(said) if said else {"said": "", "results": None}
    made = case.pop("results", None)
    return {**case, "code": code, "same": made is not None and made == expected, "made": made}


def _child(work: Path, name: Path, pipe: int) -> None:
    """Never returns."""
    case: Case = {"said": "", "results": None}
    code = 3
    try:
        case["results"] = results(work)
        code = 0
    except UmrError as error:
        case["said"], code = error.message, error.exit_code
    except BaseException:
        case["said"] = traceback.format_exc()
    finally:
        os.write(pipe, json.dumps(case).encode())
        os._exit(code)


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


def main(places: int) -> None:
    encode.PIECE_TOKENS = 96
    load_encoder(EncoderConfig(str(FOLDER / "bert"), pooling="mean", similarity="cosine"))
    AutoTokenizer.from_pretrained(LABEL.lm)
    AutoModelForCausalLM.from_pretrained(LABEL.lm)
    work, other = FOLDER / "one" / "work", FOLDER / "two" / "work"
    for place in (work, other):
        place.parent.mkdir()
        in_fork(lambda place=place: build(place))  # type: ignore[misc]
    found = kinds(work)
    first = found["work.json"][0]
    expected = went_on(work, first, (work / first).read_bytes(), None)
    cases: list[Case] = [{"file": "", "damage": "none", "place": 0, **expected, "same": expected["code"] == 0}]
    for files in found.values():
        name = random.Random(str(files)).choice(files)
        for damage, place, content in damages(name, files, work, other, places):
            case = went_on(work, name, content, expected["made"])
            named = any(part in case["said"] for part in (name.name, str(name.parent)))
            cases.append({"file": str(name), "damage": damage, "place": place, **case, "named": named})
    print(json.dumps({"kinds": list(found), "cases": cases}))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[2]))
