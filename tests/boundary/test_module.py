"""The stub and the module say the same, and the binary can say how it was built."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import pytest

import umr._rust
from umr._rust import build_info, fingerprint, fingerprint_files
from umr.errors import InputError


def test_the_stub_lists_exactly_the_names_of_the_module() -> None:
    stub = Path(umr._rust.__file__).parent / "_rust.pyi"
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    declared = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    public = {name for name in vars(umr._rust) if not name.startswith("_")}
    assert declared == public == set(umr._rust.__all__)
    assert len(public) <= 20


def test_everything_in_the_stub_is_documented() -> None:
    stub = Path(umr._rust.__file__).parent / "_rust.pyi"
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    bare = [node.name for node in nodes if not node.name.startswith("__") and not ast.get_docstring(node)]
    assert not bare


def test_the_build_reports_itself() -> None:
    info = build_info()
    assert info["profile"] in {"release", "debug"}
    assert set(info) == {"version", "profile", "target", "features", "kernel", "threads"}


def test_fingerprints(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert fingerprint_files([a, b]) != fingerprint_files([b, a])
    assert fingerprint("x") != fingerprint("y")
    assert len(fingerprint("")) == 2 * hashlib.sha256().digest_size
    with pytest.raises(InputError, match="no such file"):
        fingerprint_files([str(tmp_path / "c")])
