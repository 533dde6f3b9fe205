"""Reading a table file, and saying all that is wrong with it before anything is planned."""

import difflib
import os
import re
from dataclasses import fields, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type

import yaml

from ..engine import ConfigError
from ..safe_yaml import load_yaml, load_yaml_with_base
from .table import EXTERNAL_PROPOSALS, MEASURES, OWN_KEYS, Network, Row, Statement, Table
from .tasks import from_here
from .values import value_at

__all__ = ["choose_rows", "read_table"]

# What the fields of the table's classes hold, where it is not told by how they are read; a number is the least one.
_TEXTS = ("name", "title", "note", "base", "proposals", "weights_of", "classes", "network", "measure", "text")
_LISTS = ("overlays", "cells", "columns")
_MAPPINGS = ("opts", "test", "proposal_test", "paper")
_FLAGS = ("trained", "nearly")
_NUMBERS = {"boxes": 1, "draws": 1}
# A row of one measure has nothing to say in these.
_NOT_OF = {"recall": ("test", "boxes"), "time": ("proposals", "proposal_test", "draws"), "detections": ()}
_NAME = re.compile(r"\w[\w.+-]*")  # becomes a part of file names


def read_table(path: str, bases: Optional[Mapping[str, str]] = None) -> Table:
    """Read and check a table file.

    Args:
        path: the yaml file.
        bases: config files that replace those of the same name.

    Raises:
        ConfigError: no such file, no yaml, an unknown, missing or impossible entry, a network, row or base that is not
            there.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"Table file not found: {path}")
    try:
        content = load_yaml_with_base(path)
        with open(path, encoding="utf-8") as file:
            under = load_yaml(file)
    except (yaml.YAMLError, OSError, AttributeError, RecursionError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from error
    return _Reader(path).table(content, under, dict(bases or {}))


def choose_rows(tables: Sequence[Table], names: Sequence[str]) -> List[Table]:
    """The tables with those of their rows that `names` lists, and the statements about them.

    Raises:
        ConfigError: no table has a row of a name, or a table has none of them.
    """
    for name in names:
        if not any(row.name == name for table in tables for row in table.rows):
            there = ", ".join(row.name for table in tables for row in table.rows)
            raise ConfigError(f"--rows: there is no row {name!r} in the tables, but {there}.")
    chosen = []
    for table in tables:
        rows = tuple(row for row in table.rows if row.name in names)
        if not rows:
            raise ConfigError(f"--rows names none of table {table.name}: leave the table out.")
        statements = tuple(one for one in table.statements if one.better in names and one.worse in names)
        chosen.append(replace(table, rows=rows, statements=statements))
    return chosen


class _Reader:
    def __init__(self, path: str):
        self.path = path
        self.folder = os.path.dirname(os.path.abspath(path))

    def _place(self, file: str) -> str:
        return from_here(os.path.join(self.folder, file))

    def table(self, content: Any, under: Any, bases: Dict[str, str]) -> Table:
        content = dict(self._mapping(content, "the file"))
        below = under.get("_BASE_") or []
        for file in below if isinstance(below, list) else [below]:
            if os.path.dirname(os.path.abspath(os.path.join(self.folder, str(file)))) != self.folder:
                raise self._error("_BASE_", f"{file} lies in another folder, and its paths would be taken from here")
        content.setdefault("name", os.path.splitext(os.path.basename(self.path))[0])
        networks = {
            name: self._build(Network, f"network {name}", {"name": name, **self._mapping(entry, f"network {name}")})
            for name, entry in self._mapping(content.get("networks") or {}, "networks").items()
        }
        metrics = self._metrics(content.get("metrics"))
        rows = [self._row(number, entry, metrics) for number, entry in self._numbered(content, "rows")]
        if not rows:
            raise self._error("rows", "there is none")
        statements = [
            self._build(Statement, f"statement {number}", self._mapping(entry, f"statement {number}"))
            for number, entry in self._numbered(content, "statements")
        ]
        known = self._mapping(content.get("bases"), "bases")
        self._refuse_unknown("--base", list(bases), list(known))
        for name, file in known.items():
            if not isinstance(file, str):
                raise self._error(f"base {name}", f"is {file!r}, expected a config file")
        files = {name: self._place(file) for name, file in known.items()}
        files.update({name: from_here(file) for name, file in bases.items()})
        values = {**content, "networks": networks, "rows": tuple(rows), "statements": tuple(statements), "bases": files}
        table = self._build(Table, "the file", values)
        self._check(table)
        return table

    def _numbered(self, content: Mapping[str, Any], key: str) -> List[Any]:
        entries = content.get(key) or []
        if not isinstance(entries, list):
            raise self._error(key, f"is {type(entries).__name__}, expected a list")
        return list(enumerate(entries, start=1))

    def _metrics(self, metrics: Any) -> Mapping[str, str]:
        for name, path in self._mapping(metrics or {}, "metrics").items():
            for term in str(path).split(" + "):
                try:
                    value_at({}, term)
                except KeyError:
                    continue  # there is nothing to find yet
                except ValueError as error:
                    raise self._error(f"metric {name}", f"{path!r} is no place of a number: {error}") from error
            if not isinstance(path, str):
                raise self._error(f"metric {name}", f"is {path!r}, expected the place of a number, such as bbox/AP50")
        if not metrics:
            raise self._error("metrics", "there is none: name one, such as {mAP: bbox/AP50}")
        return metrics

    def _row(self, number: int, entry: Any, metrics: Mapping[str, str]) -> Row:
        what = f"row {number}"
        entry = {"name": f"row{number}", **self._mapping(entry, what)}
        paper = entry.get("paper")
        if not isinstance(paper, dict):  # one number, or one for each metric in order
            numbers = paper if isinstance(paper, list) else [paper]
            if len(numbers) > len(metrics):
                raise self._error(what, f"paper has {len(numbers)} numbers for {len(metrics)} metrics")
            paper = {metric: number for metric, number in zip(metrics, numbers) if number is not None}
        self._refuse_unknown(f"{what}, paper", list(paper), list(metrics))
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) for n in paper.values()):
            raise self._error(what, f"paper is {entry['paper']!r}, expected numbers")
        return self._build(Row, what, {**entry, "paper": {metric: float(n) for metric, n in paper.items()}})

    def _build(self, kind: Type[Any], what: str, values: Mapping[str, Any]) -> Any:
        known = {one.name: one for one in fields(kind)}
        self._refuse_unknown(what, list(values), list(known))
        values = dict(values)
        for key, value in values.items():
            values[key] = self._checked(what, key, value)
        try:
            return kind(**values)
        except TypeError as error:
            missing = [name for name in known if f"'{name}'" in str(error)]
            raise self._error(what, f"needs {' and '.join(missing) or error}") from error

    def _checked(self, what: str, key: str, value: Any) -> Any:
        if key in _TEXTS and not isinstance(value, str):
            raise self._error(what, f"{key} is {value!r}, expected a text")
        if key in _FLAGS and not isinstance(value, bool):
            raise self._error(what, f"{key} is {value!r}, expected true or false")
        least = _NUMBERS.get(key)
        if least is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise self._error(what, f"{key} is {value!r}, expected a whole number from {least} on")
        if key in _MAPPINGS:
            self._mapping(value, f"{what}, {key}")
        if key in _LISTS:
            if not isinstance(value, list) or any(isinstance(one, (list, dict)) for one in value):
                raise self._error(what, f"{key} is {value!r}, expected a list of texts")
            texts = tuple("" if one is None else str(one) for one in value)
            return tuple(map(self._place, texts)) if key == "overlays" else texts
        return value

    def _check(self, table: Table) -> None:
        names = [row.name for row in table.rows]
        for name in (table.name, *table.bases, *table.networks, *names):
            if not _NAME.fullmatch(name):
                raise self._error(f"the name {name!r}", "has other characters than letters, digits and . _ + -")
        for network in table.networks.values():
            self._check_network(network, table)
        for row in table.rows:
            self._check_row(row, table)
        for statement in table.statements:
            self._refuse_unknown(f"statement {statement.text!r}", [statement.better, statement.worse], names)

    def _check_network(self, network: Network, table: Table) -> None:
        what = f"network {network.name}"
        self._refuse_unknown(f"{what}, base", [network.base], list(table.bases))
        if network.proposals:
            self._refuse_unknown(f"{what}, proposals", [network.proposals], list(EXTERNAL_PROPOSALS))
        if network.weights_of:
            self._refuse_unknown(f"{what}, weights_of", [network.weights_of], list(table.networks))
        if not network.trained and (network.proposals or not network.weights_of):
            raise self._error(what, "that is not trained needs weights_of, a detector to be tested; no proposals")

    def _check_row(self, row: Row, table: Table) -> None:
        what = f"row {row.name}"
        if [one.name for one in table.rows].count(row.name) > 1:
            raise self._error(what, "there are two of that name")
        if len(row.cells) != len(table.columns):
            raise self._error(what, f"has {len(row.cells)} cells for {len(table.columns)} columns")
        self._refuse_unknown(f"{what}, measure", [row.measure], list(MEASURES))
        needs_none = row.measure == "recall" and row.proposals
        if row.network or not needs_none:
            self._refuse_unknown(f"{what}, network", [row.network], list(table.networks))
        if row.proposals:
            self._refuse_unknown(f"{what}, proposals", [row.proposals], [*table.networks, *EXTERNAL_PROPOSALS])
        own = [key for key in (*row.test, *row.proposal_test) if key in OWN_KEYS]
        if own:
            raise self._error(what, f"{' and '.join(own)} is the sweep's own to set")
        usual = Row(row.name, row.cells)
        without = [key for key in _NOT_OF[row.measure] if getattr(row, key) != getattr(usual, key)]
        if row.proposal_test and row.measure == "detections" and not row.proposals:
            without.append("proposal_test")
        if needs_none and row.network and row.proposals not in EXTERNAL_PROPOSALS:
            without.append("network")
        if without:
            raise self._error(what, f"{' and '.join(without)} has no effect on what it measures ({row.measure})")

    def _mapping(self, value: Any, what: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self._error(what, f"is {type(value).__name__}, expected lines of KEY: VALUE")
        for key in value:
            if not isinstance(key, str):
                raise self._error(what, f"{key!r} is {type(key).__name__}, expected a text: write it in quotes")
        return value

    def _refuse_unknown(self, what: str, names: Sequence[str], known: Sequence[str]) -> None:
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}."
                raise self._error(what, f"{name!r} is not known; {hint}")

    def _error(self, what: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.path}, {what}: {problem}")
