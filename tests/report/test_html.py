"""The report page: whole, self-contained, with the numbers of the run, and written whatever is missing."""

import json
import math
from html.parser import HTMLParser

from frcnn_alt.engine.manifest import write_json
from frcnn_alt.report import ReportError, final_table, write_report
from frcnn_alt.report.__main__ import main

import pytest

VOID = {"meta", "img", "br", "source"}
# Headings of a whole report, in order.
SECTIONS = [
    "The plan",
    "Losses",
    "Recall of the proposals",
    "Average precision by class",
    "Pictures",
    "Provenance",
]


class Page(HTMLParser):
    """Collects text, links and headings; fails on tags that are not closed in order."""

    def __init__(self, path):
        super().__init__()
        self.open, self.links, self.styles, self.text, self.figures = [], [], [], [], []
        self.feed(path.read_text())
        self.close()
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [(tag, attributes[name]) for name in ("src", "srcset", "href") if name in attributes]
        assert tag not in ("script", "link", "iframe")
        if tag == "img":
            assert attributes["alt"]
        if tag == "figure":
            self.figures.append(attributes["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.styles if self.open and self.open[-1] == "style" else self.text).append(data.strip())

    @property
    def sections(self):
        return [text for text in self.text if text in SECTIONS]


@pytest.fixture(scope="module")
def reported_run(tmp_path_factory, make_run):
    """A finished run with its report, which tests leave as it is."""
    run = make_run(tmp_path_factory.mktemp("runs") / "finished")
    assert write_report(str(run)) == str(run / "report" / "index.html")
    return run


@pytest.fixture
def page(reported_run):
    return Page(reported_run / "report" / "index.html")


@pytest.fixture
def evaluated_run(finished_run):
    """A finished run of which the curves are lost; its report takes a third of the time."""
    for path in finished_run.glob("*/metrics.json"):
        path.unlink()
    return finished_run


def test_sections(page):
    assert page.sections == SECTIONS


def test_loads_nothing(page):
    sources = [link for tag, link in page.links if tag != "a"]
    assert len(sources) > 20 and all(link.startswith("data:image/") for link in sources)
    assert "@import" not in "".join(page.styles) and "url(" not in "".join(page.styles)
    assert all(link.startswith(("data:image/", "#")) for _, link in page.links)


def test_links_stay_in_the_page(page, reported_run):
    """A page that is sent alone has no dead link: that of each pair leads to the pair, which is enlarged."""
    links = [link for tag, link in page.links if tag == "a"]
    assert links == [f"#{anchor}" for anchor in page.figures] and len(set(links)) == len(links)
    files = sorted(path.name for path in (reported_run / "report" / "pictures").iterdir())
    assert sorted(link.split("/")[-1] for link in links) == files and len(files) > 0
    assert "figure:target" in "".join(page.styles)
    assert any("report/pictures" in text for text in page.text)  # where the files are to be had


def test_numbers_are_those_of_the_results(page, reported_run):
    results = json.loads((reported_run / "results.json").read_text())
    for key, value in results["bbox"].items():
        if key.startswith("AP50-"):
            assert page.text[page.text.index(key[5:], page.text.index("class")) + 1] == f"{value:.1f}"
    recalls = [recall["toys_test"]["recall50@300"] for recall in results["proposals"].values()]
    assert " → ".join(f"{value:.1f}" for value in recalls) in page.text
    assert page.text[page.text.index("AP50") + 1] == "80.0"


def test_text_is_escaped(page):
    """Class names, machine and command come from outside; the parser gives them back as they were."""
    assert page.text.count("zf <4 steps>") == 2  # title and heading
    assert "ring & <star>" in page.text
    assert "platform: Linux <x86>" in page.text
    assert "tools/train_net.py --config-file 'configs/a b.yaml'" in page.text
    assert "tools/pretrain_backbone.py PRETRAIN.STEPS '(3,)'" in page.text


def test_colours_of_dark_pages(page):
    assert "prefers-color-scheme: dark" in "".join(page.styles)
    assert sum(tag == "source" for tag, _ in page.links) == 4 + 2 + 1


@pytest.mark.parametrize("finished_steps", [0, 3])
def test_unfinished_run(make_run, tmp_path, finished_steps):
    run = make_run(tmp_path / "run", finished_steps=finished_steps)
    write_report(str(run))
    page = Page(run / "report" / "index.html")
    assert any(text.startswith("This run is not finished: step1_rpn is") for text in page.text)
    wanted = ["The plan", "Losses", "Recall of the proposals", "Provenance"]
    assert page.sections == [name for name in wanted if finished_steps or name != "Recall of the proposals"]


def test_run_that_has_not_begun(make_run, tmp_path):
    run = make_run(tmp_path / "run", finished_steps=-1)
    write_report(str(run))
    assert Page(run / "report" / "index.html").sections == ["The plan", "Provenance"]


def test_second_report_replaces_the_first(evaluated_run):
    write_report(str(evaluated_run))
    first = (evaluated_run / "report" / "index.html").read_text()
    stale = evaluated_run / "report" / "pictures" / "best_9_stale.jpg"
    stale.write_text("")
    write_report(str(evaluated_run))
    assert (evaluated_run / "report" / "index.html").read_text() == first
    assert not stale.exists()
    assert sorted(path.name for path in (evaluated_run / "report").iterdir()) == ["index.html", "pictures"]


def test_failure_leaves_the_old_report(evaluated_run):
    write_report(str(evaluated_run))
    before = (evaluated_run / "report" / "index.html").read_text()
    pictures = sorted((evaluated_run / "report" / "pictures").iterdir())
    with open(evaluated_run / "inference" / "toys_test" / "detections.jsonl", "a") as file:
        file.write("{")
    with pytest.raises(ReportError, match="line 11 is damaged"):
        write_report(str(evaluated_run))
    assert (evaluated_run / "report" / "index.html").read_text() == before
    assert sorted((evaluated_run / "report" / "pictures").iterdir()) == pictures
    assert sorted(path.name for path in (evaluated_run / "report").iterdir()) == ["index.html", "pictures"]


def test_missing_photographs_are_named(evaluated_run):
    for file in (evaluated_run / "images").iterdir():
        file.unlink()
    write_report(str(evaluated_run))
    page = Page(evaluated_run / "report" / "index.html")
    assert any("000.png cannot be shown" in text for text in page.text)


def test_test_set_without_objects(evaluated_run):
    """As the engine writes what has no number: of one of two test sets, and of a class of the other."""
    results = json.loads((evaluated_run / "results.json").read_text())
    box = results.pop("bbox")
    results["toys_test"] = {"bbox": {**box, "AP50-square": math.nan}}
    results["toys_empty"] = {"bbox": dict.fromkeys(box, math.nan)}
    for recall in results["proposals"].values():
        recall["toys_empty"] = dict.fromkeys(recall["toys_test"], math.nan)
    write_json(results, str(evaluated_run / "results.json"))
    (evaluated_run / "config.yaml").write_text("DATASETS: {TEST: [toys_test, toys_empty]}\n")
    write_report(str(evaluated_run))
    text = Page(evaluated_run / "report" / "index.html").text
    assert [text[number + 1] for number, cell in enumerate(text) if cell == "square"] == ["-", "-"]
    assert "Final network on toys_empty, IoU 0.5." in text and "nan" not in text
    assert final_table(str(evaluated_run)).count("square") == 2


def test_command_line(evaluated_run, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report", str(evaluated_run)])
    assert main() == 0
    assert f"{evaluated_run}/report/index.html" in capsys.readouterr().out
    assert (evaluated_run / "report" / "index.html").is_file() and (evaluated_run / "tensorboard").is_dir()


def test_command_line_says_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    assert main() == 2
    assert "not a run folder" in capsys.readouterr().err
