"""Steps, whole runs and evaluation on two processes: what one process computes, cut anywhere and gone on with."""

import json
import os
import signal
import sys
from functools import partial

from frcnn_alt.checkpointing import hash_tensors, read_checkpoint
from frcnn_alt.data import load_training_dicts, register_datasets
from frcnn_alt.engine import (
    StepTrainer,
    build_schedule,
    configure_step,
    default_argument_parser,
    main,
    run_command_line,
)
from frcnn_alt.engine.step_proposals import write_proposals
from frcnn_alt.engine.step_trainer import build_step_model
from frcnn_alt.proposals import ProposalSet, ProposalSetWriter

import numpy as np
import pytest
import torch
from detectron2.utils import comm
from miniature import STEPS, tiny_config
from two_processes import at_most, on_two_processes

NETS = ["ZF", "VGG16"]

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="these are processes on the CPU")


def step_config(cfg, step, proposals=()):
    """The config of one step of `cfg`, in a folder of its own, with nothing left to chance."""
    cfg = cfg.clone()
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 1000000
    cfg.MODEL.RPN.POSITIVE_FRACTION = cfg.MODEL.ROI_HEADS.POSITIVE_FRACTION = 1.0
    cfg.MODEL.ROI_HEADS.PROPOSAL_APPEND_GT = False
    cfg.MODEL.ROI_BOX_HEAD.DROPOUT = 0.0
    return configure_step(cfg, build_schedule(cfg)[step], os.path.join(cfg.OUTPUT_DIR, step), proposals)


def write_set(cfg, folder, number, empty=()):
    """A proposal set of `number` boxes an image, its objects among them; none for the images in `empty`."""
    random = np.random.default_rng(1)
    path = os.path.join(folder, "proposals")
    with ProposalSetWriter(path, cfg.DATASETS.TRAIN[0]) as writer:
        for image in load_training_dicts(cfg):
            objects = np.array([a["bbox"] for a in image["annotations"]], dtype=np.float64)
            corner = random.uniform(0, 40, (number - len(objects), 2))
            boxes = np.concatenate([objects, np.hstack([corner, corner + random.uniform(10, 40, corner.shape)])])
            boxes = boxes[: 0 if image["image_id"] in empty else None]
            writer.add(image["image_id"], boxes, np.zeros(len(boxes)))
    return path


def train(cfg):
    """Train and return the gradients of the last iteration."""
    register_datasets(cfg)
    trainer = StepTrainer(cfg, seed=5)
    trainer.train()
    named = trainer.unwrapped_model.named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def assert_two_train_as_one(cfg):
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = 1, ()
    one, (first, second) = train(cfg), on_two_processes(train, cfg)
    assert one.keys() == first.keys() and max(gradient.abs().max() for gradient in one.values()) > 1e-3
    for name, gradient in one.items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("step", ["step1_rpn", "step3_rpn"])
def test_gradient_of_an_rpn_step(net, step, shapes, tmp_path):
    assert_two_train_as_one(step_config(tiny_config(shapes, tmp_path, net), step))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("step", ["step2_fast_rcnn", "step4_fast_rcnn"])
def test_gradient_of_a_fast_rcnn_step(net, step, shapes, tmp_path):
    """Both images have equally many regions, by whose number each process divides its loss."""
    cfg = tiny_config(shapes, tmp_path, net)
    cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS, cfg.MODEL.ROI_HEADS.IOU_LABELS = [0.5], [0, 1]
    assert_two_train_as_one(step_config(cfg, step, [write_set(cfg, tmp_path, 30)]))


@pytest.mark.parametrize("net", NETS)
def test_images_without_a_region_leave_no_parameter_unused(net, shapes, tmp_path):
    """DistributedDataParallel would end the iteration after one in which a parameter was in no loss."""
    cfg = tiny_config(shapes, tmp_path, net)
    ids = [image["image_id"] for image in load_training_dicts(cfg)]
    for empty in (ids[1:], ids):
        gradients = on_two_processes(train, step_config(cfg, "step2_fast_rcnn", [write_set(cfg, tmp_path, 9, empty)]))
        assert gradients[0].keys() == gradients[1].keys() and gradients[0]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[512]]  # no anchor lies inside an image
    first, second = on_two_processes(train, step_config(cfg, "step1_rpn"))
    assert not any(gradient.any() for gradient in (*first.values(), *second.values())) and first


def compute(cfg):
    register_datasets(cfg)
    torch.manual_seed(2)
    written, recall = write_proposals(cfg, build_step_model(cfg), recompute_flipped=True)
    return {"written": written, "recall": json.dumps(recall)}  # as text: NaN, of sizes without objects, is equal too


def test_proposals_are_those_of_one_process_image_by_image(shapes, tmp_path):
    cfg = tiny_config(shapes, tmp_path / "one")
    alone = compute(step_config(cfg, "step1_rpn"))
    cfg.OUTPUT_DIR = str(tmp_path / "two")
    first, second = on_two_processes(compute, step_config(cfg, "step1_rpn"))
    assert first == second and first["recall"] == alone["recall"]
    kinds = [(kind, name) for kind, sets in alone["written"].items() for name in sets]
    assert len(kinds) == 3  # of the training images, of these flipped, of the test images
    for kind, name in kinds:
        one, two = (ProposalSet(written["written"][kind][name]["path"]) for written in (alone, first))
        assert two.image_ids == one.image_ids and one.num_boxes > 0
        for image_id in one:
            for ours, theirs in zip(two[image_id], one[image_id]):
                assert np.array_equal(ours, theirs)


