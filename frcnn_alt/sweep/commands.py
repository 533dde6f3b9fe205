"""From a table's bases and networks to the words of command lines, and to the configs that these words mean."""

import os
from typing import List, Sequence

from detectron2.config import CfgNode

from ..engine import default_argument_parser, setup_cfg
from .data_sets import own_catalogs
from .table import Network, Table
from .training import as_words

__all__ = ["Commands"]


class Commands:
    """What the commands of a sweep have in common.

    Args:
        table: with the bases and networks of all tables.
        tools: folder of the command line tools.
        opts: KEY VALUE ... for every command; a network's own come after them, and win.
    """

    def __init__(self, table: Table, tools: str, opts: Sequence[str]):
        self.table = table
        self.tools = tools
        self.opts = list(opts)

    def tool(self, name: str) -> str:
        """Path of a command line tool."""
        return os.path.join(self.tools, name)

    def of_base(self, base: str, overlays: Sequence[str] = ()) -> List[str]:
        """--config-file FILE --overlay FILE ... of a base."""
        words = ["--config-file", self.table.bases[base]]
        return words + [word for file in overlays for word in ("--overlay", file)]

    def of_training(self, network: Network, seed: int, folder: str) -> List[str]:
        """The words, tool included, that train a network into a folder."""
        words = [self.tool("train_net.py"), *self.of_base(network.base, network.overlays), "--resume"]
        return [*words, "OUTPUT_DIR", folder, "SEED", str(seed), *self.opts, *as_words(network.opts)]

    @staticmethod
    def config(words: Sequence[str]) -> CfgNode:
        """The config that a command line means, the tool's name left out."""
        with own_catalogs():
            return setup_cfg(default_argument_parser().parse_args(list(words)))

    def base_config(self, base: str) -> CfgNode:
        """The config of a base, with the keys that every command has."""
        return self.config([*self.of_base(base), *self.opts])
