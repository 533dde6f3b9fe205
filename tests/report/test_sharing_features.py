"""The comparison of schedules: every method sees as many images, and the figures are those of the runs' files."""

import json
import sys

from frcnn_alt import get_cfg
from frcnn_alt.engine import build_schedule

import pytest
from scripts import REPOSITORY, load_script

DEMO = REPOSITORY / "configs" / "demo"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")  # as for a script that is run
    return load_script("benchmarks/sharing_features.py")


@pytest.fixture
def methods(script):
    import sharing_methods

    return sharing_methods


@pytest.mark.parametrize("name", ["zf_4step_shapes.yaml", "zf_4step_bccd_240.yaml"])
@pytest.mark.parametrize(
    "method, steps",
    [
        ("4-step", 4),
        ("unshared", 2),
        ("3 rounds", 8),
        ("approximate joint", 1),
        ("short joint", 1),
        ("shorter joint", 1),
        ("non-approximate joint", 1),
    ],
)
def test_every_method_sees_as_many_images(name, method, steps, methods):
    cfg = get_cfg()
    cfg.merge_from_file(str(DEMO / name))
    wanted, words = methods.images_seen(cfg, method), methods.overrides(cfg, method)
    shares = {"short joint": 140 / 320, "shorter joint": 70 / 320}
    assert wanted == round(methods.images_of(cfg) * shares.get(method, 1))
    if methods.METHODS[method]:
        cfg.merge_from_file(str(methods.OVERLAYS / methods.METHODS[method]))
    cfg.merge_from_list(words)
    solvers = [cfg.SCHEDULE[step.solver] for step in build_schedule(cfg).steps]
    assert len(solvers) == steps
    seen = sum(solver.MAX_ITER * solver.IMS_PER_BATCH for solver in solvers)
    assert abs(seen - wanted) <= 0.005 * wanted  # iterations are whole
    for solver in solvers:  # the rate drops where it did, in proportion
        assert all(0.6 < drop / solver.MAX_ITER < 0.9 for drop in solver.STEPS) and solver.STEPS


def test_figures_are_those_of_the_runs(make_run, tmp_path, monkeypatch, script, methods):
    words = ["--config-file", str(DEMO / "zf_4step_shapes.yaml"), "--output", str(tmp_path), "--title", "Toys"]
    words += ["--seeds", "4", "7", "--methods", "4-step", "--plot", str(tmp_path / "toys.png")]
    monkeypatch.setattr(sys, "argv", ["sharing_features.py", *words])
    for seed in (4, 7):
        run = make_run(tmp_path / f"4-step_{seed}")
        (run / "step2_fast_rcnn" / "eval_only").mkdir()
        results = {"bbox": {"AP50": 50.0 + seed, "AP": 20.0}}
        (run / "step2_fast_rcnn" / "eval_only" / "results.json").write_text(json.dumps(results))
    measurement = script.Measurement(script.parse_arguments())
    monkeypatch.setattr(measurement, "_call", lambda *words: None)  # would prepare images and weights
    measured, a_run = measurement.measure()
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in script.as_markdown(measured, a_run, measurement).splitlines()
        if line.startswith("|")
    ]
    by_name = {row[0]: dict(zip(rows[0], row)) for row in rows[2:]}
    assert set(by_name) == {"4-step", "after step 2"}
    whole, half = by_name["4-step"], by_name["after step 2"]
    assert (whole["AP50"], whole["AP50 of seeds 4, 7"]) == ("80.0 ± 0.0", "80.0, 80.0")
    assert (half["AP50"], half["AP50 of seeds 4, 7"], half["AP"]) == ("55.5 ± 2.1", "54.0, 57.0", "20.0 ± 0.0")
    cfg = measurement.cfg
    assert int(half["images seen"]) == methods.images_of(cfg, (1, 2)) < int(whole["images seen"])
    assert float(half["training, s"].split()[0]) < float(whole["training, s"].split()[0])
    script.plot(measured, "Toys", measurement.args.plot)
    assert (tmp_path / "toys.png").read_bytes().startswith(b"\x89PNG")
