"""The images of the miniature runs, one such run, and three more with all that happened in them."""

from frcnn_alt.data.shapes import make_shapes

import pytest
from miniature import run, six_iterations, tiny_config, write_initial_weights
from recording import record_run, recorded_config


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("data") / "tiny_shapes")
    make_shapes(root, seed=1, num_trainval=6, num_test=8, size=(112, 84))
    return root


@pytest.fixture(scope="session")
def whole(shapes, tmp_path_factory):
    """The config of a finished run of all four steps; nobody writes into its folder."""
    folder = tmp_path_factory.mktemp("whole")
    cfg = tiny_config(shapes, folder / "run", weights=str(folder / "initial.pth"), exact=True)
    write_initial_weights(cfg, cfg.MODEL.WEIGHTS)
    run(cfg)
    return cfg


@pytest.fixture(scope="session")
def undisturbed_six(shapes, tmp_path_factory):
    """The config of a finished run with steps of 6 iterations."""
    cfg = six_iterations(shapes, tmp_path_factory.mktemp("undisturbed") / "run")
    run(cfg)
    return cfg


def _record(shapes, folder, net="ZF", **values):
    cfg = recorded_config(shapes, folder, net, **values)
    with pytest.MonkeyPatch.context() as monkeypatch:
        return cfg, record_run(cfg, monkeypatch)


@pytest.fixture(scope="session")
def zf_run(shapes, tmp_path_factory):
    """(cfg, step name -> RecordedStep)."""
    return _record(shapes, tmp_path_factory.mktemp("zf"))


@pytest.fixture(scope="session")
def vgg16_run(shapes, tmp_path_factory):
    return _record(shapes, tmp_path_factory.mktemp("vgg16"), "VGG16")


@pytest.fixture(scope="session")
def switched_run(shapes, tmp_path_factory):
    """ZF with step 4's box predictor new (py-faster-rcnn) and step 3's RPN head continued (seed 000)."""
    switches = {"SCHEDULE__STEP4_BOX_PREDICTOR": "new", "SCHEDULE__STEP3_RPN_HEAD": "step1_rpn"}
    return _record(shapes, tmp_path_factory.mktemp("switched"), **switches)
