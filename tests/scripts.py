"""The scripts of the repository as modules, so that tests call their functions."""

import importlib.util
from pathlib import Path
from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[1]


def load_script(path: str) -> ModuleType:
    """The script at `path`, counted from the root of the repository, as a new module.

    By path, for detectron2 0.6 brings a package that is called tools, and benchmarks is no package at all.
    """
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
