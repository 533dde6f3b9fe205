"""The only place that knows versions.

It lets detectron2 0.6 (what the package registries give) and detectron2 main run on today's torch, numpy and Pillow.
Every mend is applied only where the thing it mends is missing, because both detectron2 versions call themselves
"0.6" and users bring their own builds. ``setup_environment`` must run before any detectron2 submodule is imported;
``import frcnn_alt`` does that, and people who import detectron2 first can have it done by detectron2 itself::

    DETECTRON2_ENV_MODULE=frcnn_alt.compat python their_script.py
"""

import functools
import importlib
import importlib.util
import re
import sys
import types
import warnings

HOW_TO_GET_DETECTRON2 = (
    "frcnn_alt needs detectron2, which is not installed: get it with "
    "`pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2` "
    "or run `make venv` in a checkout of frcnn_alt, which installs version 0.6 from the package index."
)

# Modules of detectron2 0.6 that write np.bool, np.int, np.float or np.str (removed in numpy 1.24); main does not.
_OLD_NUMPY_NAME = re.compile(r"\bnp\.(bool|int|float|str|object)\b")
_MODULES_WITH_OLD_NUMPY_NAMES = (
    "detectron2.data.build",
    "detectron2.data.datasets.pascal_voc",
    "detectron2.evaluation.pascal_voc_evaluation",
    "detectron2.evaluation.sem_seg_evaluation",
    "detectron2.structures.masks",
    "detectron2.utils.video_visualizer",
    "detectron2.utils.visualizer",
)


class _MissingExtension(types.ModuleType):
    """Stands in for ``detectron2._C`` so that modules importing it load; using it says what is missing."""

    has_cuda = staticmethod(lambda: False)
    get_cuda_version = staticmethod(lambda: "not available")
    get_compiler_version = staticmethod(lambda: "not compiled")

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(  # not another class: hasattr() must work on every module in sys.modules
            f"detectron2._C.{name} is part of detectron2's compiled extension, which this installation does not "
            "have. Nothing in frcnn_alt needs it; install detectron2 from its repository to use it."
        )


class _NumpyWithOldNames(types.ModuleType):
    """numpy as before 1.24, given to single modules rather than changing numpy for everybody."""

    bool, int, float, str, object = bool, int, float, str, object

    def __getattr__(self, name: str):
        import numpy

        return getattr(numpy, name)


def require_detectron2() -> None:
    """Raise ImportError, in one sentence that says how to get it, when detectron2 cannot be found.

    A folder named detectron2 without ``__init__.py``, such as an upstream clone in the working directory, would be
    imported as an empty namespace package; it has no origin and counts as missing.
    """
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        raise ImportError(HOW_TO_GET_DETECTRON2)


def _hush_known_warnings() -> None:
    """detectron2 uses what newer torch calls deprecated; users of either can do nothing about these."""
    warnings.filterwarnings("ignore", message=r"`torch\.jit\.script.* is deprecated")
    warnings.filterwarnings("ignore", message=r"torch\.meshgrid: in an upcoming release")
    warnings.filterwarnings("ignore", message="TypedStorage is deprecated", module=r"detectron2\.utils\.comm")
    warnings.filterwarnings(
        "ignore", message="`broadcast_buffers` is deprecated", module=r"detectron2\.engine\.defaults"
    )


def _mend_pillow() -> None:
    from PIL import Image

    if not hasattr(Image, "LINEAR"):
        Image.LINEAR = Image.BILINEAR


def _mend_compiled_extension() -> None:
    try:
        importlib.import_module("detectron2.layers")
        return  # compiled, or main, which guards itself
    except ImportError:
        if importlib.util.find_spec("detectron2._C") is not None:
            raise  # it is there but does not load, e.g. built for another torch: hiding that would help nobody
    for name in [m for m in sys.modules if m.startswith("detectron2.layers")]:
        del sys.modules[name]  # half-imported by the attempt
    sys.modules["detectron2._C"] = _MissingExtension("detectron2._C")
    importlib.import_module("detectron2.layers")

    # COCOEvaluator imports the compiled fast path unconditionally; pycocotools gives the same numbers, slower.
    from pycocotools.cocoeval import COCOeval

    fast = types.ModuleType("detectron2.evaluation.fast_eval_api")
    fast.COCOeval_opt = COCOeval
    sys.modules.setdefault("detectron2.evaluation.fast_eval_api", fast)


def _mend_numpy_names() -> None:
    import numpy

    if "bool" in vars(numpy) and "int" in vars(numpy):
        return  # numpy before 1.24
    for name in _MODULES_WITH_OLD_NUMPY_NAMES:
        spec = importlib.util.find_spec(name)
        if spec is None or not _OLD_NUMPY_NAME.search(spec.loader.get_source(name) or ""):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            if error.name != "cv2":
                raise
            continue  # the visualizers want OpenCV, which detectron2 leaves to the user
        if module.np is numpy:
            module.np = _NumpyWithOldNames("numpy")


def _mend_distributed_models() -> None:
    """Let ``create_ddp_model`` wrap a model on the CPU, for which DistributedDataParallel refuses to be told a GPU."""
    engine, defaults = (importlib.import_module(f"detectron2.engine{part}") for part in ("", ".defaults"))
    stock = defaults.create_ddp_model
    if hasattr(stock, "__wrapped__"):
        return  # mended already

    @functools.wraps(stock)
    def create_ddp_model(model, **kwargs):
        if not any(parameter.is_cuda for parameter in model.parameters()):
            kwargs.setdefault("device_ids", None)
        return stock(model, **kwargs)

    engine.create_ddp_model = defaults.create_ddp_model = create_ddp_model


def create_local_process_group(processes_per_machine: int) -> None:
    """Make the group of the processes of one machine that detectron2 keeps; what ``launch`` does by itself.

    Every process of the default process group has to call it.

    Args:
        processes_per_machine: the same on all machines; ranks count machine by machine.
    """
    from detectron2.utils import comm

    if hasattr(comm, "create_local_process_group"):  # main
        comm.create_local_process_group(processes_per_machine)
        return
    from torch import distributed

    for first in range(0, comm.get_world_size(), processes_per_machine):
        ranks = list(range(first, first + processes_per_machine))
        group = distributed.new_group(ranks)
        if comm.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def forget_process_groups() -> None:
    """Make detectron2 forget the process groups that it keeps, once they have been destroyed."""
    from detectron2.utils import comm

    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    if hasattr(comm, "create_local_process_group"):  # main, which would not make a second one
        comm.create_local_process_group.cache_clear()


def setup_environment() -> None:
    """Apply every mend that this installation needs. Called once by ``import frcnn_alt``; harmless to repeat.

    Raises:
        ImportError: detectron2 is not installed; the message says how to get it.
    """
    require_detectron2()
    _hush_known_warnings()
    _mend_pillow()
    _mend_compiled_extension()
    _mend_numpy_names()
    _mend_distributed_models()
