"""FasterRCNNRPN: sampling, loss against numpy in both normalisations, target statistics, proposals."""

import frcnn_alt
from frcnn_alt.modeling.proposal_generator import FasterRCNNRPN, match_anchors

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import EventStorage

CHANNELS = 4


def make_rpn(*overrides) -> FasterRCNNRPN:
    cfg: CfgNode = frcnn_alt.get_cfg()
    cfg.MODEL.PROPOSAL_GENERATOR.NAME = "FasterRCNNRPN"
    cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 16
    cfg.MODEL.ANCHOR_GENERATOR.NAME = "FasterRCNNAnchorGenerator"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32, 64]]
    cfg.MODEL.RPN.HEAD_NAME = "SoftmaxRPNHead"
    cfg.MODEL.RPN.IN_FEATURES = ["conv"]
    cfg.MODEL.RPN.BOUNDARY_THRESH = 0
    cfg.MODEL.RPN.SMOOTH_L1_BETA = 1.0
    cfg.MODEL.RPN.BBOX_REG_LOSS_WEIGHT = 10.0
    cfg.merge_from_list(list(overrides))
    torch.manual_seed(0)
    rpn = build_proposal_generator(cfg, {"conv": ShapeSpec(channels=CHANNELS, stride=16)})
    assert type(rpn) is FasterRCNNRPN
    return rpn


def ground_truth(boxes, image_size=(96, 128)) -> Instances:
    return Instances(image_size, gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)))


