"""TEST.EVAL_PERIOD: what is measured while a step is trained, where it goes, and that it changes nothing."""

import json
import logging
import os
import random
from pathlib import Path

from frcnn_alt.checkpointing import hash_tensors, read_checkpoint
from frcnn_alt.data import register_datasets
from frcnn_alt.engine import SingleStepTrainer, build_schedule, configure_step
from frcnn_alt.engine.manifest import config_hash
from frcnn_alt.engine.network import RPN, configure_network
from frcnn_alt.engine.periodic_evaluation import undisturbed, with_periodic_evaluation
from frcnn_alt.report import read_run
from frcnn_alt.report.tensorboard import write_tensorboard

import numpy as np
import pytest
import torch
from detectron2.engine.hooks import PreciseBN
from miniature import final_hash, run, run_until, tiny_config, weights_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from two_processes import on_two_processes


def config(shapes, folder, period, iterations=4, schedule="four_step"):
    """The miniature, exact, whose steps have so many iterations and no drop of the learning rate."""
    cfg = tiny_config(shapes, folder, exact=True)
    cfg.SCHEDULE.NAME, cfg.TEST.EVAL_PERIOD = schedule, period
    for number in range(1, 5):
        cfg.SCHEDULE[f"STEP{number}"].MAX_ITER, cfg.SCHEDULE[f"STEP{number}"].STEPS = iterations, ()
    return cfg


def measured(folder):
    """iteration -> what metrics.json says of proposals and detections there, by name."""
    lines = map(json.loads, (Path(folder) / "metrics.json").read_text().splitlines())
    found = {}
    for line in lines:
        values = {k: v for k, v in line.items() if k.startswith(("box_proposals/", "bbox/"))}
        if values:
            found.setdefault(line["iteration"], {}).update(values)
    return found


def files(folder):
    """Of a run, without the events of TensorBoard, whose names tell the time."""
    paths = (path.relative_to(folder) for path in Path(folder).rglob("*"))
    return sorted(str(path) for path in paths if "tfevents" not in path.name)


@pytest.fixture(scope="module")
def evaluated(shapes, tmp_path_factory):
    """All four steps, evaluated after each iteration but the last."""
    cfg = config(shapes, tmp_path_factory.mktemp("evaluated") / "run", 1)
    logging.getLogger("frcnn_alt").setLevel(logging.INFO)
    run(cfg)
    return cfg


@pytest.fixture(scope="module")
def undisturbed_run(shapes, tmp_path_factory):
    cfg = config(shapes, tmp_path_factory.mktemp("undisturbed") / "run", 0)
    run(cfg)
    return cfg


def test_weights_hashes_and_files_are_those_of_a_run_that_nobody_evaluates(evaluated, undisturbed_run):
    assert final_hash(evaluated) == final_hash(undisturbed_run)
    manifests = [json.loads((Path(c.OUTPUT_DIR) / "manifest.json").read_text()) for c in (evaluated, undisturbed_run)]
    for one, other in zip(*(manifest["steps"] for manifest in manifests)):
        assert one["config_hash"] == other["config_hash"]
        assert one["frozen_hash"] == other["frozen_hash"]
        assert one["recall"] == other["recall"]
        folders = evaluated.OUTPUT_DIR, undisturbed_run.OUTPUT_DIR
        assert len({hash_tensors(weights_of(folder, one["name"])) for folder in folders}) == 1
    assert files(evaluated.OUTPUT_DIR) == files(undisturbed_run.OUTPUT_DIR)
    assert not any(measured(os.path.join(undisturbed_run.OUTPUT_DIR, f"step{n}_rpn")) for n in (1, 3))


def test_an_rpn_step_is_measured_as_one_that_ends_there(evaluated, shapes, tmp_path):
    """Iterations count from 0; the last one's recall is that of the step, and not measured twice."""
    found = measured(os.path.join(evaluated.OUTPUT_DIR, "step1_rpn"))
    assert sorted(found) == [0, 1, 2]
    cfg = config(shapes, tmp_path / "run", 0, iterations=2, schedule="rpn")
    run(cfg)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    (expected,) = manifest["steps"][0]["recall"].values()
    expected = {f"box_proposals/{name}": value for name, value in expected.items()}
    assert len(expected) > 70 and expected["box_proposals/recall50@300"] > 0
    nothing = {name for name, value in expected.items() if value is None}  # no object of that size
    assert {name: value for name, value in found[1].items() if value == value} == pytest.approx(
        {name: value for name, value in expected.items() if name not in nothing}, abs=1e-4
    )
    assert found[0] != found[1] != found[2]


def test_a_detector_step_is_measured_by_its_precision(evaluated):
    found = measured(os.path.join(evaluated.OUTPUT_DIR, "step2_fast_rcnn"))
    assert sorted(found) == [0, 1, 2]
    assert all(0 <= values["bbox/AP50"] <= 100 for values in found.values())


