"""From the command line to a config: detectron2's flags, our defaults, and errors that say what to mend."""

import argparse
import difflib
import importlib
import logging
import os
import re
import sys
from typing import Iterator, List

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser as detectron2_argument_parser
from detectron2.engine import default_setup as detectron2_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..config import get_cfg
from ..data import register_datasets
from ..safe_write import naming_errors, write_text
from ..safe_yaml import merge_config_file
from .kind_checks import kind_problems
from .writers import name_log_errors

__all__ = [
    "ConfigError",
    "default_argument_parser",
    "default_setup",
    "explain_merge_error",
    "merge_overrides",
    "setup_cfg",
]


class ConfigError(ValueError):
    """A config that cannot be run; the message names the key or the file and the mend."""


def default_argument_parser(epilog: str = "") -> argparse.ArgumentParser:
    """Return detectron2's parser (--config-file --resume --eval-only ... KEY VALUE ...) with flags of ours."""
    parser = detectron2_argument_parser(epilog or None)
    parser.add_argument(
        "--overlay",
        metavar="FILE",
        action="append",
        default=[],
        help="a yaml file whose keys replace those of the config file, e.g. configs/presets/pyfrcnn.yaml; repeatable",
    )
    parser.add_argument(
        "--steps",
        metavar="A-B",
        help="train these steps of the schedule alone, e.g. 2 or 3-4, or none (SCHEDULE.RUN_ONLY)",
    )
    parser.add_argument(
        "--from-run",
        metavar="FOLDER",
        help="an earlier run whose finished steps stand in for those that are not trained (SCHEDULE.GIVEN_RUN)",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        metavar="MODULE",
        action="append",
        default=[],
        help="a Python module to import first, which registers components of your own; repeatable",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, check all of it, and stop")
    parser.add_argument(
        "--restart-from",
        metavar="N",
        help="go on with the run in the folder (--resume is implied), but make this step (its number from 1 on, or its "
        "name) and those after it anew, under the config of now",
    )
    parser.add_argument("--overwrite", action="store_true", help="begin anew in a folder that already holds a run")
    return parser


def _all_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, CfgNode):
            yield from _all_keys(value, f"{prefix}{name}.")
        yield f"{prefix}{name}"


def explain_merge_error(error: Exception, cfg: CfgNode, where: str) -> ConfigError:
    """Turn yacs's complaint about a key into a sentence that proposes the nearest key there is."""
    text = str(error).strip("'\"")
    if "Non-existent" in text:
        key = text.split(":")[-1].strip().strip("'\"")
        names = list(_all_keys(cfg))
        near = difflib.get_close_matches(key, names, n=3, cutoff=0.5) or [
            name for name in names if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]
        ]
        hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
        return ConfigError(f"{where}: there is no config key {key}.{hint}")
    if "NoneType" in text and "iterable" in text:
        return ConfigError(f"{where} is empty: it holds no KEY: VALUE lines.")
    if isinstance(error, TypeError):  # of code that took it for KEY: VALUE lines
        return ConfigError(f"{where} is no config: it, or a section of it, holds no KEY: VALUE lines ({text}).")
    mismatch = re.match(
        r"Type mismatch \(<class '(\w+)'> vs. <class '(\w+)'>\) with values \((.*) vs. (.*)\) .*: (\S+)$", text
    )
    if mismatch:
        wanted, found, _, value, key = mismatch.groups()
        quoted = " Quote a number that is meant as a text twice: \"'...'\"." if wanted == "str" else ""
        return ConfigError(f"{where}: {key} is {value}, of type {found}; it takes one of type {wanted}.{quoted}")
    return ConfigError(f"{where}: {text}")


def _merge(cfg: CfgNode, config_files: List[str], opts: List[str]) -> None:
    for config_file in config_files:
        if os.path.isdir(config_file):
            raise ConfigError(f"Config file {config_file} is a folder: name a yaml file in it.")
        if not os.path.isfile(config_file):
            raise ConfigError(f"Config file not found: {config_file}")
        try:
            merge_config_file(cfg, config_file)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{config_file} cannot be read as a config, it is no text: {error}") from error
        except (KeyError, AssertionError, ValueError, TypeError) as error:
            raise explain_merge_error(error, cfg, config_file) from error
        except AttributeError as error:
            raise ConfigError(f"{config_file} is no config: it holds no KEY: VALUE lines.") from error
        except Exception as error:  # yaml's own errors, of several classes
            raise ConfigError(f"{config_file} cannot be read as a config: {error}") from error
    if opts and opts[0].endswith((".yaml", ".yml")):
        raise ConfigError(f"{opts[0]} stands where a KEY is expected: each overlay needs its own --overlay before it.")
    if len(opts) % 2:
        flags = [word for word in opts if word.startswith("--")]
        hint = f" Flags go before the first KEY: {' '.join(flags)}." if flags else ""
        raise ConfigError(
            f"Overrides come in pairs, KEY VALUE; the last of {len(opts)} stands alone: {opts[-1]}.{hint}"
        )
    merge_overrides(cfg, opts, "command line")


