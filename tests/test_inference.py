"""From the image to the detections: ZF-net and VGG-16 against a second inference, in plain numpy, of the originals.

Random weights, both presets, detectron2's own ``DefaultPredictor`` with the configs that train. Only the resizing of
pixels is shared: detectron2 does it with Pillow, so the numpy inference is given what Pillow makes, at the size that it
computes itself.
"""

from typing import NamedTuple, Tuple

import near_ties
import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from oracles.image_size import resized
from oracles.network.architectures import VGG16, ZF
from oracles.network.inference import PAPER, PYFRCNN, Detections, infer
from paired_detections import BOX_TOLERANCE, SCORE_TOLERANCE, are_same, differences
from PIL import Image
from random_detector import Weights, caffe_weights, detector_config, picture, randomise

NETWORKS = {"zf": ZF, "vgg16": VGG16}
PRESETS = {"paper": PAPER, "pyfrcnn": PYFRCNN}
BOTH = pytest.mark.parametrize("network,preset", [(n, p) for n in NETWORKS for p in PRESETS])


class Case(NamedTuple):
    predictor: DefaultPredictor
    image: np.ndarray  # (height, width, 3) uint8 as it comes from the file
    resized: np.ndarray  # as the network sees it
    weights: Weights
    network: str
    preset: str

    @property
    def pixel(self) -> Tuple[float, float]:
        """(width, height) of a pixel of the network's input in pixels of the original image."""
        return self.image.shape[1] / self.resized.shape[1], self.image.shape[0] / self.resized.shape[0]

    def expected(self, **changes) -> Detections:
        """What the numpy inference gives, with some of its arguments changed."""
        arguments = {
            "image": self.resized,
            "original_size": self.image.shape[:2],
            "weights": self.weights,
            "architecture": NETWORKS[self.network],
            "preset": PRESETS[self.preset],
            **changes,
        }
        return infer(**arguments)


def make_case(network, preset, original_size, sides=(240, 400), seed=0, **narrower) -> Case:
    cfg = detector_config(f"{network}_4step.yaml", preset, **narrower)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = sides
    seed += near_ties.seeds_tried[0]
    torch.manual_seed(seed)
    predictor = DefaultPredictor(cfg)
    image = picture(*original_size, seed)
    height, width = resized(*original_size, *sides)
    seen = np.array(Image.fromarray(image).resize((width, height), Image.BILINEAR))
    randomise(predictor.model, seen, seed)
    weights = caffe_weights(predictor.model, NETWORKS[network].rpn_convolution)
    return Case(predictor, image, seen, weights, network, preset)


def fields(instances):
    """Boxes, scores and classes of detectron2's ``Instances``."""
    return tuple(
        values.double().numpy() for values in (instances.pred_boxes.tensor, instances.scores, instances.pred_classes)
    )


def assert_agreement(found, case, pixel=None, **changes):
    """`found` are the detections of the numpy inference, with some of its arguments changed, which are returned.

    Weights changed by more than what single precision changes give the same detections, a little moved; so no choice
    of an order, a cell or a suppression hangs on the last digits, and the comparison is a fair one.

    Raises:
        NearTies: it would not be.
    """
    expected, pixel = case.expected(**changes), pixel or case.pixel
    generator = np.random.default_rng(0)
    noisy = {}
    for name, (weight, bias) in case.weights.items():
        factor = 1 + 2e-6 * generator.standard_normal(bias.shape)  # of each output
        noisy[name] = weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), bias * factor
    moved = differences(case.expected(weights=noisy, **changes), expected, pixel)
    if not (moved[0] < 20 * BOX_TOLERANCE and moved[1] < 20 * SCORE_TOLERANCE):
        raise near_ties.NearTies(f"boxes move by {moved[0]}, scores by {moved[1]}")

    of_boxes, of_scores = differences(found, expected, pixel)
    assert of_boxes < BOX_TOLERANCE
    assert of_scores < SCORE_TOLERANCE
    return expected


def predict_and_compare(case):
    found = fields(case.predictor(case.image)["instances"])
    assert (np.diff(found[1]) <= 0).all()  # best first
    return assert_agreement(found, case)


def assert_telling(expected):
    """The detections are of many classes and places, and every stage had something to throw away."""
    proposals = expected.proposals
    assert proposals.large_enough < proposals.decoded
    assert proposals.suppressed > 0
    assert len(proposals.boxes) > 100
    assert np.ptp(proposals.scores) > 0.01
    assert len(np.unique(expected.classes)) > 10
    assert ((expected.probabilities[:, 1:] > 0.05).any(axis=0)).sum() > 10
    assert len(expected.boxes) < sum(expected.candidates.values())
    assert 0.1 < expected.deltas[:, 1:].std() < 0.5


@BOTH
@pytest.mark.parametrize(
    "original_size",
    [(101, 151), (263, 187), (83, 333)],
    ids=["enlarged", "portrait", "longer side decides"],
)
@near_ties.other_seeds_at_near_ties
def test_detections(network, preset, original_size):
    assert_telling(predict_and_compare(make_case(network, preset, original_size)))