@pytest.fixture(scope="module")
def yaml_file(shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_processes")
    cfg = tiny_config(shapes, folder / "whole")
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()  # named by VOC_LAYOUT
    (folder / "mine.yaml").write_text(cfg.dump())
    return folder / "mine.yaml"


def command_line(yaml_file, *words, function=main):
    flags = ["--config-file", str(yaml_file), "--num-gpus", "2"]
    with at_most(180):
        return run_command_line(function, default_argument_parser().parse_args([*flags, *words]))


@pytest.fixture(scope="module")
def whole_run(yaml_file):
    assert command_line(yaml_file) == 0
    return yaml_file.parent / "whole"


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def hash_of(folder):
    return hash_tensors(read_checkpoint(str(folder / "model_final.pth"))["model"])


def test_four_steps_leave_a_network_and_results(whole_run):
    assert {"model_final.pth", "config.yaml", "manifest.json", "inference"} <= {
        path.name for path in whole_run.iterdir()
    }
    assert "AP50" in results_of(whole_run)["bbox"]
    assert list(results_of(whole_run)["proposals"]) == ["step1_rpn", "step3_rpn"]
    log = (whole_run / "log.txt").read_text()
    assert "2 processes share each batch" in log and "on the CPU, for there is no GPU here; they talk over gloo" in log
    steps = json.loads((whole_run / "manifest.json").read_text())["steps"]
    assert [step["state"] for step in steps] == ["finished"] * 4
    assert not list(whole_run.rglob("*.process*"))


def test_a_mistake_that_the_main_process_finds_ends_all(yaml_file, whole_run):
    assert command_line(yaml_file) == 2  # without --resume, in a folder that holds a run


def killed(args, step, iteration, number=signal.SIGKILL, said=os.devnull):
    """`main` whose second process is sent a signal in the middle of a step; what is said then goes to a file."""
    sys.stderr = open(said, "a", buffering=1)  # noqa: SIM115
    stock = StepTrainer.run_step

    def run_step(trainer):
        if not comm.is_main_process() and trainer.cfg.OUTPUT_DIR.endswith(step) and trainer.iter == iteration:
            os.kill(os.getpid(), number)
        stock(trainer)

    StepTrainer.run_step = run_step
    return main(args)


@pytest.mark.parametrize("step", STEPS[1:3])
def test_a_killed_run_that_is_resumed_ends_with_the_same_weights(step, yaml_file, whole_run, tmp_path, capfd):
    output = ["OUTPUT_DIR", str(tmp_path)]
    assert command_line(yaml_file, *output, function=partial(killed, step=step, iteration=3)) == 128 + signal.SIGKILL
    assert "process 1 was killed by SIGKILL" in capfd.readouterr().err
    assert command_line(yaml_file, "--resume", *output) == 0
    assert hash_of(tmp_path) == hash_of(whole_run)
    assert results_of(tmp_path)["bbox"] == results_of(whole_run)["bbox"]


def test_a_signal_to_one_process_stops_all_after_the_same_iteration(yaml_file, whole_run, tmp_path):
    output, longer = ["OUTPUT_DIR", str(tmp_path)], ["SCHEDULE.STEP1.MAX_ITER", "12", "SOLVER.CHECKPOINT_PERIOD", "99"]
    file = tmp_path / "said"
    stop = partial(killed, step="step1_rpn", iteration=6, number=signal.SIGTERM, said=file)
    assert command_line(yaml_file, *output, *longer, function=stop) == 128 + signal.SIGTERM
    checkpoint = tmp_path / "step1_rpn" / "model_0000006.pth"  # its own ones come after every third
    said = file.read_text()
    told = f"stopped by SIGTERM in step1_rpn after iteration 7 of 12; checkpoint: {checkpoint}; the same command with "
    assert said.count("stopped by") == 1 and told in said and "Traceback" not in said
    assert read_checkpoint(str(checkpoint))["iteration"] == 6
    assert json.loads((tmp_path / "manifest.json").read_text())["steps"][0]["seconds"] > 0
    assert command_line(yaml_file, "--resume", "--steps", "1", *output, *longer) == 0
    assert [path.name for path in checkpoint.parent.glob("model_*")] == ["model_final.pth"]


def test_two_processes_evaluate_what_one_evaluates(yaml_file, whole_run):
    results = []
    for processes in (1, 2):
        assert command_line(yaml_file, "--eval-only", "--num-gpus", str(processes)) == 0
        (lines,) = (whole_run / "eval_only").glob("inference/*/detections.jsonl")
        results.append((results_of(whole_run / "eval_only"), lines.read_text()))
    assert results[0] == results[1] and results[0][0]["bbox"] == results_of(whole_run)["bbox"]