def test_it_is_in_the_log_in_tensorboard_and_in_the_report(evaluated):
    folder = os.path.join(evaluated.OUTPUT_DIR, "step3_rpn")
    log = (Path(folder) / "log.txt").read_text()
    assert "After iteration 2 of 4: {'box_proposals/recall50@300': " in log and "After iteration 4" not in log
    events = EventAccumulator(folder).Reload()
    key = "box_proposals/AR@300"
    assert [event.step for event in events.Scalars(key)] == [0, 1, 2]
    assert read_run(evaluated.OUTPUT_DIR).steps[2].scalars[key][0] == [0, 1, 2]
    whole = EventAccumulator(write_tensorboard(evaluated.OUTPUT_DIR)).Reload()
    assert [event.step for event in whole.Scalars(key)] == [0, 1, 2, 8, 9, 10]


def test_a_run_is_gone_on_with_under_another_period(shapes, undisturbed_run, tmp_path, monkeypatch):
    cfg = config(shapes, tmp_path / "run", 3, schedule="rpn")
    run_until(cfg, "step1_rpn", 3)
    assert sorted(measured(tmp_path / "run" / "step1_rpn")) == [2]
    cfg.TEST.EVAL_PERIOD = 2
    run(cfg, resume=True)
    weights = [weights_of(folder, "step1_rpn") for folder in (cfg.OUTPUT_DIR, undisturbed_run.OUTPUT_DIR)]
    assert hash_tensors(weights[0]) == hash_tensors(weights[1])


def test_a_period_has_no_effect_on_the_hash_of_a_step(shapes, tmp_path):
    cfg = config(shapes, tmp_path, 0)
    hashes = set()
    for period in (0, 7):
        cfg.TEST.EVAL_PERIOD = period
        hashes.add(config_hash(configure_step(cfg, build_schedule(cfg)["step1_rpn"], str(tmp_path)), {}))
    assert len(hashes) == 1


def train_alone(cfg):
    """Train an RPN without a schedule, evaluated and not: recall by iteration, hash of the weights, results of both."""
    found = []
    for period in (2, 0):
        cfg = cfg.clone()
        cfg.defrost()
        register_datasets(cfg)
        configure_network(cfg, RPN)
        cfg.TRAINER, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.IMS_PER_BATCH = "SingleStepTrainer", 5, (), 2
        cfg.TEST.EVAL_PERIOD, folder = period, cfg.OUTPUT_DIR
        cfg.OUTPUT_DIR = os.path.join(folder, f"period{period}")
        # As a training that was killed while it was evaluated leaves it.
        os.makedirs(os.path.join(cfg.OUTPUT_DIR, *(["evaluation_in_training"] if period else [])), exist_ok=True)
        results = SingleStepTrainer(cfg).train()
        weights = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
        found.append((measured(cfg.OUTPUT_DIR), hash_tensors(weights), results))
        cfg.OUTPUT_DIR = folder
    return found


def assert_trained_alone(found, folder):
    (recalls, weights, results), (nothing, weights_without, _) = found
    assert sorted(recalls) == [1, 3] and not nothing
    assert results["box_proposals"]["recall50@300"] > 0
    assert weights == weights_without
    assert files(folder / "period2") == files(folder / "period0")
    return recalls


def test_an_rpn_that_is_trained_alone(shapes, tmp_path):
    assert_trained_alone(train_alone(config(shapes, tmp_path, 0)), tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")
def test_on_two_processes(shapes, tmp_path):
    found, of_the_other = on_two_processes(train_alone, config(shapes, tmp_path, 0))
    recalls = assert_trained_alone(found, tmp_path)
    assert recalls[1] != recalls[3]
    assert [weights for _, weights, _ in of_the_other] == [weights for _, weights, _ in found]


def test_expected_results_are_those_of_the_trained_network(shapes, tmp_path):
    cfg = config(shapes, tmp_path / "run", 1, iterations=2, schedule="rpn")
    cfg.TEST.EXPECTED_RESULTS = [["box_proposals", "recall50@300", 1000.0, 0.1]]  # ends whoever is compared with it
    os.makedirs(cfg.OUTPUT_DIR)
    with pytest.raises(SystemExit):
        run(cfg)
    assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "step1_rpn", "model_final.pth"))


def test_an_evaluation_that_fails_leaves_no_files(shapes, tmp_path, monkeypatch):
    def fail(*args):
        raise RuntimeError("no recall today")

    monkeypatch.setattr("frcnn_alt.evaluation.proposals.proposal_recall", fail)
    cfg = config(shapes, tmp_path / "run", 2, schedule="rpn")
    with pytest.raises(RuntimeError, match="no recall today"):
        run(cfg)
    assert not [name for name in files(tmp_path / "run") if "evaluation" in name or "inference" in name]


def test_random_generators_and_modes_are_put_back():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(2), torch.nn.Dropout())
    model[0].eval()  # held, as frozen norms are

    def drawn():
        return random.random(), np.random.rand(), torch.rand(1).item()

    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(1)
    expected = drawn()
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(1)
    with pytest.raises(RuntimeError), undisturbed(model):
        drawn()
        model.eval().train()
        raise RuntimeError
    assert drawn() == expected
    assert [module.training for module in model.modules()] == [True, False, True]


def test_precise_statistics_come_from_the_same_images(shapes, tmp_path):
    """detectron2 would measure them with each evaluation, and go on with further images each time."""
    cfg = config(shapes, tmp_path, 1)
    hook = PreciseBN(1, torch.nn.BatchNorm2d(2), [], 5)
    trainer = type("Trainer", (), {"cfg": cfg})()
    assert with_periodic_evaluation([hook], trainer) == [hook] and hook._period == 0
