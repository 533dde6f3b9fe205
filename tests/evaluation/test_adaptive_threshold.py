"""The cut-off over a data set: model and evaluator together against MATLAB's order of things, and its hard corners."""

import logging

from frcnn_alt import get_cfg
from frcnn_alt.data import register_datasets
from frcnn_alt.evaluation import AdaptiveThresholdEvaluator, build_evaluator, class_thresholds
from frcnn_alt.evaluation.adaptive_threshold import __name__ as LOGGER
from frcnn_alt.modeling.meta_arch import FasterRCNN
from frcnn_alt.modeling.roi_heads import FasterRCNNOutputLayers

import numpy as np
import pytest
import torch
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from hypothesis import given
from hypothesis import strategies as st
from oracles.set_wide_threshold import set_wide_detections
from two_processes import on_two_processes

K, SIDE, NAMES = 3, 64, ["bird", "cat", "dog"]


class NoBackbone(Backbone):
    def forward(self, image):
        return {}


class GivenPredictions(torch.nn.Module):
    """RoI heads whose predictor's outputs come with the proposals: logits (R, K + 1), deltas (R, 4K)."""

    def __init__(self, **keys):
        super().__init__()
        transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
        keys = {"box2box_transform": transform, "num_classes": K, "test_topk_per_image": -1, **keys}
        self.box_predictor = FasterRCNNOutputLayers(ShapeSpec(channels=1), **keys)

    def forward(self, images, features, proposals, targets):
        logits, deltas = (torch.cat([one.get(name) for one in proposals]) for name in ("logits", "deltas"))
        return self.box_predictor.inference((logits, deltas), proposals)[0], {}


class Recorder(DatasetEvaluator):
    """Remembers what it is shown, and returns the detections of all processes by image."""

    def reset(self):
        self.inputs, self.shown = [], {}

    def process(self, inputs, outputs):
        self.inputs += inputs
        for one, output in zip(inputs, outputs):
            instances = output["instances"]
            boxes, labels = instances.pred_boxes.tensor.tolist(), instances.pred_classes.tolist()
            self.shown[one["image_id"]] = sorted(
                (label, score, *box) for label, score, box in zip(labels, instances.scores.tolist(), boxes)
            )

    def evaluate(self):
        parts = comm.gather(self.shown)
        return {"shown": {k: v for part in parts for k, v in part.items()}} if comm.is_main_process() else None


def make_model(per_image, score_threshold, nms_threshold):
    keys = {"test_score_thresh": score_threshold, "test_nms_thresh": nms_threshold}
    return FasterRCNN(
        backbone=NoBackbone(),
        proposal_generator=None,
        roi_heads=GivenPredictions(pre_nms_topk_per_class=per_image, **keys),
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        gives_candidate_scores=True,
    ).eval()


def random_data_set(seed, regions):
    """Images of so many regions. Scores, n / 40, tie across images, never within one.

    Sides are powers of two and moves quarters of them, so that boxes and IoUs are exact in every precision.
    """
    random = np.random.RandomState(seed)
    rows = np.stack([random.permutation(12) + 1 for _ in range(K)], axis=1) / 40
    logits = np.log(np.concatenate([rows, 1 - rows.sum(axis=1, keepdims=True)], axis=1)).astype(np.float32)
    inputs = []
    for number, count in enumerate(regions):
        corners, sides = random.randint(0, 25, (count, 2)), 2 ** random.randint(3, 6, (count, 2))
        proposals = Instances((SIDE, SIDE))
        proposals.proposal_boxes = Boxes(torch.from_numpy(np.concatenate([corners, corners + sides], axis=1)).float())
        moves = random.randint(-2, 3, (count, K, 2)) / 4
        deltas = np.concatenate([moves, np.zeros_like(moves)], axis=2)
        proposals.deltas = torch.from_numpy(deltas.reshape(count, 4 * K)).float()
        proposals.logits = torch.from_numpy(logits[random.permutation(12)[:count]])
        image = torch.zeros(3, SIDE, SIDE)
        inputs.append({"image": image, "proposals": proposals, "image_id": number, "file_name": f"{number}.jpg"})
    return inputs


