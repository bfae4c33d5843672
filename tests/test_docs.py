"""Every code block of README.md and docs/ runs: commands on tiny models, Python in a folder that has what it names, TOML as a run file.

Set-up and test commands (`make`, `git`, `pip`, ...) are passed over. A command that names a model of a hub or the demo is
parsed alone, so that an option that does not exist fails all the same.
"""

from __future__ import annotations

import inspect
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tiny
import umr
from umr.cli import app
from umr.config import EncoderConfig, LabelConfig, MineConfig, TrainConfig
from umr.rounds import run
from umr.run_file import RunConfig, read_config, read_tables

ROOT = Path(__file__).resolve().parents[1]
FILES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
KNOWN = {"bash", "python", "toml", "text", "json", "tsv", "jsonl", "sh", "yaml", ""}
SETTING_UP = {"make", "git", "pip", "pip3", "uv", "cargo", "rustup", "apt-get", "cd", "export", "source", ".", "pytest", "mkdir", "curl"}
ENCODER, LM = "pypi:multilingual-e5-small", "pypi:gemma-3-270m"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Arguments:
        file: its document.
        line: of the opening fence, from 1.
        language: after the fence.
        text: between the fences.
    """

    file: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT) if self.file.is_absolute() else self.file}:{self.line}"


def blocks_of(file: Path, text: str) -> Iterator[Block]:
    """The fenced blocks of a document; an open fence is an error."""
    opened: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.fullmatch(r"\s*```+\s*(\w*).*", line)
        if fence and opened is None:
            opened = (number, fence[1], [])
        elif fence and opened is not None:
            yield Block(file, opened[0], opened[1], "\n".join(opened[2]) + "\n")
            opened = None
        elif opened is not None:
            opened[2].append(line)
    assert opened is None, f"{file}: the fence of line {opened[0] if opened else 0} is not closed"


BLOCKS = [block for file in FILES for block in blocks_of(file, file.read_text(encoding="utf-8"))]


def of(language: str) -> list[Any]:
    """The blocks of a language as parameters of a test."""
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language == language]


def commands(block: Block) -> list[list[str]]:
    """The words of every `umr` command; set-up is left out, and anything else is an error."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"\w+=\S*", words[0]):
            words = words[1:]
        if not words or words[0] in SETTING_UP or words[1:3] == ["-m", "pytest"]:
            continue
        assert Path(words[0]).name == "umr", f"{block}: what is `{line}`? A command is umr's, or set-up"
        found.append(words[1:])
    return found


def runs_here(block: Block) -> bool:
    """Whether all of its models are ones that a tiny model can stand for, and its files are not those of a preset."""
    calls = commands(block)
    named = [call[i + 1] for call in calls for i, word in enumerate(call[:-1]) if word in ("--encoder", "--passage-encoder", "--lm")]
    return all(name in (ENCODER, LM) for name in named) and not any(call[:1] == ["demo"] or "--preset" in call for call in calls)


def file_name(block: Block) -> str:
    """Of a block of TOML: the one in its first line, `# near.toml`, or that of a whole run."""
    found = re.match(r"# (\S+\.toml)\n", block.text)
    return found[1] if found else "run.toml"


def parse(words: list[str]) -> None:
    """Parse a command without running it; an unknown option or argument raises."""
    group: Any = typer.main.get_command(app)
    assert words[0] in group.commands or words[0].startswith("-"), f"no command {words[0]!r}"
    if words[0] in group.commands and "--help" not in words:
        group.commands[words[0]].make_context(words[0], words[1:])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models in a cache folder, under the names of the real ones."""
    folder = tmp_path_factory.mktemp("cache") / "models"
    makers = {ENCODER: tiny.encoder, LM: tiny.llama}
    return {name: make(folder / name.removeprefix("pypi:")) for name, make in makers.items()}


@pytest.fixture(scope="module")
def stage(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds every file that the documents name, and a trained work folder."""
    folder = tmp_path_factory.mktemp("stage")
    corpus = tiny.tiny_corpus(folder, 101, 4, words=4)
    shutil.copy(corpus.queries, folder / "test-queries.jsonl")
    (folder / "qrels.txt").write_text("".join(f"q{i} 0 p{i} 1\n" for i in range(4)))
    with pytest.MonkeyPatch.context() as patch:
        stand_in(patch, models)
        files = ((str(corpus.passages),), (str(corpus.queries),))
        stages = (MineConfig(top_k=3), LabelConfig(lm=LM, precision="fp32"), TrainConfig(epochs=1))
        run(RunConfig(folder / "work", *files, EncoderConfig(model=ENCODER), *stages))
    return folder


def stand_in(patch: pytest.MonkeyPatch, models: dict[str, Path]) -> None:
    """Let the tiny models answer to the names of the real ones."""
    patch.setenv("UMR_CACHE", str(models[LM].parents[1]))


