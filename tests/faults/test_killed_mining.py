"""Mining killed at random moments (SIGKILL, no clean-up): what is finished is kept, and the end is that of an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
import umr
from train.rig import encoder_config, opened

HERE = Path(__file__).resolve()
KILLS = 20
Ended = dict[str, tuple[Path, list[int], str]]  # work folder, exit codes, what was said on stderr


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Two work folders on one corpus: mined without a break, and killed again and again."""
    folder = tmp_path_factory.mktemp("mining")
    corpus = tiny.tiny_corpus(folder / "corpus", passages=600, queries=60)
    encoder = encoder_config(tiny.encoder(folder / "bert"))
    jobs = [{"work": str(folder / name), "kills": kills, "pause": 0.05} for name, kills in (("whole", 0), ("broken", KILLS))]
    for job in jobs:
        opened(Path(str(job["work"])), corpus, encoder)
    path = os.pathsep.join([str(Path(umr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(HERE.with_name("mining_forks.py")), json.dumps(jobs)]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    codes = json.loads(ran.stdout.splitlines()[-1])
    return {Path(str(job["work"])).name: (Path(str(job["work"])), code, ran.stderr) for job, code in zip(jobs, codes, strict=True)}


def made(work: Path) -> dict[str, bytes]:
    """Vectors, their copies in 8 bits and candidates by their path."""
    files = [path for path in (work / "embeddings").rglob("shard-*") if path.suffix in (".npy", ".int8")]
    files.append(work / "round-0" / "candidates.parquet")
    return {str(path.relative_to(work)): path.read_bytes() for path in files}


def test_twenty_kills_change_no_byte(ended: Ended) -> None:
    (whole, codes, errors), (broken, killed, _) = ended["whole"], ended["broken"]
    assert codes == [0], errors
    assert killed[-1] == 0, errors
    assert killed.count(-signal.SIGKILL) >= 5, killed  # a kill may come after the end, the more often the faster the machine is
    expected = made(whole)
    assert sum(name.endswith(".int8") for name in expected) == 15
    assert made(broken) == expected


def test_what_a_kill_leaves_is_known_by_its_name(ended: Ended) -> None:
    """Unfinished files stay until the same file is written again, an hour later at the earliest; nothing reads them."""
    for work, _, _ in ended.values():
        unfinished = [path.name for path in work.rglob("*") if ".part" in path.name]
        assert all(name.startswith(".") or name.endswith(".partial") for name in unfinished)
        assert not list((work / "embeddings").rglob("search*.partial")), "the state of a search that has ended"
