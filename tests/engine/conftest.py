"""The images of the miniature runs."""

from frcnn_alt.data.shapes import make_shapes

import pytest


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("data") / "tiny_shapes")
    make_shapes(root, seed=1, num_trainval=6, num_test=8, size=(112, 84))
    return root
