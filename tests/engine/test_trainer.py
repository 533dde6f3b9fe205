"""The whole 4-step run in miniature: what starts from where, what moves, what is left behind."""

import json
import os

from frcnn_alt import get_cfg
from frcnn_alt.checkpointing import hash_tensors, read_checkpoint, select_components
from frcnn_alt.engine import AlternatingTrainer, StepTrainer, assemble

import pytest
import torch
from detectron2.engine import DefaultPredictor
from miniature import STEPS, run, tiny_config, weights_of, write_initial_weights


@pytest.fixture(scope="module", params=["ZF", "VGG16"])
def finished_run(request, shapes, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / request.param
    weights = str(tmp_path_factory.mktemp("weights") / "initial.pth")
    cfg = tiny_config(shapes, output, request.param, weights)
    write_initial_weights(cfg, weights)
    results = run(cfg)
    return cfg, results


def test_outputs_are_those_of_the_contract(finished_run):
    cfg, results = finished_run
    for step in STEPS:
        for name in ("config.yaml", "log.txt", "metrics.json", "model_final.pth"):
            assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, step, name)), (step, name)
    for name in ("manifest.json", "model_final.pth", "config.yaml", "results.json"):
        assert os.path.isfile(os.path.join(cfg.OUTPUT_DIR, name)), name
    for step in ("step1_rpn", "step3_rpn"):
        assert sorted(os.listdir(os.path.join(cfg.OUTPUT_DIR, step, "proposals"))) == [
            "tiny_shapes_test",
            "tiny_shapes_trainval",
            "tiny_shapes_trainval.flipped",
        ]
    with open(os.path.join(cfg.OUTPUT_DIR, "results.json")) as file:
        written = json.load(file)
    assert set(written) == {"bbox", "proposals", "seconds"}
    assert {"AP", "AP50", "AP75"} < set(written["bbox"])
    assert set(written["proposals"]) == {"step1_rpn", "step3_rpn"} and set(STEPS) < set(written["seconds"])
    assert results["seconds"] == written["seconds"]


def test_the_manifest_remembers_how_the_initial_weights_were_made(finished_run):
    cfg, _ = finished_run
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        assert json.load(file)["weights_command"] == ["tools/pretrain_backbone.py", "SEED", "11"]


def test_steps_1_and_2_start_from_the_initial_weights_and_not_from_each_other(finished_run):
    cfg, _ = finished_run
    initial = read_checkpoint(cfg.MODEL.WEIGHTS)["model"]
    one, two = weights_of(cfg.OUTPUT_DIR, "step1_rpn"), weights_of(cfg.OUTPUT_DIR, "step2_fast_rcnn")
    assert hash_tensors(select_components(one, ["backbone"])) != hash_tensors(select_components(two, ["backbone"]))
    frozen = ["backbone.conv1_1", "backbone.conv1_2", "backbone.conv2_1", "backbone.conv2_2"]
    for state in (one, two):  # VGG-16's first two blocks are still the initial ones, bit by bit
        assert all(torch.equal(value, initial[name]) for name, value in select_components(state, frozen).items())


def test_step_2_begins_with_exactly_the_initial_weights(shapes, tmp_path, monkeypatch):
    weights = str(tmp_path / "initial.pth")
    cfg = tiny_config(shapes, tmp_path / "run", weights=weights)
    write_initial_weights(cfg, weights)
    began = {}
    stock_train = StepTrainer.train

    def record(trainer):
        began[os.path.basename(trainer.cfg.OUTPUT_DIR)] = {
            name: value.detach().cpu().clone() for name, value in trainer.unwrapped_model.state_dict().items()
        }
        return stock_train(trainer)

    monkeypatch.setattr(StepTrainer, "train", record)
    run(cfg)
    initial = read_checkpoint(weights)["model"]
    for name, value in initial.items():
        assert torch.equal(began["step2_fast_rcnn"][name], value), name
        if name.startswith("backbone."):
            assert torch.equal(began["step1_rpn"][name], value), name
    # New layers: the Gaussians of SPEC 4.1 and 5.3, and zero biases.
    new = began["step2_fast_rcnn"]
    assert (new["roi_heads.box_predictor.cls_score.bias"] == 0).all()
    assert 0.005 < new["roi_heads.box_predictor.cls_score.weight"].std() < 0.02
    # Step 3's head is new again, step 4's continues step 2's.
    three, four, two = began["step3_rpn"], began["step4_fast_rcnn"], weights_of(cfg.OUTPUT_DIR, "step2_fast_rcnn")
    one = weights_of(cfg.OUTPUT_DIR, "step1_rpn")
    assert not torch.equal(
        three["proposal_generator.rpn_head.conv.weight"], one["proposal_generator.rpn_head.conv.weight"]
    )
    name = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(four[name], two[name])
    # Statistics were measured on other proposals, so they are not those of step 2.
    std = "roi_heads.box_predictor.box2box_transform.std"
    assert (began["step2_fast_rcnn"][std] != 1).any() and not torch.equal(four[std], two[std])


