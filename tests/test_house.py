"""The shape of the house: sizes of folders, files and functions, and no circle of imports, in Python and in Rust."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import umr

PYTHON = Path(umr.__file__).parent
ROOT = PYTHON.parents[1]
RUST = ROOT / "rust" / "src"
MOST_FILES = 14  # in a folder
MOST_LINES = {".py": 300, ".rs": 250}  # in a file
MOST_FUNCTION_LINES = 60
MOST_IN_ALL = {"python": 21_450, "rust": 8_000}  # lines, of Rust without its tests

PYTHON_FILES = sorted(PYTHON.rglob("*.py"))
RUST_FILES = sorted(RUST.rglob("*.rs"))


def name_of(path: Path) -> str:
    """A file as messages name it."""
    return str(path.relative_to(PYTHON.parent if path.suffix == ".py" else RUST.parent))


@pytest.mark.parametrize("folder", sorted({path.parent for path in [*PYTHON_FILES, *RUST_FILES]}), ids=lambda p: p.name)
def test_a_folder_fits_on_a_screen(folder: Path) -> None:
    assert len([p for p in folder.iterdir() if p.suffix in (".py", ".rs")]) <= MOST_FILES


@pytest.mark.parametrize("path", [*PYTHON_FILES, *RUST_FILES], ids=name_of)
def test_a_file_has_one_reason(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= MOST_LINES[path.suffix]


def test_the_whole_can_be_held_in_the_head() -> None:
    python = [*PYTHON_FILES, *PYTHON.rglob("*.pyi")]
    assert sum(p.read_text(encoding="utf-8").count("\n") for p in python) <= MOST_IN_ALL["python"]
    rust = [p for p in RUST_FILES if not {"tests", "tests.rs", "same_ids.rs"} & set(p.relative_to(RUST).parts)]
    assert sum(p.read_text(encoding="utf-8").count("\n") for p in rust) <= MOST_IN_ALL["rust"]


def python_functions(source: str) -> dict[str, int]:
    """Name and line of every function, and how many lines it has."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {f"{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes}


def rust_functions(source: str) -> dict[str, int]:
    """The same for Rust, whose formatter puts the end of a function under its beginning."""
    found, lines = {}, source.splitlines()
    for number, line in enumerate(lines):
        begin = re.match(r"( *)(?:pub(?:\([^)]*\))? |const |unsafe |extern \"C\" )*fn (\w+)", line)
        if begin:
            end = next((n for n in range(number, len(lines)) if re.match(rf"{begin[1]}\}}|.*;$|.*\}}$", lines[n])), number)
            closing = next((n for n in range(number, len(lines)) if lines[n] == f"{begin[1]}}}"), end)
            found[f"{begin[2]}:{number + 1}"] = (end if end == number else closing) - number + 1
    return found


@pytest.mark.parametrize("path", [*PYTHON_FILES, *RUST_FILES], ids=name_of)
def test_functions_are_short(path: Path) -> None:
    read = python_functions if path.suffix == ".py" else rust_functions
    long = {name: lines for name, lines in read(path.read_text(encoding="utf-8")).items() if lines > MOST_FUNCTION_LINES}
    assert not long


def test_long_functions_are_noticed() -> None:
    assert python_functions("def f():\n" + "    x = 1\n" * 70) == {"f:1": 71}
    body = "        let x = 1;\n" * 70
    source = f"impl X {{\n    pub fn f(\n        a: u8,\n    ) {{\n{body}    }}\n    fn g() {{}}\n}}\n"
    assert rust_functions(source) == {"f:2": 74, "g:76": 1}


def circles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other (Tarjan, SIAM J. Comput. 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in edges:
        if node not in index:
            visit(node)
    return found


def test_circles_are_noticed() -> None:
    assert circles({"a": ["b"], "b": ["c"], "c": []}) == []
    assert circles({"a": ["b"], "b": ["c"], "c": ["b", "a"], "d": ["a"]}) == [["a", "b", "c"]]


def python_edges() -> dict[str, set[str]]:
    """Which module imports which, wherever the import stands."""
    names = {".".join(("umr", *p.relative_to(PYTHON).with_suffix("").parts)).removesuffix(".__init__"): p for p in PYTHON_FILES}
    edges: dict[str, set[str]] = {}
    for name, path in names.items():
        found: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in names else node.module for a in node.names}
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        edges[name] = (found & set(names)) - {name}
    return edges


def test_no_circle_of_imports_in_python() -> None:
    assert circles(python_edges()) == []


