"""Numbers of a table against numpy: means, spreads, pairs of a seed, verdicts."""

import json
import re

from frcnn_alt.sweep.measurements import Measurement
from frcnn_alt.sweep.render import as_csv, as_markdown, as_text
from frcnn_alt.sweep.results import compare, read_results, value_at
from frcnn_alt.sweep.table import Row, Statement, Table

import numpy as np
import pytest

SEEDS = (0, 1, 2)
VALUES = {"a": [60.0, 61.0, 65.0], "b": [58.0, 58.5, 61.5], "c": [60.0, 61.2, 64.9]}


def _table(statements=()):
    rows = tuple(Row(name, (name.upper(), "300"), "net", paper={"mAP": 59.0}) for name in VALUES)
    return Table("t", "Title", {"mAP": "bbox/AP50"}, ("method", "boxes"), {}, {}, rows, tuple(statements))


def _measured(folder, values=VALUES, draws=1, shift=0.0):
    """Measurements with their files; draws lie around the value by `shift`."""
    measurements = []
    for row, of_row in values.items():
        for seed, value in zip(SEEDS, of_row):
            for draw in range(draws):
                path = folder / f"{row}{seed}{draw}.json"
                off = shift * (draw - (draws - 1) / 2)
                path.write_text(json.dumps({"bbox": {"AP50": value + off}}))
                measurements.append(Measurement(row, seed, f"{row}{seed}", str(path)))
    return measurements


def _read(folder, measurements, done=None, table=None):
    return read_results(table or _table(), measurements, done or [one.task for one in measurements])


@pytest.mark.parametrize("draws", [1, 3])
def test_mean_and_spread_over_seeds_of_the_means_of_the_draws(tmp_path, draws):
    results = _read(tmp_path, _measured(tmp_path, draws=draws, shift=2.0))
    for result in results:
        values, expected = result.values["mAP"], np.array(VALUES[result.row])
        assert values.mean == pytest.approx(expected.mean())
        assert values.spread == pytest.approx(expected.std(ddof=1))
        assert values.difference == pytest.approx(expected.mean() - 59.0)
        assert values.is_larger_than_spread == (abs(expected.mean() - 59.0) > expected.std(ddof=1))


def test_seeds_that_are_not_done_are_missing(tmp_path):
    measurements = _measured(tmp_path)
    results = _read(tmp_path, measurements, done=["a0", "a2", "b1"])
    assert [list(result.missing) for result in results] == [[1], [0, 2], [0, 1, 2]]
    assert results[0].values["mAP"].mean == pytest.approx(62.5)
    assert results[1].values["mAP"].spread is None and results[2].values["mAP"].mean is None
    text = as_text(_table(), results, [])
    assert "(without seed 1)" in text and "(seed 0, 1, 2 failed or not done)" in text


def _verdict(folder, better, worse, nearly=False, values=VALUES, done=None):
    table = _table([Statement("x", better, worse, nearly)])
    (comparison,) = compare(table, _read(folder, _measured(folder, values), done, table))
    return comparison


def test_a_statement_is_judged_by_pairs_of_a_seed(tmp_path):
    comparison = _verdict(tmp_path, "a", "b")
    pairs = np.subtract(VALUES["a"], VALUES["b"])
    assert comparison.difference == pytest.approx(pairs.mean())
    assert comparison.spread == pytest.approx(pairs.std(ddof=1))  # smaller than either row's own
    assert comparison.verdict == "holds"
    assert _verdict(tmp_path, "b", "a").verdict == "does not hold, the other way round"
    assert _verdict(tmp_path, "c", "a").verdict == "holds in the mean, within the spread"
    assert _verdict(tmp_path, "a", "c").verdict == "not seen, within the spread"
    assert _verdict(tmp_path, "a", "b", done=["a0", "b1"]).verdict == "not measured"
    assert _verdict(tmp_path, "a", "b", done=["a0", "b0"]).verdict == "holds in the mean, without a spread"


def test_nearly_as_good_allows_the_papers_loss_and_the_spread(tmp_path):
    assert _verdict(tmp_path, "c", "a", nearly=True).verdict == "holds (within the spread)"
    assert _verdict(tmp_path, "b", "a", nearly=True).verdict == "holds, it is even better (larger than the spread)"
    assert _verdict(tmp_path, "a", "b", nearly=True).verdict.startswith("does not hold (")