def test_frozen_tensors_are_bit_equal_and_the_manifest_proves_it(finished_run):
    cfg, _ = finished_run
    shared = [hash_tensors(select_components(weights_of(cfg.OUTPUT_DIR, step), ["backbone"])) for step in STEPS[1:]]
    assert len(set(shared)) == 1
    with open(os.path.join(cfg.OUTPUT_DIR, "manifest.json")) as file:
        for entry in json.load(file)["steps"]:
            assert entry["state"] == "finished"
            assert entry["frozen_hash"]["before"] == entry["frozen_hash"]["after"]


def test_optimizer_holds_only_what_is_trained(finished_run):
    cfg, _ = finished_run
    state = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "step4_fast_rcnn", "model_final.pth"))
    groups = state["trainer"]["_trainer"]["optimizer"]["param_groups"]
    trained = [name for name in state["model"] if name.startswith("roi_heads.") and "transform" not in name]
    assert sum(len(group["params"]) for group in groups) == len(trained) == 8  # fc6, fc7, cls_score, bbox_pred


def test_final_file_is_put_together_from_steps_2_3_and_4(finished_run):
    cfg, _ = finished_run
    final = read_checkpoint(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"))["model"]
    for component, step in zip(("backbone", "proposal_generator", "roi_heads"), STEPS[1:]):
        part = select_components(final, [component])
        assert part and hash_tensors(part) == hash_tensors(
            select_components(weights_of(cfg.OUTPUT_DIR, step), [component])
        )
    assert set(final) == set(select_components(final, ["backbone", "proposal_generator", "roi_heads"]))


def test_default_predictor_runs_the_final_file_with_its_config(finished_run):
    cfg, _ = finished_run
    final = get_cfg()
    final.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    image = (torch.rand(90, 130, 3) * 255).byte().numpy()
    instances = DefaultPredictor(final)(image)["instances"]
    assert instances.image_size == (90, 130) and instances.has("pred_boxes") and instances.has("scores")
    tensors = read_checkpoint(final.MODEL.WEIGHTS)["model"]
    loaded = DefaultPredictor(final).model.state_dict()
    assert set(loaded) == set(tensors) and all(torch.equal(loaded[n].cpu(), tensors[n]) for n in tensors)


def test_evaluating_the_final_file_again_gives_the_same_numbers(finished_run):
    cfg, results = finished_run
    final = get_cfg()
    final.merge_from_file(os.path.join(cfg.OUTPUT_DIR, "config.yaml"))
    model = DefaultPredictor(final).model
    again = AlternatingTrainer.test(final, model)
    assert dict(again["bbox"]) == dict(results["bbox"]) and len(again["bbox"]) == 3 + 4  # AP, AP50, AP75, four classes


def test_a_frozen_tensor_that_moves_stops_the_run(shapes, tmp_path, monkeypatch):
    cfg = tiny_config(shapes, tmp_path / "run")
    stock = StepTrainer.run_step

    def meddle(trainer):
        stock(trainer)
        if trainer.cfg.OUTPUT_DIR.endswith("step3_rpn"):
            with torch.no_grad():
                trainer.unwrapped_model.backbone.conv3.weight[0, 0, 0, 0] += 1e-3

    monkeypatch.setattr(StepTrainer, "run_step", meddle)
    with pytest.raises(RuntimeError, match="step3_rpn changed tensors"):
        run(cfg)


def test_assembly_without_a_component_is_refused(tmp_path):
    torch.save({"model": {"backbone.x": torch.ones(1)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="roi_heads"):
        assemble(
            get_cfg(), {"roi_heads": "step4_fast_rcnn"}, {"step4_fast_rcnn": str(tmp_path / "a.pth")}, str(tmp_path)
        )
