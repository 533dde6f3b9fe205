"""Whatever stands in the files of a run: the page shows it, and no element, attribute or link comes of it."""

import json

from frcnn_alt.report import ReportError, write_report
from frcnn_alt.report.detections import read_detections
from frcnn_alt.report.text import escape, visible

import pytest
from hostile_page import HOSTILE, Page
from hypothesis import given
from hypothesis import strategies as st


def _poisoned(value):
    """Every text, names of keys excepted."""
    if isinstance(value, dict):
        return {key: _poisoned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_poisoned(one) for one in value]
    return f"{value}{HOSTILE}" if isinstance(value, str) else value


@pytest.fixture
def poisoned_run(finished_run):
    manifest = json.loads((finished_run / "manifest.json").read_text())
    for key in ("name", "command", "weights_command", "versions", "machine"):
        manifest[key] = _poisoned(manifest[key])
    manifest.update(schedule=HOSTILE, config_file=HOSTILE, seed=HOSTILE)
    manifest["versions"][HOSTILE] = "1"
    manifest["assembled"].update(**{"from": {HOSTILE: HOSTILE}, "sha256": HOSTILE})
    for entry in manifest["steps"]:
        entry["kind"] += HOSTILE if entry["kind"] == "joint" else ""
        for key in ("trained", "frozen"):
            entry[key] = _poisoned(entry[key])
        entry["started_from"] = {
            f"{name}{HOSTILE}": _poisoned(source) for name, source in entry["started_from"].items()
        }
        entry["proposals_in"] = HOSTILE
        entry["outputs"]["model"]["sha256"] = HOSTILE
    manifest["steps"][3]["state"] = HOSTILE
    results = json.loads((finished_run / "results.json").read_text())
    results["bbox"][f"AP50-{HOSTILE}"] = 12.5
    (finished_run / "results.json").write_text(json.dumps(results))
    (finished_run / "manifest.json").write_text(json.dumps(manifest))
    (path,) = (finished_run / "inference").glob("*/detections.jsonl")
    header, *images = map(json.loads, path.read_text().splitlines())
    header["classes"] = [name + HOSTILE for name in header["classes"]]
    for image in images:
        image["image_id"] += HOSTILE
    images[0]["file_name"] = HOSTILE
    path.write_text("\n".join(map(json.dumps, [header, *images])) + "\n")
    return finished_run


def test_nothing_of_a_run_becomes_html(poisoned_run):
    with open(write_report(str(poisoned_run)), encoding="utf-8") as file:
        text = file.read()
    page = Page(text)
    assert {"table", "img", "figure"} <= set(page.tags)
    shown = "".join(page.texts)
    # name, class, image, versions' and components' names: all of it is there to be read
    assert shown.count("<script>alert(1)</script>") >= 12
    assert not set("\0\x1b\u202e\u2066") & set(text) and "\\u202e" in shown


@given(st.text(st.characters(), max_size=60))
def test_escaped_text_is_text(text):
    page = Page(f'<p>{escape(text)}</p><img alt="{escape(text)}" src="data:image/png">')
    assert page.tags == ["p", "img"]
    assert "".join(page.texts) == visible(text) * 2


@pytest.mark.parametrize(
    "key, value",
    [
        ("max_iter", "<b>"),
        ("base_lr", None),
        ("lr_steps", ["x"]),
        ("kind", 3),
        ("name", "../elsewhere"),
        ("trained", [{}]),
        ("started_from", ["x"]),
        ("parameters", {"trained": "many"}),
        ("recall", {"toys": {"recall50@300": "<b>"}}),
        ("seconds", 10**400),
    ],
)
def test_what_is_of_another_kind_is_one_error(unfinished_run, key, value):
    path = unfinished_run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["steps"][0][key] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(ReportError, match="manifest.json: a step's entry lacks or garbles"):
        write_report(str(unfinished_run))


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[" * 3000,
        b'{"image_id": 1}',
        b'{"image_id": 1, "file_name": "a", "width": 1, "height": 1, "boxes": [[0, 0, 1, 1]], "scores": [0.9], '
        b'"labels": [7], "gt_boxes": [], "gt_labels": [], "gt_difficult": []}',
        b'{"image_id": 1, "file_name": "a", "width": 1, "height": 1, "boxes": [[0, 0, 1, 1]], "scores": [], '
        b'"labels": [0], "gt_boxes": [], "gt_labels": [], "gt_difficult": []}',
        b'{"image_id": 1, "file_name": "a", "width": 1, "height": 1, "boxes": [[0, 0, 1, 1e999]], "scores": [1], '
        b'"labels": [0], "gt_boxes": [], "gt_labels": [99999999999999999999], "gt_difficult": [0]}',
    ],
)
def test_damaged_detections_are_one_error(finished_run, line):
    (path,) = (finished_run / "inference").glob("*/detections.jsonl")
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(ReportError, match="detections.jsonl, line 11 is damaged"):
        list(read_detections(str(path))[1])
