"""The floors of the house: who may import whom, read from the source of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import umr

HOUSE = Path(umr.__file__).parent
FLOORS: list[set[str]] = [
    {"errors", "config", "settings", "progress", "storage", "layout", "manifest", "languages", "sizes", "run_file", "presets", "plan"},
    {"models"},
    {"data", "work"},
    {"encoder", "exchange"},
    {"search"},
    {"mine", "label", "train", "evaluate"},
    {"rounds", "retrieve", "judge", "together"},
    {"demo"},
    {"cli", "__main__"},
]
"""From the ground up. A module may import its own floor and those below; `umr._rust` stands outside the house."""

VERBS = {"mine", "label", "train", "evaluate"}
READERS_OF_GOLD = {"evaluate", "judge"}


def _modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    paths = sorted(HOUSE.rglob("*.py"))
    names = (".".join(("umr", *p.relative_to(HOUSE).with_suffix("").parts)).removesuffix(".__init__") for p in paths)
    return dict(zip(names, paths, strict=True))


MODULES = _modules()


def imports_of(source: str, module: str, known: frozenset[str] = frozenset(MODULES)) -> set[str]:
    """The modules of umr that a source imports, wherever in the file, also for type checkers alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import; write umr.x"
            base = node.module or ""
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return {name for name in found if name.split(".")[0] == "umr" and not name.startswith("umr._rust")}


@cache
def imported_by(module: str) -> frozenset[str]:
    """The modules of umr that a module imports."""
    return frozenset(imports_of(MODULES[module].read_text(encoding="utf-8"), module))


def room(module: str) -> str:
    """The first part of a module's name below `umr`, empty for the front door `umr` itself."""
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    """The floor that a module stands on."""
    found = [number for number, rooms in enumerate(FLOORS) if room(module) in rooms]
    assert found, f"{module} stands on no floor: give it one in {__file__}"
    return found[0]


INSIDE = sorted(set(MODULES) - {"umr"})


def broken_rule(importer: str, imported: str) -> str:
    """The rule that an import breaks, empty where it breaks none."""
    if imported == "umr":
        return "" if room(importer) == "cli" else "the front door is for users"
    if floor(imported) > floor(importer):
        return "a lower floor imports a higher one"
    if room(imported) in VERBS and room(importer) in VERBS - {room(imported)}:
        return "a verb imports another"
    if room(imported) == "cli" and room(importer) not in ("cli", "__main__"):
        return "somebody imports cli"
    if imported == "umr.data.qrels" and room(importer) not in READERS_OF_GOLD:
        return "gold is read outside evaluation"
    return ""


@pytest.mark.parametrize("module", INSIDE)
def test_every_import_respects_the_floors(module: str) -> None:
    broken = {name: broken_rule(module, name) for name in imported_by(module)}
    assert not {name: rule for name, rule in broken.items() if rule}


def test_the_reading_finds_imports_of_every_form() -> None:
    source = "import umr.cli.run\nfrom umr.train import loop, train\ndef f():\n    from umr.data.qrels import Qrels\n"
    source += "if TYPE_CHECKING:\n    from umr import judge\n"
    assert imports_of(source, "x") == {"umr.cli.run", "umr.train.loop", "umr.train", "umr.data.qrels", "umr.judge"}
    assert len(INSIDE) > 50
    assert "umr.encoder.encoder" in imported_by("umr.mine.sources")


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("umr.data.labels", "umr.encoder"),
        ("umr.models", "umr.data.corpus"),
        ("umr.mine.select", "umr.label.scorers.pack"),
        ("umr.train.loop", "umr.evaluate"),
        ("umr.rounds", "umr.cli.run"),
        ("umr.train", "umr.data.qrels"),
        ("umr.label", "umr.data.qrels"),
        ("umr.data.queries", "umr"),
    ],
)
def test_a_broken_rule_is_noticed(importer: str, imported: str) -> None:
    assert broken_rule(importer, imported)


@pytest.mark.parametrize("verb", ["umr.mine", "umr.label", "umr.train", "umr.rounds", "umr.retrieve", "umr.encoder"])
def test_nothing_that_learns_reaches_gold(verb: str) -> None:
    reached, waiting = set(), [m for m in MODULES if m == verb or m.startswith(f"{verb}.")]
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        waiting += imported_by(module)
    assert len(reached) > 5
    assert "umr.data.qrels" not in reached
    assert not {m for m in reached if room(m) in READERS_OF_GOLD}


def _modules_after(code: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after running `code`."""
    script = f"import sys\n{code}\nsys.stderr.write('\\nLOADED ' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.rpartition("LOADED ")[2].split())


HEAVY = {"torch", "transformers", "sentence_transformers", "pandas", "pyarrow", "scipy", "ir_measures"}


def test_importing_umr_takes_no_torch() -> None:
    loaded = _modules_after("import umr; umr.TrainConfig; umr.EncoderConfig; umr.open_workspace")
    assert "umr.data.workspace" in loaded
    assert not loaded & HEAVY


def test_help_takes_no_torch() -> None:
    loaded = _modules_after("from umr.cli import app\ntry:\n    app(['train', '--help'])\nexcept SystemExit:\n    pass")
    assert "umr.cli.train" in loaded
    assert not loaded & HEAVY


def test_every_public_name_resolves() -> None:
    assert set(umr.__all__) <= set(dir(umr))
    assert [name for name in umr.__all__ if not callable(getattr(umr, name))] == []
    assert umr.__version__
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        umr.nonsense  # noqa: B018


def test_a_verb_is_a_function_even_when_its_folder_was_loaded_on_the_way() -> None:
    """`umr.mine` is a folder and a function: `umr.RunConfig` loads the folder, which must not hide the function."""
    script = "import umr; umr.RunConfig; print([n for n in ('mine', 'label', 'train', 'run') if not callable(getattr(umr, n))])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