@pytest.mark.parametrize(
    "path, value", [("a/b", 3.0), ("list/1/x", 7.0), ("a/b * 100", 300.0), ("a/b + list/1/x * 10", 73.0)]
)
def test_a_number_in_nested_results(path, value):
    assert value_at({"a": {"b": 3}, "list": [{}, {"x": 7}]}, path) == value


@pytest.mark.parametrize("path", ["a", "a/c", "list/2", "list/x", "a/b/c", "flag"])
def test_where_there_is_no_number(path):
    with pytest.raises(KeyError):
        value_at({"a": {"b": 3}, "list": [{}, {"x": 7}], "flag": True}, path)


@pytest.mark.parametrize(
    "content, problem",
    [("{", r"b10.json.*cannot be read.*tasks/b1.json"), ('{"bbox": {}}', r"no 'AP50' of 'bbox/AP50' in .*b10.json")],
)
def test_a_result_that_cannot_be_read_is_named_and_keeps_no_other_from_the_table(tmp_path, content, problem):
    measurements = _measured(tmp_path)
    (tmp_path / "b10.json").write_text(content)
    results = _read(tmp_path, measurements)
    assert [list(result.missing) for result in results] == [[], [1], []]
    assert re.search(problem, results[1].problems[0]) and results[0].values["mAP"].mean == pytest.approx(62.0)
    for text in (as_text(_table(), results, []), as_markdown(_table(), results, [], "")):
        assert results[1].problems[0] in text


def test_what_is_not_a_number_is_not_measured(tmp_path):
    measurements = _measured(tmp_path)
    (tmp_path / "a00.json").write_text('{"bbox": {"AP50": null}}')
    table = _table([Statement("x", "a", "b")])
    results = _read(tmp_path, measurements, table=table)
    assert results[0].values["mAP"].mean == pytest.approx(63.0)  # of the two other seeds
    assert compare(table, results)[0].difference == pytest.approx(3.0)


def test_what_no_seed_changes_has_no_spread(tmp_path):
    """Proposals without a network: one file for all seeds."""
    (tmp_path / "a.json").write_text('{"bbox": {"AP50": 50.1}}')
    (tmp_path / "b.json").write_text('{"bbox": {"AP50": 50.0}}')
    measurements = [Measurement(row, seed, row, str(tmp_path / f"{row}.json")) for row in "ab" for seed in SEEDS]
    table = _table([Statement("x", "a", "b")])
    results = _read(tmp_path, measurements, table=table)
    assert results[0].values["mAP"].mean == pytest.approx(50.1) and results[0].values["mAP"].spread is None
    assert compare(table, results)[0].verdict == "holds in the mean, without a spread"


def test_nearly_as_good_allows_what_is_lost_in_the_paper(tmp_path):
    rows = tuple(Row(name, (name, "1"), "net", paper={"mAP": paper}) for name, paper in (("a", 59.0), ("b", 55.0)))
    statement = Statement("x", "a", "b", nearly=True)
    table = Table("t", "T", {"mAP": "bbox/AP50"}, ("m", "n"), {}, {}, rows, (statement,))
    results = read_results(table, _measured(tmp_path), [f"{row}{seed}" for row in "ab" for seed in SEEDS])
    (comparison,) = compare(table, results)
    assert comparison.paper == pytest.approx(4.0) and comparison.difference == pytest.approx(8 / 3)
    assert comparison.verdict == "holds (larger than the spread)"


def test_tables_have_the_papers_columns_its_number_and_ours(tmp_path):
    table = _table([Statement("A is better", "a", "b")])
    results = _read(tmp_path, _measured(tmp_path), table=table)
    markdown = as_markdown(table, results, compare(table, results), "- machine: any")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()]
    assert ["A", "300", "59.0", "62.0 ± 2.6", "+3.0", "yes"] in lines
    assert ["A is better", "0.0", "+2.7 ± 0.8", "holds"] in lines
    assert markdown.endswith("- machine: any\n")
    header, first, *_ = as_csv(table, results, SEEDS).splitlines()
    assert header.split(",")[-3:] == ["seed 0", "seed 1", "seed 2"]
    assert first.split(",")[:5] == ["a", "A", "300", "mAP", "59.0"] and first.split(",")[-3:] == [
        "60.0",
        "61.0",
        "65.0",
    ]