def for_the_oracle(inputs):
    images = []
    for one in inputs:
        boxes = one["proposals"].proposal_boxes.tensor.double().numpy()[:, None]
        sides = np.tile(boxes[..., 2:] - boxes[..., :2], 2)
        moves = one["proposals"].deltas.double().numpy().reshape(-1, K, 4)[..., :2]
        moved = np.clip(boxes + np.tile(moves, 2) * sides, 0, SIDE)
        images.append((moved, torch.softmax(one["proposals"].logits, dim=1).numpy()[:, :K]))
    return images


def evaluate(model, inputs, mean_boxes, inner=None):
    evaluator = AdaptiveThresholdEvaluator(inner or Recorder(), mean_boxes, NAMES)
    batches = [inputs[start : start + 2] for start in range(0, len(inputs), 2)]
    return inference_on_dataset(model, batches, evaluator)


@given(
    regions=st.lists(st.integers(0, 8), min_size=1, max_size=6),
    mean_boxes=st.integers(1, 5),
    per_image=st.sampled_from([-1, 1, 3, 100]),
    score_threshold=st.sampled_from([0.0, 0.11, 0.21]),
    nms_threshold=st.sampled_from([0.25, 0.5]),
    seed=st.integers(0, 999),
)
def test_same_boxes_as_with_thresholds_before_nms(regions, mean_boxes, per_image, score_threshold, nms_threshold, seed):
    inputs = random_data_set(seed, regions)
    results = evaluate(make_model(per_image, score_threshold, nms_threshold), inputs, mean_boxes)
    oracle, _ = set_wide_detections(for_the_oracle(inputs), mean_boxes, per_image, score_threshold, nms_threshold)
    assert results == {"shown": dict(enumerate(oracle))}


def test_the_threshold_is_found_before_nms():
    """One image's copies of one box are the four best of the set, and NMS leaves one of them."""
    inputs = random_data_set(3, [8, 8, 8, 8])
    for one in inputs:
        one["proposals"].proposal_boxes = Boxes(torch.tensor([[8.0, 8.0, 40.0, 40.0]]).repeat(8, 1))
        one["proposals"].deltas = torch.zeros(8, 4 * K)
        if one["image_id"] != 2:
            one["proposals"].logits[:, :K] -= 5.0
    everything = evaluate(make_model(100, 0.0, 0.5), inputs, 100)["shown"]
    assert [len(of_image) for of_image in everything.values()] == [K] * 4
    cut = evaluate(make_model(100, 0.0, 0.5), inputs, 1)["shown"]  # after NMS, all four of a class would stay
    assert cut == {**dict.fromkeys(range(4), []), 2: everything[2]}


@given(st.integers(0, 8), st.integers(1, 9), st.integers(0, 99))
def test_the_threshold_is_the_score_of_the_last_that_may_stay(candidates, limit, seed):
    scores = np.random.RandomState(seed).randint(-1, 4, (candidates, K)).astype(np.float32)
    scores[scores < 0] = -np.inf
    ours = class_thresholds(torch.from_numpy(scores), limit).tolist()
    for label, threshold in enumerate(ours):
        column = sorted((s for s in scores[:, label] if np.isfinite(s)), reverse=True)
        assert threshold == (column[limit - 1] if len(column) >= limit else -np.inf)


@pytest.mark.parametrize("score_threshold", [0.0, 0.2, 0.99])
def test_few_boxes_none_and_classes_never_predicted(score_threshold):
    inputs = random_data_set(5, [0, 2, 0, 3])
    inputs[1]["proposals"].logits[:, 1] = inputs[3]["proposals"].logits[:, 1] = -50.0  # no cat
    images = for_the_oracle(inputs)
    for mean_boxes in (1, 40):
        shown = evaluate(make_model(100, score_threshold, 0.5), inputs, mean_boxes)["shown"]
        oracle, thresholds = set_wide_detections(images, mean_boxes, 100, score_threshold, 0.5)
        assert shown == dict(enumerate(oracle))
        assert mean_boxes == 1 or thresholds == [-np.inf] * K
    assert score_threshold < 0.99 or not any(shown.values())


