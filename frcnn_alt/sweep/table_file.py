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

``_BASE_`` names a table file to begin with, as in detectron2's configs. Paths are relative to the file they stand in.
"""

import difflib
import os
from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Type

import yaml
from fvcore.common.config import CfgNode

from ..engine import ConfigError

__all__ = ["EXTERNAL_PROPOSALS", "MEASURES", "Network", "Row", "Statement", "Table", "read_table"]

# What makes proposals without a network: subcommands of tools/make_proposals.py.
EXTERNAL_PROPOSALS = ("selective_search", "edge_boxes")
# What a row measures: detections (average precision), proposals (recall over IoU), milliseconds of the parts.
MEASURES = ("detections", "recall", "time")


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
        network: the network that is tested.
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


def read_table(path: str, bases: Optional[Mapping[str, str]] = None) -> Table:
    """Read and check a table file.

    Args:
        path: the yaml file.
        bases: config files that replace those of the same name.

    Raises:
        ConfigError: no such file, no yaml, an unknown or missing entry, a network, row or base that is not there.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"Table file not found: {path}")
    try:
        content = CfgNode.load_yaml_with_base(path)
    except (yaml.YAMLError, OSError, AttributeError) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from error
    return _Reader(path).table(content, dict(bases or {}))


class _Reader:
    def __init__(self, path: str):
        self.path = path
        self.folder = os.path.dirname(os.path.abspath(path))

    def _place(self, file: str) -> str:
        """A path from where the command runs, if the file lies below: commands of a moved repository stay the same."""
        path = os.path.normpath(os.path.join(self.folder, file))
        from_here = os.path.relpath(path)
        return path if from_here.startswith(os.pardir) else from_here

    def table(self, content: Any, bases: Dict[str, str]) -> Table:
        content = dict(self._mapping(content, "the file"))
        content.setdefault("name", os.path.splitext(os.path.basename(self.path))[0])
        networks = {
            name: self._build(Network, f"network {name}", {"name": name, **self._mapping(entry, f"network {name}")})
            for name, entry in self._mapping(content.get("networks") or {}, "networks").items()
        }
        metrics = self._mapping(content.get("metrics"), "metrics")
        rows = [self._row(number, entry, metrics) for number, entry in enumerate(content.get("rows") or [], start=1)]
        statements = [
            self._build(Statement, f"statement {number}", self._mapping(entry, f"statement {number}"))
            for number, entry in enumerate(content.get("statements") or [], start=1)
        ]
        known = self._mapping(content.get("bases"), "bases")
        self._refuse_unknown("--base", list(bases), list(known))
        files = {name: self._place(str(file)) for name, file in known.items()}
        files.update({name: self._place(os.path.abspath(file)) for name, file in bases.items()})
        values = {**content, "networks": networks, "rows": tuple(rows), "statements": tuple(statements), "bases": files}
        table = self._build(Table, "the file", values)
        self._check(table)
        return table

    def _row(self, number: int, entry: Any, metrics: Mapping[str, str]) -> Row:
        what = f"row {number}"
        entry = {"name": what, **self._mapping(entry, what)}
        entry["cells"] = tuple("" if cell is None else str(cell) for cell in entry.get("cells") or ())
        paper = entry.get("paper")
        if paper is None:
            entry["paper"] = {}
        elif not isinstance(paper, dict):  # one number, or one for each metric in order
            numbers = paper if isinstance(paper, list) else [paper]
            if len(numbers) > len(metrics):
                raise self._error(what, f"paper has {len(numbers)} numbers for {len(metrics)} metrics")
            entry["paper"] = {metric: float(n) for metric, n in zip(metrics, numbers) if n is not None}
        return self._build(Row, what, entry)

    def _build(self, kind: Type[Any], what: str, values: Mapping[str, Any]) -> Any:
        known = {one.name: one for one in fields(kind)}
        self._refuse_unknown(what, list(values), list(known))
        try:
            built = kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
        except TypeError as error:
            missing = [name for name in known if f"'{name}'" in str(error)]
            raise self._error(what, f"needs {' and '.join(missing) or error}") from error
        for key in ("opts", "test", "proposal_test"):
            self._mapping(getattr(built, key, {}), f"{what}, {key}")
        if getattr(built, "overlays", ()):
            overlays = tuple(self._place(file) for file in built.overlays)
            built = kind(**{**{name: getattr(built, name) for name in known}, "overlays": overlays})
        return built

    def _check(self, table: Table) -> None:
        for network in table.networks.values():
            what = f"network {network.name}"
            self._refuse_unknown(f"{what}, base", [network.base], list(table.bases))
            if network.proposals:
                self._refuse_unknown(f"{what}, proposals", [network.proposals], list(EXTERNAL_PROPOSALS))
            if network.weights_of:
                self._refuse_unknown(f"{what}, weights_of", [network.weights_of], list(table.networks))
            if not network.trained and (network.proposals or not network.weights_of):
                raise self._error(what, "that is not trained needs weights_of, a detector to be tested; no proposals")
        names: List[str] = []
        for row in table.rows:
            if row.name in names:
                raise self._error(f"row {row.name}", "there are two of that name")
            names.append(row.name)
            if len(row.cells) != len(table.columns):
                raise self._error(f"row {row.name}", f"has {len(row.cells)} cells for {len(table.columns)} columns")
            self._refuse_unknown(f"row {row.name}, measure", [row.measure], list(MEASURES))
            needed = [row.network] if row.measure != "recall" or not row.proposals else []
            self._refuse_unknown(f"row {row.name}, network", needed, list(table.networks))
            if row.proposals:
                sources = [*table.networks, *EXTERNAL_PROPOSALS]
                self._refuse_unknown(f"row {row.name}, proposals", [row.proposals], sources)
        for statement in table.statements:
            self._refuse_unknown(f"statement {statement.text!r}", [statement.better, statement.worse], names)

    def _mapping(self, value: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._error(what, f"is {type(value).__name__}, expected lines of KEY: VALUE")
        return value

    def _refuse_unknown(self, what: str, names: Sequence[str], known: Sequence[str]) -> None:
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}."
                raise self._error(what, f"{name!r} is not known; {hint}")

    def _error(self, what: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.path}, {what}: {problem}")
