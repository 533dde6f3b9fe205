"""compat: a missing detectron2, the stand-ins for what an installation lacks, and detectron2's own start-up hook.

What depends on the state of an interpreter runs in one of its own.
"""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

from frcnn_alt import compat

import numpy
import pytest
import torch
from detectron2 import engine
from detectron2.engine import create_ddp_model, defaults
from detectron2.utils import comm
from torch.nn.parallel import DistributedDataParallel
from two_processes import on_two_processes

ROOT = Path(__file__).resolve().parents[1]


def python_path(*folders):
    """PYTHONPATH with `folders` in front: a detectron2 that was chosen through it stays the chosen one."""
    return os.pathsep.join([str(folder) for folder in folders] + os.environ.get("PYTHONPATH", "").split(os.pathsep))


def run_python(code, *options, **environment):
    return subprocess.run(
        [sys.executable, "-W", "ignore", *options, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": python_path(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def result_of(code, **environment):
    """What `code`, run in an interpreter of its own, prints as JSON on its last line."""
    finished = run_python(code, **environment)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


# -S leaves site-packages out: a Python without detectron2 (and torch), and not a pretended one.
@pytest.mark.parametrize("clone_in_working_directory", [False, True])
def test_missing_detectron2_is_said_in_one_sentence(tmp_path, clone_in_working_directory):
    if clone_in_working_directory:  # as `git clone .../detectron2` leaves it
        (tmp_path / "detectron2" / "detectron2").mkdir(parents=True)
    finished = run_python("import frcnn_alt", "-S", PYTHONPATH=os.pathsep.join([str(ROOT), str(tmp_path)]))
    assert finished.returncode == 1
    message = finished.stderr.strip().splitlines()[-1]
    assert message == f"ImportError: {compat.HOW_TO_GET_DETECTRON2}"
    assert message.count(". ") == 0 and message.endswith(".")  # one sentence
    assert "pip install" in message and "git+https://github.com/facebookresearch/detectron2" in message


def test_extension_is_stood_in_for_only_when_detectron2_cannot_do_without():
    import detectron2.layers

    folder = Path(detectron2.layers.__file__).parents[1]
    compiled = any(folder.glob("_C*.so"))
    guarded = "except ImportError" in (folder / "layers" / "deform_conv.py").read_text("utf-8")  # as on main
    stood_in = isinstance(sys.modules.get("detectron2._C"), compat._MissingExtension)
    assert stood_in == (not compiled and not guarded)


def test_using_the_stand_in_says_what_is_missing():
    stand_in = compat._MissingExtension("detectron2._C")
    with pytest.raises(AttributeError, match=r"detectron2\._C\.deform_conv_forward is part of .* compiled extension"):
        stand_in.deform_conv_forward()
    assert not hasattr(stand_in, "np")  # whoever walks over sys.modules must not fall over it
    assert stand_in.has_cuda() is False  # the three that detectron2.utils.collect_env asks in default_setup()
    assert isinstance(stand_in.get_cuda_version(), str) and isinstance(stand_in.get_compiler_version(), str)


def test_an_extension_that_is_there_but_does_not_load_is_not_hidden(tmp_path):
    """E.g. detectron2 compiled for another torch: the loader's own message must come through."""
    package = tmp_path / "detectron2"
    (package / "layers").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "layers" / "__init__.py").write_text("from detectron2 import _C")
    (package / "_C.py").write_text("raise ImportError('undefined symbol: torch')")
    finished = run_python("import frcnn_alt", PYTHONPATH=python_path(tmp_path, ROOT))
    assert finished.returncode == 1
    assert finished.stderr.strip().splitlines()[-1] == "ImportError: undefined symbol: torch"


def test_coco_evaluation_has_a_class_to_use():
    from detectron2.evaluation import coco_evaluation
    from pycocotools.cocoeval import COCOeval

    assert issubclass(coco_evaluation.COCOeval_opt, COCOeval)


def test_old_numpy_names_are_given_to_the_modules_that_write_them_and_to_no_other():
    folder = Path(importlib.util.find_spec("detectron2").origin).parent
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
        tree = ast.walk(ast.parse(path.read_text("utf-8")))
        written = {
            node.attr
            for node in tree
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "np"
        }
        writes_old_names = bool(written & {"bool", "int", "float", "str", "object"}) and numpy.__version__ >= "1.24"
        module = sys.modules.get(name)
        assert module is not None or not writes_old_names, f"{name} writes old numpy names and was not mended"
        if "np" in vars(module or object):
            assert (module.np is not numpy) == writes_old_names, name
    assert "object" not in vars(numpy) or numpy.__version__ < "1.24"  # numpy itself is as it came


@pytest.mark.parametrize("name", ["bool", "int", "float", "str", "object"])
def test_numpy_with_old_names(name):
    with_old_names = compat._NumpyWithOldNames("numpy")
    assert (
        getattr(with_old_names, name) is {"bool": bool, "int": int, "float": float, "str": str, "object": object}[name]
    )
    assert with_old_names.asarray is numpy.asarray
    with pytest.raises(AttributeError):
        _ = with_old_names.no_such_name


def test_pillow_alias():
    from detectron2.data.transforms import RandomExtent
    from PIL import Image

    assert Image.LINEAR == Image.BILINEAR
    image = numpy.random.RandomState(0).randint(0, 255, (8, 8, 3), dtype=numpy.uint8)
    transform = RandomExtent(scale_range=(1.0, 1.0), shift_range=(0.0, 0.0)).get_transform(image)
    assert numpy.array_equal(transform.apply_image(image), image)  # its default is Image.LINEAR


def test_repeating_the_setup_changes_nothing():
    before = {name: sys.modules.get(name) for name in ("detectron2._C", "detectron2.layers", "numpy")}
    modules = [sys.modules[name] for name in compat._MODULES_WITH_OLD_NUMPY_NAMES if name in sys.modules]
    numpys = [module.np for module in modules]
    compat.setup_environment()
    assert before == {name: sys.modules.get(name) for name in before}
    assert all(module.np is old for module, old in zip(modules, numpys))


def wrapped():
    model = create_ddp_model(torch.nn.Linear(2, 1))
    return type(model), model.device_ids, next(create_ddp_model(torch.nn.Linear(2, 1)).parameters()).is_cuda


def test_models_on_the_cpu_can_be_distributed():
    assert engine.create_ddp_model is defaults.create_ddp_model
    assert not hasattr(create_ddp_model.__wrapped__, "__wrapped__")  # mended once, however often the setup runs
    assert on_two_processes(wrapped) == [(DistributedDataParallel, None, False)] * 2


def local_groups():
    found = []
    for processes_per_machine in (1, 2):
        compat.forget_process_groups()
        compat.create_local_process_group(processes_per_machine)
        found.append((comm.get_local_rank(), comm.get_local_size()))
    return found


def test_local_process_groups():
    assert on_two_processes(local_groups) == [[(0, 1), (0, 2)], [(0, 1), (1, 2)]]


def test_without_opencv_everything_but_drawing_works():
    """detectron2's own switch for machines where cv2 does harm."""
    finished = run_python("import frcnn_alt; frcnn_alt.get_cfg()", DETECTRON2_DISABLE_CV2="1")
    assert finished.returncode == 0, finished.stderr


USE_DETECTRON2 = """
import json
{first}
from detectron2.config import get_cfg
from detectron2.modeling import BACKBONE_REGISTRY
import detectron2.layers
print(json.dumps([detectron2.__version__, "build_vgg16_backbone" in BACKBONE_REGISTRY]))
"""


@pytest.mark.parametrize("first", ["import detectron2", "import frcnn_alt"])
def test_detectron2_calls_the_setup_itself(first):
    """DETECTRON2_ENV_MODULE: the setup runs in the middle of detectron2's own import, or around it."""
    version, registered = result_of(USE_DETECTRON2.format(first=first), DETECTRON2_ENV_MODULE="frcnn_alt.compat")
    assert version and registered