@pytest.fixture
def here(stage: Path, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stage as the working folder, its work folder made anew there."""
    for path in stage.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    shutil.copytree(stage / "work", tmp_path / "work")
    stand_in(monkeypatch, models)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_blocks_and_all_are_of_a_known_language() -> None:
    assert FILES[0].name == "README.md"
    assert {"bash", "python", "toml"} <= {b.language for b in BLOCKS}
    assert [str(b) for b in BLOCKS if b.language not in KNOWN] == []
    assert any(runs_here(b) and len(commands(b)) >= 3 for b in BLOCKS if b.language == "bash")


@pytest.mark.parametrize("block", of("bash"))
def test_commands_run_or_at_least_parse(block: Block, here: Path) -> None:
    calls = commands(block)
    for call in calls:
        parse(call)
    if not runs_here(block):
        return
    if any("--passages" in call and call[0] == "mine" for call in calls):
        shutil.rmtree(here / "work")
    for beside in [b for b in BLOCKS if b.file == block.file and b.language == "toml"]:
        (here / file_name(beside)).write_text(beside.text.replace('work = "work"', 'work = "run-work"'))
    for call in calls:
        done = CliRunner().invoke(app, call)
        assert done.exit_code == 0, f"{block}: umr {shlex.join(call)}\n{done.stderr}"


@pytest.mark.parametrize("block", of("toml"))
def test_run_files_are_read(block: Block, tmp_path: Path) -> None:
    (tmp_path / file_name(block)).write_text(block.text)
    assert read_tables(tmp_path / file_name(block))
    if file_name(block) == "run.toml":
        assert read_config(tmp_path / "run.toml").rounds == tomllib.loads(block.text)["rounds"]


ARGUMENTS: dict[str, Any] = {
    "folder": Path("new"),
    "passages": ["passages.tsv"],
    "queries": ["queries.jsonl"],
    "encoder": ENCODER,
    "lm": LM,
}


@pytest.mark.parametrize("block", of("python"))
def test_python_runs(block: Block, here: Path) -> None:
    """What a block defines is called too, where its parameters are of the usual names."""
    names: dict[str, Any] = {"__name__": "block"}
    exec(compile(block.text, str(block), "exec"), names)
    for function in [v for v in names.values() if inspect.isfunction(v) and v.__module__ == "block"]:
        if set(inspect.signature(function).parameters) <= ARGUMENTS.keys():
            function(**{name: ARGUMENTS[name] for name in inspect.signature(function).parameters})


@pytest.mark.parametrize(
    "text", ["umr mine work --no-such-option", "umr fly work", "umr train work --epochs many", "umr search", "frobnicate --all"]
)
def test_a_wrong_command_is_noticed(text: str) -> None:
    block = Block(Path("x.md"), 1, "bash", text + "\n")
    with pytest.raises(Exception):  # noqa: B017, PT011
        parse(commands(block)[0])


def test_blocks_and_commands_are_read_as_a_shell_would() -> None:
    text = 'x\n```bash\nmake demo  # comment\nA=1 umr mine W \\\n    --top-k 3  # three\n.venv/bin/umr search W "a b"\n```\n```toml\n```\n'
    first, second = blocks_of(Path("x.md"), text)
    assert commands(first) == [["mine", "W", "--top-k", "3"], ["search", "W", "a b"]]
    assert (first.line, first.language, second.language, second.text) == (2, "bash", "toml", "\n")
    with pytest.raises(AssertionError, match="not closed"):
        list(blocks_of(Path("x.md"), "```bash\numr\n"))


FOREIGN = {
    "--no-deps", "--wheel-dir", "--kills", "--places", "--times", "--check", "--alone", "--pairs", "--repeats",
    "--previous-output", "--rows", "--apart", "--tasks", "--a-language", "--whiten", "--layers", "--write", "--learning-rates",
    "--drops", "--k", "--rounds", "--start", "--array", "--cpus-per-task", "--dependency", "--gres", "--job-name",
    "--max-restarts", "--nnodes", "--nodes", "--nproc-per-node", "--ntasks-per-node", "--parsable", "--rerank", "--rdzv-backend",
    "--rdzv-endpoint", "--rdzv-id", "--requeue", "--time", "--batch", "--drawn", "--centres", "--use", "--seeds", "--temperatures",
    "--choose", "--label-temperature",
}  # fmt: skip
"""Options of other programs that the documents name: pip, the benchmarks, the paper's code, Slurm and torchrun."""


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_an_option_that_the_text_names_is_one(file: Path) -> None:
    group: Any = typer.main.get_command(app)
    every = [one for command in group.commands.values() for one in (command, *getattr(command, "commands", {}).values())]
    known = {name for command in every for p in command.params for name in p.opts} | {"--help", "--version"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", file.read_text(encoding="utf-8")))
    assert named - known - FOREIGN == set()


def resolved(name: str) -> Any:
    """What a dotted name below `umr` stands for, as Python finds it after `import umr`."""
    found: Any = umr
    for part in name.split("."):
        found = getattr(found, part)
    return found


DOTTED = re.compile(r"\bumr\.([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
NAMES = sorted({name for file in FILES for name in DOTTED.findall(file.read_text(encoding="utf-8"))})


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_the_text_gives_is_there(name: str) -> None:
    try:
        resolved(name)
    except AttributeError:
        import_module(f"umr.{name}")  # a module that a block imports from


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert {"Console", "progress.Reporter", "create_workspace", "mine"} <= set(NAMES)
    for name in ("nonsense", "progress.Nonsense"):
        with pytest.raises(AttributeError):
            resolved(name)
