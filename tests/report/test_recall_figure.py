"""The figure of recall over IoU: what is drawn, read back from matplotlib's own artists, and what is refused."""

from dataclasses import replace
from xml.etree import ElementTree

from frcnn_alt.evaluation import RecallCurves
from frcnn_alt.report import plot_recall_curves
from frcnn_alt.report import recall_figure as module

import numpy as np
import pytest
from PIL import Image

SIZES = ("all", "small", "medium", "large")


def make_curves(level, limits=(300, 1000, 2000), sizes=SIZES, **changes):
    """Recall that falls from `level` to 0, less for fewer proposals; NaN for sizes that are not named."""
    thresholds = tuple(percent / 100 for percent in range(50, 101))
    fall = np.linspace(1, 0, len(thresholds))
    recall = {s: np.stack([level * fall * (0.8 + 0.1 * n) for n in range(len(limits))]) for s in SIZES}
    for size in set(SIZES) - set(sizes):
        recall[size] = np.full_like(recall[size], np.nan)
    curves = RecallCurves(
        dataset_name="toys_test",
        rule="one_to_one",
        limits=tuple(limits),
        thresholds=thresholds,
        recall=recall,
        average_recall={size: values[:, ::5][:, :10].mean(axis=1) for size, values in recall.items()},
        num_objects={size: 20 if size in sizes else 0 for size in SIZES},
        num_images=9,
        proposals_per_image=1834.5,
    )
    return replace(curves, **changes)


@pytest.fixture
def figures(monkeypatch):
    """Every figure that is saved."""
    saved = []
    stock = module._save
    monkeypatch.setattr(module, "_save", lambda figure, *args: (saved.append(figure), stock(figure, *args)))
    return saved


def test_a_panel_for_each_number_and_a_curve_for_each_method(tmp_path, figures):
    methods = {"SS": make_curves(0.5), "RPN $ZF$": [make_curves(0.9)]}
    plot_recall_curves(methods, str(tmp_path / "new" / "recall.png"))
    (figure,) = figures
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["300 proposals", "1000 proposals", "2000 proposals"]
    for row, axes in enumerate(figure.axes):
        assert (axes.get_xlim(), axes.get_ylim()) == ((0.5, 1), (0, 1))
        assert [line.get_label() for line in axes.lines] == list(methods)
        for line, level in zip(axes.lines, (0.5, 0.9)):
            np.testing.assert_allclose(line.get_xdata(), np.arange(50, 101) / 100)
            np.testing.assert_allclose(line.get_ydata(), level * (0.8 + 0.1 * row) * np.linspace(1, 0, 51))
        assert not axes.collections  # no band around a single run
    assert figure.axes[0].get_ylabel() == "recall of 20 objects"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(methods)
    assert "toys_test" in legend.get_title().get_text()
    with Image.open(tmp_path / "new" / "recall.png") as image:
        assert image.width > image.height > 300 and image.getpixel((0, 0))[:3] == (255, 255, 255)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["recall.png"]


def test_runs_of_a_method_are_a_mean_with_a_band(tmp_path, figures):
    levels = (0.4, 0.5, 0.9)
    plot_recall_curves({"RPN": [make_curves(level) for level in levels]}, str(tmp_path / "recall.svg"))
    axes = figures[0].axes[2]
    np.testing.assert_allclose(axes.lines[0].get_ydata()[:2], np.array([1, 0.98]) * 0.6)
    vertices = axes.collections[0].get_paths()[0].vertices
    at_the_left = vertices[vertices[:, 0] == 0.5][:, 1]
    spread = np.sqrt(sum((level - 0.6) ** 2 for level in levels) / 2)
    assert (at_the_left.min(), at_the_left.max()) == pytest.approx((0.6 - spread, 0.6 + spread))
    assert axes.lines[0].get_label() == "RPN (3 runs)"


def test_rows_for_sizes_and_a_size_without_objects(tmp_path, figures):
    plot_recall_curves({"a": make_curves(0.9, sizes=("all", "large"))}, str(tmp_path / "a.png"), ("small", "large"))
    panels = figures[0].axes
    assert len(panels) == 6
    assert [panels[0].get_ylabel(), panels[3].get_ylabel()] == [
        "recall of 0 small objects",
        "recall of 20 large objects",
    ]
    assert [text.get_text() for text in panels[0].texts] == ["no small objects"] and not panels[3].texts


def test_many_methods_look_different_and_stand_in_order(tmp_path, figures):
    names = [f"method {number}" for number in range(20)]
    plot_recall_curves({name: make_curves(0.9) for name in names}, str(tmp_path / "a.svg"))
    looks = {(line.get_color(), line.get_linestyle()) for line in figures[0].axes[0].lines}
    assert len(looks) == len(names)
    by_column = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert [by_column[column * 5 + row] for row in range(5) for column in range(4)] == names


def test_the_same_curves_make_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot_recall_curves({"SS": make_curves(0.5)}, str(tmp_path / name))
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text() and ElementTree.fromstring(text).tag.endswith("svg")


@pytest.mark.parametrize(
    "change",
    [{"dataset_name": "cards"}, {"rule": "maximum"}, {"limits": (300, 1000, 4000)}, {"thresholds": (0.5, 1.0)}],
)
def test_what_does_not_go_together_is_refused(change, tmp_path):
    with pytest.raises(ValueError, match=f"RPN and SS cannot be drawn together: {next(iter(change))} is "):
        plot_recall_curves({"SS": make_curves(0.5), "RPN": make_curves(0.9, **change)}, str(tmp_path / "a.png"))
    assert not list(tmp_path.iterdir())


def test_nothing_to_draw_and_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no recall to draw"):
        plot_recall_curves({}, str(tmp_path / "a.png"))
    with pytest.raises(ValueError, match="no recall to draw of RPN"):
        plot_recall_curves({"SS": make_curves(0.5), "RPN": []}, str(tmp_path / "a.png"))
    with pytest.raises(ValueError, match="written as .png or .svg"):
        plot_recall_curves({"SS": make_curves(0.5)}, str(tmp_path / "a.pdf"))