class RustModules:
    """Which file of the core names something of which other; a re-export leads to the file that defines it."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        """Keep the sources by module path (`search::mod` is `search`), without tests."""
        self.sources = {name: re.sub(r"(?ms)^#\[cfg\(test\)\]\nmod tests \{.*", "", text) for name, text in sources.items()}
        self.paths = {name: self._paths(name, text) for name, text in self.sources.items()}

    def _paths(self, module: str, source: str) -> set[tuple[str, ...]]:
        """Absolute paths of everything that a module names with `crate::`, `super::` or below itself."""
        source = re.sub(r"//.*", "", source)
        found: set[tuple[str, ...]] = set()
        for use in re.findall(r"\buse ([^;]+);", source):
            found |= set(self._spread(module, re.sub(r"\s+", "", use.replace(" as ", "@"))))
        for path in re.findall(r"\b((?:crate|super|self)(?:::\w+)+)", re.sub(r"\buse [^;]+;", "", source)):
            found |= set(self._spread(module, path))
        children = [c.rpartition("::")[2] for c in self.sources if c.rpartition("::")[0] == module]
        for child in children:
            found |= {self._absolute(module, ("self", child, *p.split("::"))) for p in re.findall(rf"\b{child}::(\w+)", source)}
        return found

    def _spread(self, module: str, use: str) -> Iterable[tuple[str, ...]]:
        """The paths of one `use` with its braces taken apart."""
        opened = re.fullmatch(r"([^{]*)\{(.*)\}", use)
        if not opened:
            yield self._absolute(module, tuple(use.split("@")[0].split("::")))
            return
        depth, part = 0, ""
        for letter in f"{opened[2]},":
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                if part:
                    yield from self._spread(module, opened[1] + part)
                part = ""
            else:
                part += letter

    def _absolute(self, module: str, path: tuple[str, ...]) -> tuple[str, ...]:
        here = [p for p in module.split("::") if p]
        while path and path[0] in ("crate", "super", "self"):
            here = [] if path[0] == "crate" else here[:-1] if path[0] == "super" else here
            path = path[1:]
            if not path:
                break
        else:
            if path and "::".join([*here, path[0]]) not in self.sources and not here:
                return path
        return (*here, *path)

    def file_of(self, path: tuple[str, ...], seen: frozenset[tuple[str, ...]] = frozenset()) -> str | None:
        """The module whose file defines what a path names."""
        depth = next((n for n in range(len(path), -1, -1) if "::".join(path[:n]) in self.sources), 0)
        module = "::".join(path[:depth])
        if depth == len(path) or path in seen:
            return module
        for other in self.paths[module]:
            if other[-1] == path[depth] and other != (*path[:depth], path[depth]):
                return self.file_of(other, seen | {path})
        return module

    def edges(self) -> dict[str, set[str]]:
        """Module -> modules whose files define what it names."""
        made: dict[str, set[str]] = {}
        for module, paths in self.paths.items():
            exports = set(re.findall(r"pub(?:\([^)]*\))? use ([^;]+);", self.sources[module]))
            names = {word for text in exports for word in re.findall(r"\w+", text)}
            found = {self.file_of(path) for path in paths if not (path[-1] in names and len(path) > 1)}
            made[module] = {f for f in found if f is not None} - {module}
        return made


def rust_modules() -> RustModules:
    """The core without its tests and its Python boundary's list."""
    sources = {}
    for path in RUST_FILES:
        parts = path.relative_to(RUST).with_suffix("").parts
        if "tests" not in parts and parts != ("lib",):
            sources["::".join(p for p in parts if p != "mod")] = path.read_text(encoding="utf-8")
    sources[""] = "pub use error::{Error, Result};\npub use progress::Progress;\n"
    return RustModules(sources)


def test_no_circle_of_uses_in_rust() -> None:
    assert circles(rust_modules().edges()) == []


def test_uses_in_rust_are_read() -> None:
    modules = RustModules({
        "": "", "a": "pub use b::{One, two};\nuse crate::d::Three;", "a::b": "use super::c::go;\nuse crate::d::{self, Three};",
        "a::c": "use super::One;\n// use crate::e::X;", "d": "pub struct Three;", "e": "fn f() { crate::a::c::go() }",
    })  # fmt: skip
    assert modules.edges()["e"] == {"a::c"}
    assert modules.edges()["a::b"] == {"a::c", "d"}
    assert modules.edges()["a::c"] == {"a::b"}
    assert circles(modules.edges()) == [["a::b", "a::c"]]