def merge_overrides(cfg: CfgNode, opts: List[str], where: str) -> None:
    """Set KEY VALUE pairs in `cfg`, in place.

    Args:
        cfg: not frozen.
        opts: keys and values by turns.
        where: what the message calls the place that they stand in.

    Raises:
        ConfigError: there is no such key (the nearest ones are named), or its value is of another kind.
    """
    try:
        cfg.merge_from_list(opts)
    except (KeyError, AssertionError, AttributeError, ValueError, TypeError) as error:
        raise explain_merge_error(error, cfg, where) from error
    except (MemoryError, RecursionError) as error:  # of Python's parser
        raise ConfigError(f"{where}: a value is nested too deeply.") from error


def _import_modules(names: List[str]) -> None:
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where people start it from; a script has its own folder there instead
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise  # the module is there, and lacks something itself
            raise ConfigError(
                f"--import {name}: there is no such module in {os.getcwd()}, on PYTHONPATH or installed."
            ) from error


def setup_cfg(args: argparse.Namespace) -> CfgNode:
    """Build the config that `args` asks for.

    OUTPUT_DIR is ``output/<name of the config>_<names of the overlays>`` unless given; MODEL.DEVICE becomes "cpu" where
    there is no GPU; data sets that the config describes are registered, which fills DATASETS.TRAIN/TEST and
    NUM_CLASSES.

    Args:
        args: with ``config_file`` and ``opts``, as detectron2's parser gives them; what `default_argument_parser` adds
            may be absent.

    Returns:
        CfgNode: not frozen yet.

    Raises:
        ConfigError: file or module not found, unknown key (the nearest ones are named), wrong type, odd number of
            overrides.
        DatasetError: the data set keys contradict each other or lead nowhere.
    """
    _import_modules(getattr(args, "modules", []))
    cfg = get_cfg()
    default_output = cfg.OUTPUT_DIR
    files = [file for file in (args.config_file, *getattr(args, "overlay", [])) if file]
    _merge(cfg, files, list(args.opts or []))
    problems = kind_problems(cfg)
    if not problems and cfg.SEED >= 2**32:  # random generators are seeded before the plan looks at it
        problems = [f"SEED is {cfg.SEED}: it takes a number below 2**32, numpy's limit, or -1 for any."]
    if problems:
        raise ConfigError("\n".join(problems))
    cfg.SCHEDULE.RUN_ONLY = getattr(args, "steps", None) or cfg.SCHEDULE.RUN_ONLY
    cfg.SCHEDULE.GIVEN_RUN = getattr(args, "from_run", None) or cfg.SCHEDULE.GIVEN_RUN
    if default_output == cfg.OUTPUT_DIR and files:
        cfg.OUTPUT_DIR = os.path.join("output", "_".join(os.path.splitext(os.path.basename(file))[0] for file in files))
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    register_datasets(cfg)
    return cfg


def default_setup(cfg: CfgNode, args: argparse.Namespace) -> None:
    """detectron2's ``default_setup`` with its long listings (environment, config) kept to the log file.

    Args:
        cfg: the run's config; its OUTPUT_DIR gets ``log.txt``, and ``config.yaml`` unless there is one.
        args: the command line.

    Raises:
        WriteError: OUTPUT_DIR cannot be written to.
    """
    # The arguments are detectron2's own to the letter: setup_logger is cached by them, and others would log twice.
    rank = comm.get_rank()
    with naming_errors(os.path.join(cfg.OUTPUT_DIR, "log.txt")):
        loggers = [
            setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore"),
            setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank),
            setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="frcnn_alt"),
        ]
    consoles = {h for log in loggers for h in log.handlers if getattr(h, "stream", None) is sys.stdout}
    for log in loggers:
        for handler in set(log.handlers) - consoles:
            if isinstance(handler, logging.StreamHandler):
                name_log_errors(handler)
    levels = [(console, console.level) for console in consoles]
    for console in consoles:
        console.setLevel(logging.WARNING)
    config = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
    earlier = None
    if comm.is_main_process() and os.path.exists(config):
        with open(config) as file:
            earlier = file.read()
    try:
        with naming_errors(config):
            detectron2_setup(cfg, args)
    finally:
        for console, level in levels:
            console.setLevel(level)
    if earlier is not None:
        # It may belong to a finished network; a run replaces it when it has made another.
        write_text(config, earlier)
