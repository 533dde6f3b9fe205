"""setup.py and the Makefile: what is installed, what it asks for, and how the environment is made. No network."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import frcnn_alt

import detectron2
import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[1]

# Where the name to import is not the name to install.
DISTRIBUTIONS = {"PIL": "Pillow", "cv2": "opencv-contrib-python-headless", "google": "protobuf", "yaml": "PyYAML"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(metadata of the distribution, folder of the installed packages), made without touching the checkout."""
    folder = tmp_path_factory.mktemp("built")
    command = ["egg_info", "--egg-base", str(folder), "build_py", "--build-lib", str(folder / "lib")]
    finished = subprocess.run([sys.executable, "setup.py", *command], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return importlib.metadata.PathDistribution(folder / "frcnn_alt.egg-info"), folder / "lib"


def required(distribution):
    """{"": names asked for always, extra: names}, in lower case."""
    found = {}
    for requirement in distribution.requires:
        extra = re.search(r'extra == "(\w+)"', requirement)
        name = re.match(r"[\w.-]+", requirement).group(0).lower()
        found.setdefault(extra.group(1) if extra else "", set()).add(name)
    return found


def test_metadata(built):
    metadata = built[0].metadata
    assert metadata["Name"].replace("-", "_") == "frcnn_alt"
    assert metadata["Version"] == frcnn_alt.__version__
    assert metadata["Requires-Python"] == ">=3.8"
    assert "Apache" in (ROOT / "LICENSE").read_text("utf-8") and "Apache" in metadata["License"]
    assert built[0].read_text("top_level.txt").split() == ["frcnn_alt"]


def test_detectron2_is_not_asked_of_the_package_index(built):
    assert not any("detectron2" in name for names in required(built[0]).values() for name in names)


def test_every_file_of_the_package_is_installed(built):
    tracked = {
        path.relative_to(ROOT) for path in (ROOT / "frcnn_alt").rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    assert {path.relative_to(built[1]) for path in built[1].rglob("*") if path.is_file()} == tracked


def test_every_import_is_asked_for(built):
    """Whatever the package imports from elsewhere stands in install_requires, or in an extra."""
    imported = set()
    for path in (ROOT / "frcnn_alt").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    outside = imported - set(sys.stdlib_module_names) - {"detectron2", "frcnn_alt"}
    asked = required(built[0])
    extras = asked["opencv"] | asked["matlab"] | asked["slurm"]
    assert {DISTRIBUTIONS.get(name, name).lower() for name in outside} <= asked[""] | extras


def test_linter_is_pinned(built):
    """Another version formats differently, and `make lint` would fail without a change."""
    assert re.search(r"^ruff==\d+\.\d+\.\d+;", "\n".join(built[0].requires), re.M)


def test_detectron2_is_pinned_by_its_hash():
    lines = (ROOT / "requirements" / "detectron2.txt").read_text("utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    assert len(lines) == 1
    assert re.match(r"pb1-detectron2==0\.6 --hash=sha256:[0-9a-f]{64} ", lines[0])


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.skipif(
    any(folder and folder in detectron2.__file__ for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep)),
    reason="this detectron2 was found by PYTHONPATH, not installed",
)
def test_environment_shows_the_detectron2_that_is_there(tmp_path):
    """The first stage of `make venv`, in a folder with a space, from a Python that has detectron2."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    shutil.copy(ROOT / "Makefile", clone)
    make = ["make", f"PYTHON={sys.executable}", ".venv/.complete-python"]
    finished = subprocess.run(make, cwd=clone, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr

    ask = "import detectron2, setuptools, sys; print(detectron2.__file__, setuptools.__file__, sys.prefix, sep='\\n')"
    python = clone / ".venv" / "bin" / "python"
    answer = subprocess.run([str(python), "-W", "ignore", "-c", ask], cwd=tmp_path, capture_output=True, text=True)
    assert answer.stdout.splitlines() == [detectron2.__file__, setuptools.__file__, str(clone / ".venv")]
    again = subprocess.run(make, cwd=clone, capture_output=True, text=True)
    assert "is up to date" in again.stdout
