"""The targets of `fuzz.py` that read configs: yaml files, KEY VALUE words, and what `check_config` makes of them."""

import argparse
import contextlib
import io
from pathlib import Path
from typing import Any, Callable, Dict, List

import frcnn_alt
from frcnn_alt.engine.checks import check_config
from frcnn_alt.engine.defaults import merge_overrides, setup_cfg
from frcnn_alt.engine.kind_checks import kind_problems
from frcnn_alt.safe_yaml import load_yaml

import yaml
from fuzz_seeds import ROOT, SPLIT, VALUES

Run = Callable[[bytes], None]


def parts_of(data: bytes, count: int) -> List[bytes]:
    """The `count` texts of an input, those that it has not empty."""
    parts = data.split(SPLIT, count - 1)
    return parts + [b""] * (count - len(parts))


def read_yaml(folder: Path) -> Run:
    def run(data: bytes) -> None:
        with contextlib.suppress(yaml.YAMLError):  # what the rooms make their own errors of
            load_yaml(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return run


def read_config(folder: Path) -> Run:
    paths = [folder / "config.yaml", folder / "overlay.yaml"]

    def run(data: bytes) -> None:
        config, overlay, opts = parts_of(data, 3)
        paths[0].write_bytes(config)
        paths[1].write_bytes(overlay)
        words = opts.decode("utf-8", "replace").split("\n") if opts else []
        overlays = [str(paths[1])] if overlay else []
        cfg = setup_cfg(argparse.Namespace(config_file=str(paths[0]), overlay=overlays, opts=words))
        problems = check_config(cfg)
        assert all(isinstance(problem, str) for problem in problems)

    return run


def read_config_values(folder: Path) -> Run:
    """Inputs choose keys and values, three bytes a pair: nearly all of them get as far as `check_config`."""
    default = setup_cfg(argparse.Namespace(config_file=str(ROOT / "configs" / "zf_4step.yaml"), opts=[]))
    leaves = _leaves(default)
    keys = sorted(leaves)
    values = [word.decode() for word in VALUES] + sorted({str(value) for value in leaves.values()})
    of_kind: Dict[type, List[str]] = {}
    for text in values:
        of_kind.setdefault(type(default._decode_cfg_value(text)), []).append(text)
    of_kind = {kind: [*same, "None", "{}"] for kind, same in of_kind.items()}
    of_kind[tuple] = of_kind[list] = of_kind[tuple] + of_kind[list]  # yacs takes either

    def run(data: bytes) -> None:
        words = []
        for place in range(0, min(len(data), 18) - 2, 3):
            key = keys[int.from_bytes(data[place : place + 2], "big") % len(keys)]
            fitting = of_kind.get(type(leaves[key]), values)
            words += [key, fitting[data[place + 2] % len(fitting)]]
        cfg = default.clone()
        merge_overrides(cfg, words, "command line")
        if not kind_problems(cfg, default):
            check_config(cfg)

    return run


def _leaves(node: Any, prefix: str = "") -> Dict[str, Any]:
    found = {}
    for name, value in node.items():
        found.update(_leaves(value, f"{prefix}{name}.") if hasattr(value, "items") else {f"{prefix}{name}": value})
    return found


def read_overrides(folder: Path) -> Run:
    default = frcnn_alt.get_cfg()

    def run(data: bytes) -> None:
        words = data.decode("utf-8", "replace").split("\n")
        merge_overrides(default.clone(), words[: len(words) // 2 * 2], "command line")

    return run
