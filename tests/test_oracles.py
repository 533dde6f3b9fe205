"""The oracles owe nothing to the package: none imports it, nor what it is built on, nor a helper that may."""

import ast
from pathlib import Path

import pytest

ORACLES = Path(__file__).resolve().parent / "oracles"
FILES = sorted(ORACLES.rglob("*.py"))
assert FILES  # without any, pytest would skip in silence
# numpy and what of Python's own they need. Whatever else one wants to import is looked at here first.
ALLOWED = {"fractions", "math", "numpy", "struct", "typing"}


def imported_packages(source: str, depth: int = 0):
    """First parts of the names of all modules that a file imports, wherever in it; its neighbours' imports left out.

    Args:
        source: of the file.
        depth: of its folder below that of the oracles; an import relative to a folder above that is ".".
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level > depth + 1:
            found.add(".")
        elif isinstance(node, ast.Name) and node.id in {"__import__", "exec", "eval"}:
            found.add(node.id)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ORACLES).as_posix())
def test_it_imports_nothing_of_the_package(path):
    depth = len(path.relative_to(ORACLES).parts) - 1
    assert imported_packages(path.read_text("utf-8"), depth) <= ALLOWED


@pytest.mark.parametrize(
    "source, found",
    [
        ("import torch.nn as nn", {"torch"}),
        ("import math, torchvision", {"math", "torchvision"}),
        ("def late():\n    from detectron2.structures import Boxes", {"detectron2"}),
        ("from frcnn_alt import get_cfg", {"frcnn_alt"}),
        ("from random_detector import picture", {"random_detector"}),  # a helper of the tests, which has the package
        ("import importlib", {"importlib"}),
        ("torch = __import__('torch')", {"__import__"}),
        ("from .anchors import is_inside", set()),
        ("from ..random_detector import picture", {"."}),
    ],
)
def test_each_way_to_import_is_seen(source, found):
    assert imported_packages(source) == found
