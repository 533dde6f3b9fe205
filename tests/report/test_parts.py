"""Table 5 as JSON, table and picture: the paper's rows, and figures that are those that were measured."""

import json

from frcnn_alt.evaluation import PARTS, PartTimes
from frcnn_alt.report.parts import PAPER_ROWS, parts_data, parts_markdown, parts_text, write_parts

import numpy as np
import pytest
from PIL import Image

FACTS = {
    "config": "configs/zf_4step.yaml",
    "weights": "random",
    "device": "cpu",
    "images_from": "noise of 600x800, made on the spot",
    "proposals_from": None,
}
MACHINE = {"platform": "Linux", "cpu": "Some CPU", "cpu_cores": 2, "threads": 1, "gpu": None, "load_before": 1.5}


def times(name="ZF", **milliseconds):
    values = {**dict(zip(PARTS, (4.5, 100.25, 20.125, 50.0, 0.1234))), "total": 175.0, "whole": 160.0, **milliseconds}
    spread = {key: None if value is None else (0.9 * value, 1.1 * value) for key, value in values.items()}
    return PartTimes(name, values, spread, regions=300.0, detections=2511.5, images=5, repetitions=3)


def data(*of_systems, **facts):
    of_systems = of_systems or (times(),)
    facts = [{**FACTS, **facts} for _ in of_systems]
    return parts_data(of_systems, facts, MACHINE, {"torch": "2"}, ["tools/benchmark_parts.py", "--name", "a b"])


def rows(text, first):
    """The rows of a Markdown table whose header begins with `first`: name -> heading -> cell."""
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    (table,) = [table for table in tables if table[0].strip("| ").startswith(first)]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    return {row[0]: dict(zip(cells[0], row)) for row in cells[2:]}


def test_rows_of_the_paper():
    """Table 5: conv, proposal, region-wise, total; images per second (SPEC 8.4)."""
    figures = {
        "VGG SS+FRCN": (146, 1510, 174, 1830, 0.5),
        "VGG RPN+FRCN": (141, 10, 47, 198, 5),
        "ZF RPN+FRCN": (31, 3, 25, 59, 17),
    }
    keys = ("conv", "proposals", "region_wise", "total", "images_per_second")
    assert {name: tuple(row[key] for key in keys) for name, row in PAPER_ROWS.items()} == figures
    for conv, proposals, region_wise, total, _ in figures.values():
        assert conv + proposals + region_wise == total


def test_table_has_the_papers_layout_and_the_measured_figures():
    text = parts_markdown(data())
    table = rows(text, "ms an image")
    assert table["ZF"] == {
        "ms an image": "ZF",
        "image preparation": "4.50",
        "conv": "100",
        "proposal": "20.1",
        "region-wise": "50.0",
        "the rest": "0.12",
        "total": "175",
        "by itself": "160",
        "images per second": "6.25",
    }
    paper = table["the paper, K40: VGG RPN+FRCN"]
    assert list(paper.values())[1:] == ["-", "141", "10", "47", "-", "198", "-", "5"]
    assert len(table) == 4
    assert rows(text, "quartiles")["ZF"]["conv"] == "90.2 to 110"
    assert rows(text, "system")["ZF"]["detections"] == "2511.5"
    assert "python tools/benchmark_parts.py --name 'a b'" in text
    assert "cpu Some CPU, cpu_cores 2, threads 1, gpu none, load_before 1.5" in text
    assert "images per second" in parts_text(data()) and "|" not in parts_text(data())


def test_rows_of_the_paper_can_be_chosen():
    assert set(rows(parts_markdown(data(), ["VGG SS+FRCN"]), "ms an image")) == {"ZF", "the paper, K40: VGG SS+FRCN"}
    assert "K40" not in parts_markdown(data(), [])


@pytest.mark.parametrize(
    "facts, milliseconds, said, not_said",
    [
        ({}, {}, "Random weights", "is waited for"),
        ({"weights": "model_final.pth"}, {}, "Medians", "Random weights"),
        ({"device": "cuda"}, {}, "The GPU is waited for", "is given its proposals"),
        (
            {"proposals_from": "random boxes"},
            {"proposals": None},
            "(random boxes); the time to make them is not in",
            "GPU",
        ),
        ({"proposals_from": "sets/test"}, {"proposals": 1510.0}, "is the number that --proposal-time gave", "GPU is"),
    ],
)
def test_what_has_to_be_known_of_the_figures_is_said(facts, milliseconds, said, not_said):
    text = parts_markdown(data(times(**milliseconds), **facts))
    assert said in text and not_said not in text
    if milliseconds.get("proposals", 0) is None:
        assert rows(text, "ms an image")["ZF"]["proposal"] == "-" == rows(text, "quartiles")["ZF"]["proposal"]


def test_written_and_read_again(tmp_path):
    written = data(times("a"), times("b", proposals=None))
    folder = tmp_path / "new" / "folder"
    paths = write_parts(written, str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["parts.json", "parts.md", "parts.png"]
    assert [str(folder / f"parts.{ending}") for ending in ("json", "md", "png")] == paths
    read = json.loads((folder / "parts.json").read_text())
    assert read == json.loads(json.dumps(written))
    assert read["systems"][0]["milliseconds"] == times().milliseconds
    assert read["systems"][1]["milliseconds"]["proposals"] is None
    assert read["systems"][1]["spread"]["conv"] == [0.9 * 100.25, 1.1 * 100.25]
    assert (folder / "parts.md").read_text() == parts_markdown(written) + "\n"


@pytest.mark.parametrize("whole, rate", [(8.0, "125"), (0.4, "2500"), (40.0, "25.0"), (3104.0, "0.32")])
def test_images_per_second_of_any_machine_are_plain_numbers(whole, rate):
    assert rows(parts_markdown(data(times(whole=whole))), "ms an image")["ZF"]["images per second"] == rate


def test_bars_are_as_long_as_the_times(tmp_path):
    """Of two systems, the one that takes half the time has half the coloured pixels, part by part."""
    one = {"image_preparation": 100.0, "conv": 400.0, "proposals": 200.0, "region_wise": 200.0, "rest": 100.0}
    half = {part: value / 2 for part, value in one.items()}
    drawn = data(times("$one$", **one, total=1000.0), times("half", **half, total=500.0))
    write_parts(drawn, str(tmp_path), [])
    pixels = np.asarray(Image.open(tmp_path / "parts.png").convert("RGB")).astype(int)
    lengths = []
    for color in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)):
        found = (abs(pixels - color) < 3).all(axis=2).sum(axis=1)
        height = np.flatnonzero(found > 30)  # the bars' rows; of the legend there are fewer
        split = np.flatnonzero(np.diff(height) > 5)[0] + 1
        lengths.append([found[height[:split]].max(), found[height[split:]].max()])
    for whole_bar, half_bar in lengths:
        assert whole_bar / half_bar == pytest.approx(2, rel=0.05)
    assert lengths[0][0] / lengths[1][0] == pytest.approx(2, rel=0.05)
