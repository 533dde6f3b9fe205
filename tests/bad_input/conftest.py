"""The data, the config and the finished run that the cases of bad input start from; nobody writes into them."""

from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence

from frcnn_alt.data.shapes import make_shapes
from frcnn_alt.engine.failures import guarded

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from refusals import assert_refused, train_net, write_config


class Start(NamedTuple):
    """What is good.

    Attributes:
        root: VOC-layout folder of images.
        config: a yaml that trains on it.
        run: the folder of a finished run of that.
    """

    root: Path
    config: str
    run: Path


def _value_of(cfg: CfgNode, *keys: str, default: Any = None) -> Any:
    for key in keys:
        node = cfg
        for name in key.split("."):
            node = {} if node is None else node.get(name)
        if node is not None:
            return node
    return default


@pytest.fixture(autouse=True)
def _apart(own_catalogs: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each case has catalogs of its own, and is spared what takes detectron2's default_setup most of its time."""
    monkeypatch.setattr("detectron2.engine.defaults.collect_env_info", lambda: "")
    monkeypatch.setattr("detectron2.engine.defaults._try_get_key", _value_of, raising=False)
    monkeypatch.delenv("FRCNN_ALT_TRACEBACK", raising=False)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    folder = tmp_path_factory.mktemp("bad_input")
    make_shapes(str(folder / "images"), seed=2, num_trainval=3, num_test=1, size=(112, 84))
    config = write_config(folder / "mine.yaml", str(folder / "images"), str(folder / "run"))
    with pytest.MonkeyPatch.context() as patches:
        for catalog in (DatasetCatalog, MetadataCatalog):
            patches.setattr(catalog, "data", dict(catalog.data))
        assert guarded(train_net(config, "MODEL.WEIGHTS", "")) == 0
    return Start(folder / "images", config, folder / "run")


@pytest.fixture
def refused(capfd: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., str]:
    """`assert_refused` of a command that would write to ``tmp_path / "out"``."""

    def check(command: Callable[[], int], *parts: str, outputs: Sequence[Path] = (), status: int = 2) -> str:
        return assert_refused(command, parts, [tmp_path / "out", *outputs], capfd, status)

    return check
