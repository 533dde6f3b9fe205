"""docs/FIDELITY.md: every file, test and config key that it names exists, and every row has what a row needs."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import frcnn_alt

import pytest
from detectron2.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "docs" / "FIDELITY.md").read_text("utf-8")
PARAGRAPHS = [
    "1.1",
    "1.2",
    "1.3",
    "1.4",
    "1.5",
    "1.6",
    "2",
    "3.1",
    "3.2",
    "3.3",
    "3.4",
    "3.5",
    "4.1",
    "4.2",
    "4.3",
    "4.4",
    "4.5",
    "5.1",
    "5.2",
    "5.3",
    "5.4",
    "6",
    "6.1",
    "6.2",
    "6.3",
    "6.4",
    "6.5",
    "6.6",
    "6.7",
    "7.1",
    "7.2",
    "8.8",
    "8.11",
    "9",
    "10.3",
]


def tables():
    """(heading, rows) of every table, a row being its cells."""
    heading, rows, found = "", [], []
    for line in TEXT.splitlines():
        if line.startswith("#"):
            heading, rows = line.lstrip("# "), []
            found.append((heading, rows))
        elif line.startswith("|") and not re.fullmatch(r"[|\- :]+", line):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return [(heading, rows[1:]) for heading, rows in found if rows]


FACTS = [row for heading, rows in tables() if re.match(r"\d", heading) for row in rows]
OPEN = [row for heading, rows in tables() if heading.startswith("Open") for row in rows]


@lru_cache(maxsize=None)
def names_of_tests(path):
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_row_says_where_it_is_and_what_proves_it():
    assert len(FACTS) > 100
    for row in FACTS:
        assert len(row) == 6, row
        paragraph, fact, source, implemented, proven, _ = row
        assert re.fullmatch(r"\d+(\.\d+)?", paragraph), row
        assert fact and source, row
        assert re.search(r"`(frcnn_alt|configs|tools|detectron2)", implemented), row
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", proven), row


@pytest.mark.parametrize("paragraph", PARAGRAPHS)
def test_every_paragraph_has_rows(paragraph):
    assert any(row[0] == paragraph for row in FACTS + OPEN)


def test_open_rows_say_why():
    for row in OPEN:
        assert len(row) == 3 and all(row), row


FILES = sorted(set(re.findall(r"`((?:frcnn_alt|configs|tools|tests|docs|benchmarks)/[-\w./*]+)", TEXT)))


@pytest.mark.parametrize("path", FILES)
def test_every_file_named_exists(path):
    assert list(REPOSITORY.glob(path)), path


@pytest.mark.parametrize("test", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", TEXT))))
def test_every_test_named_exists(test):
    path, name = test.split("::")
    assert name in names_of_tests(path), test


def test_every_key_named_exists():
    cfg = frcnn_alt.get_cfg()
    keys = set(re.findall(r"`((?:MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST|SCHEDULE|PRETRAIN)\.[A-Z0-9_.]+)`", TEXT))
    assert keys
    for key in sorted(keys):
        node = cfg
        for name in key.split("."):
            assert isinstance(node, CfgNode) and name in node, key
            node = node[name]