def test_a_data_set_without_images_and_one_without_regions():
    assert evaluate(make_model(100, 0.0, 0.5), random_data_set(0, [0, 0]), 40) == {"shown": {0: [], 1: []}}
    evaluator = AdaptiveThresholdEvaluator(Recorder(), 40, NAMES)
    evaluator.reset()
    assert evaluator.evaluate() == {"shown": {}}


def test_thresholds_are_logged_in_one_line(caplog):
    inputs = random_data_set(3, [8, 8])
    inputs[0]["proposals"].logits[:, 1] = inputs[1]["proposals"].logits[:, 1] = -500.0  # not above 0: no cat at all
    _, thresholds = set_wide_detections(for_the_oracle(inputs), 5, 100, 0.0, 0.5)
    with caplog.at_level(logging.INFO, logger=LOGGER):
        evaluate(make_model(100, 0.0, 0.5), inputs, 5)
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert "leave 10 boxes" in line and "\n" not in line
    assert line.endswith(f": bird {thresholds[0]:.4g}, cat -inf, dog {thresholds[2]:.4g}")


def test_what_is_kept_and_shown_has_no_pixels_and_is_forgotten():
    recorder = Recorder()
    evaluator = AdaptiveThresholdEvaluator(recorder, 1, NAMES)
    for seed in (1, 2):  # as many evaluations as one likes, each of its own images
        inputs = random_data_set(seed, [6, 6])
        alone = evaluate(make_model(100, 0.0, 0.5), inputs, 1)
        assert inference_on_dataset(make_model(100, 0.0, 0.5), [inputs], evaluator) == alone
        assert evaluator.evaluate() == alone
        assert recorder.inputs == [{"image_id": i, "file_name": f"{i}.jpg"} for i in (0, 1)]
        assert "image" in inputs[0]


def test_a_model_without_candidate_scores_is_measured_without(caplog):
    inputs = random_data_set(3, [8, 8, 8])
    model = make_model(100, 0.0, 0.5)
    everything = evaluate(model, inputs, 100)

    class SometimesSilent(torch.nn.Module):
        def forward(self, batch):
            outputs = model(batch)
            if batch[0]["image_id"] == 2:
                del outputs[0]["candidate_scores"]
            return outputs

    caplog.clear()
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        assert evaluate(SometimesSilent(), inputs, 1) == everything
    (line,) = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert "TEST.MEAN_BOXES_PER_CLASS is 1, but 1 of 3 images" in line


def evaluate_together(share):
    inputs = random_data_set(3, [8, 8, 0, 8, 8])
    inner = DatasetEvaluators([Recorder()])
    own = inputs[:share] if comm.is_main_process() else inputs[share:]
    return dict(evaluate(make_model(100, 0.0, 0.25), own, 2, inner))


@pytest.mark.parametrize("share", [2, 5])  # of the first process; with all of them the other sees no image
def test_two_processes_find_what_one_finds(share):
    alone = evaluate(make_model(100, 0.0, 0.25), random_data_set(3, [8, 8, 0, 8, 8]), 2)
    assert on_two_processes(evaluate_together, share) == [alone, {}]


def test_build_evaluator_obeys_the_key(voc_folder, own_catalogs, tmp_path):
    cfg = get_cfg()
    cfg.DATASETS.VOC_LAYOUT.ROOT, cfg.OUTPUT_DIR = str(voc_folder({"a": [("dog", 2, 2, 30, 30)]})), str(tmp_path)
    register_datasets(cfg)
    wrapped = build_evaluator(cfg, "tiny_test", str(tmp_path))
    assert isinstance(wrapped, AdaptiveThresholdEvaluator)
    assert (wrapped.mean_boxes_per_class, list(wrapped.class_names)) == (40, ["dog"])
    cfg.TEST.MEAN_BOXES_PER_CLASS = -1
    assert type(build_evaluator(cfg, "tiny_test", str(tmp_path))) is DatasetEvaluators
    cfg.TEST.MEAN_BOXES_PER_CLASS = 0
    with pytest.raises(ValueError, match="TEST.MEAN_BOXES_PER_CLASS is 0"):
        build_evaluator(cfg, "tiny_test", str(tmp_path))
