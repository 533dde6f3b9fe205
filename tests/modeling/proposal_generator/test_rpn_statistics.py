"""Mean and deviation of the RPN's targets over all positive anchors of images and mirror images (SPEC 4.4)."""

from frcnn_alt.modeling.proposal_generator import match_anchors

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.anchor_statistics import anchor_statistics
from oracles.anchors import cell_anchors
from oracles.box_coding import encode
from small_rpn import IMAGES, SCALES, STATISTICS, grid, ground_truth, inclusive, make_rpn


class Recorder:
    """Keeps what it is given, in place of BoxRegressionStatistics."""

    def __init__(self):
        self.calls = []

    def update(self, src_boxes, gt_boxes, classes):
        self.calls.append((src_boxes, gt_boxes, classes))


RPN = make_rpn()


def measured(images):
    statistics = RPN.new_box_statistics()
    RPN.update_box_statistics(statistics, images)
    return [value.double().numpy() for value in statistics.finish()]


def by_the_rule(images):
    images = [(inclusive(image.gt_boxes.tensor).tolist(), *image.image_size) for image in images]
    return anchor_statistics(images, cell_anchors(SCALES))


def random_image(random, height, width):
    """Up to three boxes in quarters of a pixel, so that ties are ties in single precision too."""
    corners = random.integers(0, [4 * (width - 12), 4 * (height - 12)], (random.integers(1, 4), 2)) / 4
    ends = np.minimum(corners + random.integers(40, 240, corners.shape) / 4, [width, height])
    return ground_truth(np.concatenate([corners, ends], axis=1), (height, width))


@given(seed=st.integers(0, 10**6), widths=st.lists(st.integers(70, 112), min_size=1, max_size=2))
def test_statistics_are_those_of_all_positive_anchors_and_of_the_mirror_images(seed, widths):
    """Only with whole cells in a row is the mirror image of the anchors the anchors."""
    random = np.random.default_rng(seed)
    images = [random_image(random, int(random.integers(70, 90)), width) for width in widths]
    mean, std = measured(images)
    expected_mean, expected_std = by_the_rule(images)
    np.testing.assert_allclose(mean[0], expected_mean, atol=1e-5)
    np.testing.assert_allclose(std[0], np.maximum(expected_std, 1e-4), atol=1e-5)


def test_statistics_see_all_positive_anchors_unsampled():
    rpn = make_rpn("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 2)
    recorder = Recorder()
    rpn.update_box_statistics(recorder, IMAGES)
    anchors = grid(rpn)[0]
    assert len(recorder.calls) == 4
    for (src, gt, classes), image in zip(recorder.calls[::2], IMAGES):  # each is followed by its mirror image
        labels, matched = match_anchors(anchors, image.gt_boxes, (96, 128), rpn.anchor_matcher, 0)
        assert len(src) == (labels == 1).sum() > 1
        assert torch.equal(src, anchors.tensor[labels == 1])
        assert torch.equal(gt, matched[labels == 1])
        assert classes.dtype == torch.int64 and (classes == 0).all() and len(classes) == len(src)


@pytest.mark.parametrize("image_size", [(90, 121), (96, 128), (97, 113)])
def test_statistics_do_not_depend_on_cells_beyond_the_image(image_size):
    rpn, normal, larger = make_rpn(), Recorder(), Recorder()
    image = ground_truth([[10, 12, 60, 70], [70, 60, 113, 90]], image_size)
    rpn.update_box_statistics(normal, [image])
    one_cell_more = [(-(-image_size[0] // 16) + 1, -(-image_size[1] // 16) + 1)]  # ZF's map, SPEC 1.3
    rpn.update_box_statistics(larger, [image], one_cell_more)
    assert len(normal.calls) == len(larger.calls) > 0
    for call, other_call in zip(normal.calls, larger.calls):
        for one, other in zip(call, other_call):
            assert len(one) > 0 and torch.equal(one, other)


def test_images_without_a_positive_anchor_count_nothing():
    rpn = make_rpn()
    statistics = rpn.new_box_statistics()
    rpn.update_box_statistics(statistics, [ground_truth([]), ground_truth([[2, 2, 20, 20]], (24, 24))])
    assert statistics.num_samples == 0
    assert torch.equal(statistics.finish()[0], torch.zeros(1, 4))


def test_measured_statistics_normalise_the_targets():
    rpn = make_rpn()
    statistics, recorder = rpn.new_box_statistics(), Recorder()
    rpn.update_box_statistics(statistics, IMAGES)
    rpn.update_box_statistics(recorder, IMAGES)
    rpn.set_box_statistics(*statistics.finish())
    deltas = torch.cat([rpn.box2box_transform.get_deltas(src, gt) for src, gt, _ in recorder.calls])
    raw = [encode(s, g) for src, gt, _ in recorder.calls for s, g in zip(inclusive(src), inclusive(gt))]
    mean, std = by_the_rule(IMAGES)
    np.testing.assert_allclose(deltas.numpy(), (np.array(raw) - mean) / std, rtol=1e-3, atol=1e-4)
    state = rpn.state_dict()
    assert state["box2box_transform.mean"].shape == (1, 4)
    np.testing.assert_allclose(state["box2box_transform.std"][0].double().numpy(), std, rtol=1e-4, atol=1e-5)


def test_proposals_are_decoded_with_the_statistics():
    rpn = make_rpn()
    mean, std = STATISTICS
    rpn.set_box_statistics(torch.tensor(mean), torch.tensor(std))
    rpn.eval()
    anchors = grid(rpn)
    target = torch.tensor([[20.0, 30.0, 70.0, 80.0]])
    raw = np.array([encode(anchor, inclusive(target)[0]) for anchor in inclusive(anchors[0].tensor)])
    normalised = torch.from_numpy((raw - mean) / std).float()[None]
    (result,) = rpn.predict_proposals(anchors, [torch.zeros(1, len(raw))], [normalised], [(96, 128)])
    torch.testing.assert_close(result.proposal_boxes.tensor, target, atol=1e-3, rtol=1e-4)  # all the same, one survives


def test_raw_targets_have_no_statistics():
    """py-faster-rcnn's, and those of the paper's text, which calls the normalisation unnecessary."""
    rpn = make_rpn(preset="pyfrcnn")
    assert not any("box2box" in name for name in rpn.state_dict())
    assert rpn.new_box_statistics() is None
    with pytest.raises(ValueError, match="BBOX_REG_STATISTICS"):
        rpn.set_box_statistics(torch.zeros(1, 4), torch.ones(1, 4))
