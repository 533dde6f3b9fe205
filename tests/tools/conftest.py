"""tools/visualize.py and a tiny network to draw with."""

import pytest
from drawing_network import write_network
from scripts import load_script


@pytest.fixture(scope="module")
def visualize_tool():
    return load_script("tools/visualize.py")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Its config.yaml, beside the weights."""
    return write_network(tmp_path_factory.mktemp("run"))


@pytest.fixture
def visualize(visualize_tool, network, tmp_path):
    def run(*arguments):
        fixed = ["--config-file", str(network), "--output", str(tmp_path / "drawn")]
        return visualize_tool.visualize(visualize_tool.parse_arguments([*fixed, *map(str, arguments)]))

    return run