def grid(rpn, height=96, width=128):
    return rpn.anchor_generator([torch.zeros(1, 1, -(-height // 16), -(-width // 16))])


def random_predictions(num_images, num_anchors):
    torch.manual_seed(3)
    logits = torch.randn(num_images, num_anchors, requires_grad=True)
    deltas = torch.randn(num_images, num_anchors, 4, requires_grad=True)
    return logits, deltas


def run_losses(rpn, anchors, logits, labels, deltas, boxes):
    with EventStorage():
        return rpn.losses(anchors, [logits], labels, [deltas], boxes)


IMAGES = [ground_truth([[10, 12, 60, 70], [70, 30, 120, 90]]), ground_truth([[30, 30, 52, 76], [60, 20, 110, 70]])]


# --- sampling ---------------------------------------------------------------------------------------------------


def test_sample_of_256_with_at_most_128_positives():
    rpn = make_rpn()
    anchors = grid(rpn, 400, 400)
    many = ground_truth([[x, y, x + 46, y + 24] for x in range(1, 340, 16) for y in range(4, 360, 16)], (400, 400))
    few = ground_truth([[10, 12, 60, 70]], (400, 400))
    labels, boxes = rpn.label_and_sample_anchors(anchors, [many, few])
    assert [int((x == 1).sum()) for x in labels][0] == 128
    assert [int((x == 0).sum()) for x in labels][0] == 128
    assert 0 < int((labels[1] == 1).sum()) < 128
    assert int((labels[1] >= 0).sum()) == 256  # filled with negatives
    assert [tuple(b.shape) for b in boxes] == [(len(anchors[0]), 4)] * 2


def test_sample_is_a_random_part_of_the_labels():
    rpn = make_rpn("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 8)
    anchors = grid(rpn)
    full, _ = match_anchors(anchors[0], IMAGES[0].gt_boxes, (96, 128), rpn.anchor_matcher, 0)
    torch.manual_seed(5)
    samples = [rpn.label_and_sample_anchors(anchors, IMAGES[:1])[0][0] for _ in range(20)]
    for sample in samples:
        assert (sample[sample >= 0] == full[sample >= 0]).all()
        assert (sample >= 0).sum() == 8
    assert len({tuple(s.tolist()) for s in samples}) > 10


# --- loss -------------------------------------------------------------------------------------------------------


def numpy_deltas(anchor, box):
    wa, ha, w, h = anchor[2] - anchor[0], anchor[3] - anchor[1], box[2] - box[0], box[3] - box[1]
    dx = ((box[0] + box[2]) - (anchor[0] + anchor[2])) / 2 / wa
    dy = ((box[1] + box[3]) - (anchor[1] + anchor[3])) / 2 / ha
    return np.array([dx, dy, np.log(w / wa), np.log(h / ha)])


def numpy_losses(anchors, logits, labels, deltas, boxes, normalizer, cells, loc_weight, sigma, mean=0, std=1):
    cls, loc = [], []
    for n in range(len(labels)):
        sampled = [i for i in range(len(anchors)) if labels[n][i] != -1]
        per_anchor = []
        for i in sampled:
            probability = 1 / (1 + np.exp(-logits[n][i]))
            per_anchor.append(-np.log(probability if labels[n][i] == 1 else 1 - probability))
        cls.append(np.mean(per_anchor))
        total = 0.0
        for i in sampled:
            if labels[n][i] == 1:
                target = (numpy_deltas(anchors[i], boxes[n][i]) - mean) / std
                x = np.abs(deltas[n][i] - target)
                total += np.where(x < 1 / sigma**2, 0.5 * (sigma * x) ** 2, x - 0.5 / sigma**2).sum()
        loc.append(loc_weight * total / (cells if normalizer == "locations" else len(sampled)))
    return np.mean(cls), np.mean(loc)


@pytest.mark.parametrize(("normalizer", "loc_weight", "sigma"), [("locations", 10.0, 1), ("samples", 1.0, 3)])
@pytest.mark.parametrize("statistics", [None, ([[0.1, -0.05, 0.2, 0.0]], [[0.13, 0.12, 0.3, 0.4]])])
def test_loss_is_equation_1(normalizer, loc_weight, sigma, statistics):
    overrides = ["MODEL.RPN.BBOX_REG_NORMALIZER", normalizer, "MODEL.RPN.BBOX_REG_LOSS_WEIGHT", loc_weight]
    overrides += ["MODEL.RPN.SMOOTH_L1_BETA", 1 / sigma**2]
    rpn = make_rpn(*overrides, "MODEL.RPN.BBOX_REG_STATISTICS", "measured" if statistics else "none")
    mean, std = statistics or (0.0, 1.0)
    if statistics:
        rpn.set_box_statistics(torch.tensor(mean), torch.tensor(std))
    anchors = grid(rpn)
    torch.manual_seed(1)
    labels, boxes = rpn.label_and_sample_anchors(anchors, IMAGES)
    labels[1][(labels[1] == 0).nonzero()[:7]] = -1  # the images have different numbers of samples
    logits, deltas = random_predictions(2, len(anchors[0]))

    losses = run_losses(rpn, anchors, logits, labels, deltas, boxes)
    expected_cls, expected_loc = numpy_losses(
        anchors[0].tensor.numpy().astype(np.float64),
        logits.detach().double().numpy(),
        [x.numpy() for x in labels],
        deltas.detach().double().numpy(),
        [x.double().numpy() for x in boxes],
        normalizer,
        6 * 8,
        loc_weight,
        sigma,
        np.array(mean),
        np.array(std),
    )
    assert losses["loss_rpn_cls"].item() == pytest.approx(expected_cls, rel=1e-5)
    assert losses["loss_rpn_loc"].item() == pytest.approx(expected_loc, rel=1e-5)


@pytest.mark.parametrize(("size", "factor"), [((39, 64), 1.0256), ((38, 63), 1.0693)])
def test_the_papers_factor_against_256_samples(size, factor):
    """SPEC 4.4: lambda * 256 / (H'W') of a 600 x 1000 image for ZF and VGG-16."""
    locations = make_rpn()
    samples = make_rpn("MODEL.RPN.BBOX_REG_NORMALIZER", "samples", "MODEL.RPN.BBOX_REG_LOSS_WEIGHT", 1.0)
    anchors = locations.anchor_generator([torch.zeros(1, 1, *size)])
    labels, boxes = locations.label_and_sample_anchors(anchors, [ground_truth([[300, 200, 350, 260]], (600, 1000))])
    assert (labels[0] >= 0).sum() == 256
    logits, deltas = random_predictions(1, len(anchors[0]))
    paper = run_losses(locations, anchors, logits, labels, deltas, boxes)
    other = run_losses(samples, anchors, logits, labels, deltas, boxes)
    assert (paper["loss_rpn_loc"] / other["loss_rpn_loc"]).item() == pytest.approx(factor, abs=5e-5)
    assert paper["loss_rpn_cls"] == other["loss_rpn_cls"]


@pytest.mark.parametrize("normalizer", ["locations", "samples"])
def test_a_batch_is_the_average_of_its_images(normalizer):
    rpn = make_rpn("MODEL.RPN.BBOX_REG_NORMALIZER", normalizer)
    anchors = grid(rpn)
    labels, boxes = rpn.label_and_sample_anchors(anchors, IMAGES)
    labels[0][(labels[0] == 0).nonzero()[5:]] = -1
    logits, deltas = random_predictions(2, len(anchors[0]))
    both = run_losses(rpn, anchors, logits, labels, deltas, boxes)
    singly = [
        run_losses(rpn, anchors, logits[n : n + 1], labels[n : n + 1], deltas[n : n + 1], boxes[n : n + 1])
        for n in range(2)
    ]
    for name, loss in both.items():
        torch.testing.assert_close(loss, (singly[0][name] + singly[1][name]) / 2)


@pytest.mark.parametrize("box_reg_loss_type", ["smooth_l1", "giou"])
@pytest.mark.parametrize("gt", [[], [[2, 2, 9, 9]]])
def test_images_without_positives_or_without_any_anchor_train_on(gt, box_reg_loss_type):
    rpn = make_rpn("MODEL.RPN.BBOX_REG_LOSS_TYPE", box_reg_loss_type)
    for size in ((96, 128), (16, 20)):  # in the second no anchor fits
        anchors = grid(rpn, *size)
        labels, boxes = rpn.label_and_sample_anchors(anchors, [ground_truth(gt, size)])
        logits, deltas = random_predictions(1, len(anchors[0]))
        losses = run_losses(rpn, anchors, logits, labels, deltas, boxes)
        sum(losses.values()).backward()
        assert torch.isfinite(logits.grad).all() and torch.isfinite(deltas.grad).all()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert (losses["loss_rpn_cls"] > 0) == (size == (96, 128))
        if not gt or size != (96, 128):
            assert losses["loss_rpn_loc"] == 0


# --- target statistics ------------------------------------------------------------------------------------------


class Recorder:
    """Keeps what it is given, in place of BoxRegressionStatistics."""

    def __init__(self):
        self.calls = []

    def update(self, src_boxes, gt_boxes, classes):
        self.calls.append((src_boxes, gt_boxes, classes))


def test_statistics_see_all_positive_anchors_unsampled():
    rpn = make_rpn("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 2)
    recorder = Recorder()
    rpn.update_box_statistics(recorder, IMAGES)
    anchors = grid(rpn)[0]
    assert len(recorder.calls) == 2
    for (src, gt, classes), image in zip(recorder.calls, IMAGES):
        labels, matched = match_anchors(anchors, image.gt_boxes, (96, 128), rpn.anchor_matcher, 0)
        assert len(src) == (labels == 1).sum() > 1
        assert torch.equal(src, anchors.tensor[labels == 1])
        assert torch.equal(gt, matched[labels == 1])
        assert classes.dtype == torch.int64 and (classes == 0).all() and len(classes) == len(src)


@pytest.mark.parametrize("image_size", [(90, 121), (96, 128), (97, 113)])
def test_statistics_do_not_depend_on_cells_beyond_the_image(image_size):
    rpn, recorder = make_rpn(), Recorder()
    image = ground_truth([[10, 12, 60, 70], [70, 60, 113, 90]], image_size)
    rpn.update_box_statistics(recorder, [image])
    larger = [(-(-image_size[0] // 16) + 1, -(-image_size[1] // 16) + 1)]  # ZF's map, SPEC 1.3
    rpn.update_box_statistics(recorder, [image], larger)
    for one, other in zip(*recorder.calls):
        assert len(one) > 0 and torch.equal(one, other)


def test_measured_statistics_normalise_the_targets_and_their_mirror_images():
    rpn, recorder = make_rpn(), Recorder()
    statistics = rpn.new_box_statistics()
    rpn.update_box_statistics(statistics, IMAGES)
    rpn.update_box_statistics(recorder, IMAGES)
    rpn.set_box_statistics(*statistics.finish())
    deltas = torch.cat([rpn.box2box_transform.get_deltas(src, gt) for src, gt, _ in recorder.calls])
    raw = np.stack([numpy_deltas(s, g) for src, gt, _ in recorder.calls for s, g in zip(src.numpy(), gt.numpy())])
    raw = np.concatenate([raw, raw * [-1, 1, 1, 1]])
    expected = (raw[: len(deltas)] - raw.mean(axis=0)) / raw.std(axis=0)
    np.testing.assert_allclose(deltas.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert rpn.state_dict()["box2box_transform.mean"].shape == (1, 4)
    torch.testing.assert_close(
        rpn.state_dict()["box2box_transform.std"].double()[0], torch.from_numpy(raw.std(axis=0)), rtol=1e-4, atol=1e-5
    )


def test_proposals_are_decoded_with_the_statistics():
    rpn = make_rpn()
    rpn.set_box_statistics(torch.tensor([[0.1, -0.05, 0.2, 0.0]]), torch.tensor([[0.13, 0.12, 0.3, 0.4]]))
    rpn.eval()
    anchors = grid(rpn)
    target = torch.tensor([[20.0, 30.0, 70.0, 80.0]])
    raw = np.stack([numpy_deltas(a, target[0].numpy()) for a in anchors[0].tensor.numpy()])
    normalised = torch.from_numpy((raw - [0.1, -0.05, 0.2, 0.0]) / [0.13, 0.12, 0.3, 0.4]).float()[None]
    (result,) = rpn.predict_proposals(anchors, [torch.zeros(1, len(raw))], [normalised], [(96, 128)])
    torch.testing.assert_close(result.proposal_boxes.tensor, target, atol=1e-3, rtol=1e-4)  # all the same, one survives


def test_raw_targets_have_no_statistics():
    rpn = make_rpn("MODEL.RPN.BBOX_REG_STATISTICS", "none")
    assert not any("box2box" in name for name in rpn.state_dict())
    assert rpn.new_box_statistics() is None
    with pytest.raises(ValueError, match="BBOX_REG_STATISTICS"):
        rpn.set_box_statistics(torch.zeros(1, 4), torch.ones(1, 4))


# --- forward ----------------------------------------------------------------------------------------------------


def run_forward(rpn, gt=None):
    torch.manual_seed(4)
    images = ImageList(torch.zeros(2, 3, 96, 128), [(96, 128), (90, 100)])
    with EventStorage() as storage:
        proposals, losses = rpn(images, {"conv": torch.randn(2, CHANNELS, 6, 8)}, gt)
        return proposals, losses, storage


@pytest.mark.parametrize("decoded", [True, False])
def test_training_decodes_proposals_only_where_they_are_wanted(decoded):
    rpn = make_rpn("MODEL.RPN.PROPOSALS_IN_TRAINING", decoded)
    proposals, losses, storage = run_forward(rpn, [IMAGES[0], ground_truth([[30, 30, 50, 80]], (90, 100))])
    assert [p.image_size for p in proposals] == [(96, 128), (90, 100)]
    for p in proposals:
        assert (len(p) > 0) == decoded
        assert len(p.proposal_boxes) == len(p.objectness_logits)
        assert not p.objectness_logits.requires_grad
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in rpn.rpn_head.parameters())
    assert storage.latest()["rpn/num_pos_anchors"][0] > 0

    proposals, losses, _ = run_forward(rpn.eval())
    assert losses == {} and all(len(p) > 0 for p in proposals)


@pytest.mark.parametrize("training", [True, False])
def test_limits_come_from_the_stock_keys(training):
    gt = [IMAGES[0], ground_truth([[30, 30, 50, 80]], (90, 100))]

    def counts(*overrides):
        return [len(p) for p in run_forward(make_rpn(*overrides).train(training), gt)[0]]

    before = ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 5, "MODEL.RPN.PRE_NMS_TOPK_TEST", 7)
    after = ("MODEL.RPN.POST_NMS_TOPK_TRAIN", 3, "MODEL.RPN.POST_NMS_TOPK_TEST", 4)
    everything = ("MODEL.RPN.NMS_THRESH", 1.0)
    assert counts(*everything, *before) == [5 if training else 7] * 2
    assert counts(*everything, *after) == [3 if training else 4] * 2
    assert counts(*everything)[0] == 6 * 8 * 6  # all anchors of the first image
    boxes = run_forward(make_rpn("MODEL.RPN.NMS_THRESH", 0.0).train(training), gt)[0][0].proposal_boxes
    assert len(boxes) > 1
    assert torch.equal(pairwise_iou(boxes, boxes) > 0, torch.eye(len(boxes), dtype=torch.bool))


def test_proposals_keep_to_their_image_not_to_the_padding():
    proposals, _, _ = run_forward(make_rpn().eval())
    boxes = proposals[1].proposal_boxes.tensor
    assert boxes[:, 2].max() <= 100 and boxes[:, 3].max() <= 90
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 16


def test_nan_stops_training():
    rpn = make_rpn()
    with torch.no_grad():
        rpn.rpn_head.anchor_deltas.bias[0] = float("nan")
    with pytest.raises(FloatingPointError, match="image 0"):
        run_forward(rpn, IMAGES)
    assert all(len(p) > 0 for p in run_forward(rpn.eval())[0])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.RPN.BBOX_REG_NORMALIZER", "images", "BBOX_REG_NORMALIZER is 'images'"),
        ("MODEL.RPN.BBOX_REG_STATISTICS", "yes", "BBOX_REG_STATISTICS is 'yes'"),
        ("MODEL.RPN.PRE_NMS_TOPK_TEST", -1, "PRE_NMS_TOPK_TEST is -1"),
        ("MODEL.RPN.POST_NMS_TOPK_TRAIN", 0, "POST_NMS_TOPK_TRAIN is 0"),
    ],
)
def test_values_that_mean_nothing_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message):
        make_rpn(key, value)
