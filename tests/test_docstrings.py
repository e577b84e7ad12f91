"""What a docstring refers to exists: every role in every docstring of the package, documented on a page or not."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pages import DOCS
from tests.paths import ROOT

PACKAGE = ROOT / "django_etcdaero"
ROLE = re.compile(r":(?:class|meth|func|mod|attr|data|exc|obj):`(?:[^`<]+<)?~?([^`<>]+)>?`")
OUTSIDE = "asyncio", "concurrent", "django", "grpc", "threading", "time"
"""What else docstrings may refer to."""


@dataclass(frozen=True)
class Reference:
    target: str
    module: str
    owner: str
    """The class in which it stands, or nothing."""
    place: str

    def __str__(self) -> str:
        return f"{self.place}: {self.target}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def texts(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, int, str]]:
    """Yield the docstrings in a body, those of attributes too: text, line, class."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value, node.lineno, owner
        elif isinstance(node, ast.ClassDef):
            yield from texts(node.body, node.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.If):
            yield from texts(node.body, owner)


def definitions(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    yield prefix
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from definitions(node.body, f"{prefix}.{node.name}")
        elif isinstance(node, ast.If):
            yield from definitions([*node.body, *node.orelse], prefix)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{prefix}.{node.name}"
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (f"{prefix}.{target.id}" for target in targets if isinstance(target, ast.Name))


@pytest.fixture(scope="module")
def named() -> Any:
    """The function of the documentation that finds what a dotted name means."""
    spec = importlib.util.spec_from_file_location("references", DOCS / "references.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.named


def without_target(named: Any) -> list[Reference]:
    trees = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
    defined = {name for path, tree in trees.items() for name in definitions(tree.body, module_name(path))}
    references = [
        Reference(" ".join(target.split()), module_name(path), owner, f"{path.relative_to(ROOT)}:{line}")
        for path, tree in trees.items()
        for text, line, owner in texts(tree.body)
        for target in ROLE.findall(text)
    ]

    def exists(reference: Reference) -> bool:
        target = reference.target
        if target.startswith("."):
            return any(name.endswith(target) for name in defined)
        candidates = (target, f"{reference.module}.{target}", f"{reference.module}.{reference.owner}.{target}")
        ours = any(named(candidate) for candidate in candidates if candidate.startswith("django_etcdaero"))
        return ours or target.split(".")[0] in OUTSIDE or hasattr(builtins, target.split(".")[0])

    assert references
    return [reference for reference in references if not exists(reference)]


@pytest.mark.slow
def test_every_reference_in_a_docstring_has_a_target(named: Any) -> None:
    assert [str(reference) for reference in without_target(named)] == []
