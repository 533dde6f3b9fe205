"""Yaml is read without running it or filling the memory, and stock configs mean what they mean to detectron2."""

import io
import os
import re

from frcnn_alt import get_cfg
from frcnn_alt.safe_yaml import load_yaml, load_yaml_with_base, merge_config_file

import pytest
import yaml


def load(text):
    return load_yaml(io.StringIO(text))


# Of detectron2's own configs: those of RetinaNet, and of a Mask R-CNN that is trained from scratch.
STOCK = """
MODEL:
  ANCHOR_GENERATOR:
    SIZES: !!python/object/apply:eval ["[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]"]
SOLVER:
  STEPS: !!python/tuple [60000, 80000]
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * 640) for x in range(5, 16)]"]
"""


def test_stock_configs_are_what_they_are_to_detectron2(tmp_path):
    (tmp_path / "base.yaml").write_text(STOCK)
    path = tmp_path / "stock.yaml"
    path.write_text("_BASE_: base.yaml\nSOLVER: {BASE_LR: 0.001, MAX_ITER: 90000}\nVERSION: 2\n")
    cfg, expected = get_cfg(), get_cfg()
    merge_config_file(cfg, str(path))
    expected.merge_from_file(str(path), allow_unsafe=True)
    assert cfg == expected and cfg.SOLVER.STEPS == (60000, 80000) and len(cfg.MODEL.ANCHOR_GENERATOR.SIZES) == 5


FORMULAS = [
    "[[x, x * 2**(1.0/3), x * 2**(2.0/3) ] for x in [32, 64, 128, 256, 512 ]]",
    "[int(x * 0.1 * 640) for x in range(5, 16)]",
    "range(3)",
    "(1, -2.5, 7 // 2)",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas_have_pythons_values(formula):
    assert load(f'a: !!python/object/apply:eval ["{formula}"]') == {"a": list(eval(formula))}


def test_tuples_are_lists():
    assert load("a: !!python/tuple [1, [2]]") == {"a": [1, [2]]}


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').getcwd()",
        "().__class__",
        "open('x')",
        "[x for x in 'abc']",
        "9**9**9",
        "2**-9999",
        "'a' * 10**9",
        "[0] * 10**9",
        "[[0 for x in range(9000)] for y in range(9000)]",
        "range(10**9)",
        "[[x, x] for x in [[x, x] for x in [1]]]",
        "1 / 0",
        "lambda: 0",
        "x",
        "1 +",
        "(" * 40 + "1" + ")" * 40 + "]",
    ],
)
def test_other_formulas_are_refused(formula):
    with pytest.raises(yaml.YAMLError, match="formula|brackets"):
        load(f"a: !!python/object/apply:eval [{formula!r}]")


NINE = ", ".join(["*{0}"] * 9)
LAUGHS = "a: &a [x]\n" + "".join(f"{b}: &{b} [{NINE.format(a)}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
MERGES = "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{NINE.format(a)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi"))


@pytest.mark.parametrize(
    "text, complaint",
    [
        (LAUGHS, "more than 100,000 values"),
        (MERGES, "more than 100,000 values"),
        ("a: &a [*a]", "contains itself"),
        ("a: &a {b: *a}", "contains itself"),
        ("a: " + "[" * 3000, "brackets"),
        ("- " * 3000 + "1", "nested too deeply"),
        ("a: '" + "x" * (1 << 20) + "'", "characters"),
        ("a: 2001-13-01", "cannot be read"),
        ("a: " + "9" * 5000, "cannot be read"),
        ("a: !!python/name:os.system", "os.system"),
        ("a: !!python/object/new:os.system ['true']", "os.system"),
    ],
)
def test_what_stands_for_more_than_a_config_holds(text, complaint):
    with pytest.raises(yaml.YAMLError, match=re.escape(complaint)):
        load(text)


def test_bases_are_followed_and_read_alike(tmp_path):
    (tmp_path / "base.yaml").write_text("a: 1\nb: {c: !!python/tuple [2]}\n")
    (tmp_path / "top.yaml").write_text("_BASE_: base.yaml\nb: {d: 3}\n")
    assert load_yaml_with_base(str(tmp_path / "top.yaml")) == {"a": 1, "b": {"c": [2], "d": 3}}
    (tmp_path / "base.yaml").write_text(LAUGHS)
    with pytest.raises(yaml.YAMLError, match="100,000"):
        load_yaml_with_base(str(tmp_path / "top.yaml"))
    (tmp_path / "top.yaml").write_text("_BASE_: top.yaml\n")
    with pytest.raises(yaml.YAMLError, match="leads back to itself"):
        load_yaml_with_base(str(tmp_path / "top.yaml"))


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "a.yaml").write_text("SEED: 3\n")
    cfg = get_cfg()
    merge_config_file(cfg, str(tmp_path / "a.yaml"))
    assert cfg.SEED == 3 and os.listdir(tmp_path) == ["a.yaml"]