@pytest.mark.parametrize("network,preset", [("zf", "pyfrcnn"), ("vgg16", "paper")])
@near_ties.other_seeds_at_near_ties
def test_detections_at_the_papers_size(network, preset):
    """600 pixels at least and 1000 at most: 20000 anchors, of which 6000 enter the suppression, and 300 proposals."""
    case = make_case(network, preset, (375, 500), sides=(600, 1000))
    assert case.resized.shape == (600, 800, 3)
    expected = predict_and_compare(case)
    assert_telling(expected)
    assert expected.proposals.large_enough > 6000
    assert len(expected.proposals.boxes) == 300 < 6000 - expected.proposals.suppressed


@BOTH
@near_ties.other_seeds_at_near_ties
def test_image_smaller_than_every_anchor(network, preset):
    case = make_case(network, preset, (53, 61), sides=(70, 200))
    assert case.resized.shape == (70, 81, 3)
    assert len(predict_and_compare(case).boxes) > 10


@near_ties.other_seeds_at_near_ties
def test_zf_in_full_width():
    expected = predict_and_compare(make_case("zf", "paper", (101, 150), sides=(160, 280), width=1.0, fc_dim=4096))
    assert_telling(expected)


@near_ties.other_seeds_at_near_ties
def test_vgg16_with_all_channels():
    """All but fc6 and fc7, whose 120 million weights would take a gigabyte in double precision."""
    assert_telling(predict_and_compare(make_case("vgg16", "pyfrcnn", (101, 150), sides=(160, 280), seed=1, width=1.0)))


@BOTH
@near_ties.other_seeds_at_near_ties
def test_batch_of_two_sizes(network, preset):
    """Zeros make the images of a batch equally large, in both originals as here (SPEC 1.3).

    The image that is larger on both sides is not touched by that. The features of the other one near the border, and
    the anchors beyond it, are those of the image with zeros around.
    """
    case = make_case(network, preset, (101, 150), sides=(160, 280))
    small = case.resized
    large = picture(small.shape[0] + 37, small.shape[1] + 21, seed=1)
    inputs = [
        {"image": torch.as_tensor(image.transpose(2, 0, 1).astype("float32")), "height": size[0], "width": size[1]}
        for image, size in ((small, case.image.shape), (large, large.shape))
    ]
    with torch.no_grad():
        of_small, of_large = (fields(output["instances"]) for output in case.predictor.model(inputs))
    assert_agreement(of_large, case, pixel=(1.0, 1.0), image=large, original_size=large.shape[:2])
    assert_agreement(of_small, case, padded_size=large.shape[:2])
    assert not are_same(of_small, case.expected(), case.pixel)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_every_rule_of_a_preset_changes_the_detections(network):
    """So the comparisons above would have noticed if one of them were not obeyed."""
    case = make_case(network, "paper", (101, 151), sides=(160, 280))
    paper = case.expected()
    for rule, value in PYFRCNN._asdict().items():
        if rule != "detections_per_image":
            assert not are_same(case.expected(preset=PAPER._replace(**{rule: value})), paper, case.pixel), rule
    pyfrcnn = case.expected(preset=PYFRCNN)
    assert len(pyfrcnn.boxes) == 100 < len(case.expected(preset=PYFRCNN._replace(detections_per_image=None)).boxes)


@pytest.mark.parametrize("network", list(NETWORKS))
def test_image_too_low_for_any_proposal(network):
    """It is 15 pixels high, however much it is enlarged, and proposals are at least 16."""
    case = make_case(network, "paper", (101, 150), sides=(160, 280))
    thin = case.resized[:150]
    inputs = [{"image": torch.as_tensor(thin.transpose(2, 0, 1).astype("float32")), "height": 15, "width": 24}]
    with torch.no_grad():
        assert len(case.predictor.model(inputs)[0]["instances"]) == 0
    assert len(case.expected(image=thin, original_size=(15, 24)).boxes) == 0


@BOTH
def test_box_regressed_out_of_the_image(network, preset):
    """The originals clip it to the last pixel before the border; detectron2 clips it to nothing and drops it."""
    case = make_case(network, preset, (53, 61), sides=(70, 200))
    predictor = case.predictor.model.roi_heads.box_predictor
    with torch.no_grad():
        predictor.cls_score.bias[0] += 3.0
        predictor.bbox_pred.bias[0] += 100.0  # dx of class 0, in units of its deviation
    case = case._replace(weights=caffe_weights(case.predictor.model, NETWORKS[network].rpn_convolution))
    expected = case.expected()
    of_class_0 = expected.boxes[expected.classes == 0]
    assert len(of_class_0) > 0
    np.testing.assert_allclose(of_class_0[:, 2], 61)
    np.testing.assert_allclose(of_class_0[:, 2] - of_class_0[:, 0], case.pixel[0])
    found = fields(case.predictor(case.image)["instances"])
    assert 0 not in found[2] and len(found[2]) > 0
    assert are_same(found, expected, case.pixel)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_regression_in_original_pixels(preset):
    """Both originals regress in pixels of the original image, detectron2 in those of the network's input.

    How much that matters for a VOC image, which is enlarged 1.6 times: boxes differ by less than a pixel, and a few
    other ones survive the suppression.
    """
    case = make_case("zf", preset, (150, 200), sides=(240, 400))
    here, there = case.expected(), case.expected(regress_in_original_pixels=True)
    both = [(i, j) for i, score in enumerate(here.scores) for j in np.flatnonzero(there.scores == score)]
    distances = np.array([np.abs(here.boxes[i] - there.boxes[j]).max() for i, j in both])
    assert 0 < distances.max() < 1
    assert len(both) > 0.9 * max(len(here.boxes), len(there.boxes))
