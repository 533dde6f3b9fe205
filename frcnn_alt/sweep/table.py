"""A table of the paper as a short yaml file: which networks are trained, and what each row measures on them.

::

    title: "..."                      what the page is headed with
    metrics: {mAP: bbox/AP50}         column -> where the number stands in a row's results ("... * 100" in percent)
    columns: [train, test]            headings of the rows' cells
    bases: {zf: ../zf_4step.yaml}     config files by name; --base zf=FILE on the command line replaces one
    networks:
      shared: {base: zf}              trained by tools/train_net.py; overlays, opts, proposals ...: see `Network`
    rows:
      - {name: ..., cells: [...], network: shared, paper: 59.9}        see `Row`
    statements:
      - {text: ..., better: one, worse: another}                       see `Statement`

``_BASE_`` names a table file of the same folder to begin with, as in detectron2's configs. Paths are relative to that
folder. ``read_table`` reads and checks it.
"""

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Tuple

__all__ = ["EXTERNAL_PROPOSALS", "MEASURES", "OWN_KEYS", "Network", "Row", "Statement", "Table"]

# What makes proposals without a network: subcommands of tools/make_proposals.py.
EXTERNAL_PROPOSALS = ("selective_search", "edge_boxes")
# What a row measures: detections (average precision), proposals (recall over IoU), milliseconds of the parts.
MEASURES = ("detections", "recall", "time")
# Config keys that the sweep sets itself; others' values would mix up what is done with what is to be done.
OWN_KEYS = ("SEED", "OUTPUT_DIR")


@dataclass(frozen=True)
class Network:
    """One training.

    Attributes:
        name: what rows call it.
        base: which of the table's bases.
        overlays: yaml files that are laid over the base.
        opts: config keys and values for its training.
        proposals: where a schedule of Fast R-CNN alone has its proposals from, one of ``EXTERNAL_PROPOSALS``.
        weights_of: another network whose final weights replace MODEL.WEIGHTS.
        classes: with `weights_of`: restrict that detector to these classes first (``convert_weights.py --classes``).
        trained: False tests the initial weights as they are, which are those of a whole detector then.
    """

    name: str
    base: str
    overlays: Tuple[str, ...] = ()
    opts: Mapping[str, Any] = field(default_factory=dict)
    proposals: str = ""
    weights_of: str = ""
    classes: str = ""
    trained: bool = True


@dataclass(frozen=True)
class Row:
    """What is measured on one network, and the paper's number.

    Attributes:
        name: what statements call it; unique.
        cells: of the first columns, as the paper has them.
        network: the network that is tested; of recall of `proposals` that none has made, none, or one whose base's
            images are meant (else those of the table's first base).
        measure: one of ``MEASURES``.
        test: config keys and values for the test alone.
        proposals: the network is tested on these boxes: of another network's RPN, or one of ``EXTERNAL_PROPOSALS``.
        proposal_test: config keys and values for that RPN at test time.
        boxes: how many boxes of an image are used; None leaves it to the config.
        draws: how often a random choice is made anew (MODEL.RPN.RANDOM_DRAW_SEED 0, 1, ...); the mean counts.
        paper: metric -> the paper's number; nothing where it has none.
    """

    name: str
    cells: Tuple[str, ...]
    network: str = ""
    measure: str = "detections"
    test: Mapping[str, Any] = field(default_factory=dict)
    proposals: str = ""
    proposal_test: Mapping[str, Any] = field(default_factory=dict)
    boxes: Optional[int] = None
    draws: int = 1
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Statement:
    """What the paper says about two rows.

    Attributes:
        text: the statement.
        better, worse: names of rows.
        nearly: the paper says that `worse` is nearly as good, not that it is worse.
    """

    text: str
    better: str
    worse: str
    nearly: bool = False


@dataclass(frozen=True)
class Table:
    """A table file's content, checked; see the module."""

    name: str
    title: str
    metrics: Mapping[str, str]
    columns: Tuple[str, ...]
    bases: Mapping[str, str]
    networks: Mapping[str, Network]
    rows: Tuple[Row, ...]
    statements: Tuple[Statement, ...] = ()
    note: str = ""
