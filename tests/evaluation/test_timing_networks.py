"""The parts of real networks, stock ones and ours: told apart, adding up, and their results untouched."""

from pathlib import Path

from frcnn_alt import get_cfg
from frcnn_alt.data.sample_images import add_random_regions, write_noise_images
from frcnn_alt.engine.network import FAST_RCNN, RPN, UNSHARED, configure_network
from frcnn_alt.evaluation import PARTS, TimedSystem, measure_parts, time_parts

import pytest
import torch
from detectron2.data import DatasetMapper
from detectron2.modeling import build_model
from random_detector import detector_config
from stock_rcnns import STOCK, write_stock_yaml

STOCK_C4, STOCK_FPN = "faster_rcnn_R_50_C4", "faster_rcnn_R_50_FPN"
NETWORKS = [
    *((name, None) for name in STOCK),
    (STOCK_C4, UNSHARED),
    (STOCK_FPN, FAST_RCNN),
    (STOCK_FPN, RPN),
    *((preset, None) for preset in ("paper", "pyfrcnn")),
    *(("paper", network) for network in (UNSHARED, FAST_RCNN, RPN)),
]


def config(name, network, folder: Path):
    if name in STOCK:
        cfg = get_cfg()
        cfg.merge_from_file(str(write_stock_yaml(folder / "stock.yaml", name)))
    else:
        cfg = detector_config("zf_4step.yaml", name, width=0.06, fc_dim=16)
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0  # random weights prefer no class
    cfg.INPUT.MIN_SIZE_TEST, cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST = 84, 40
    if network is not None:
        configure_network(cfg, network)
    return cfg


def tensors(output):
    """Everything in what a network returns, in order."""
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        return [tensor for key in sorted(output) for tensor in tensors(output[key])]
    if isinstance(output, list):
        return [tensor for value in output for tensor in tensors(value)]
    fields = {name: getattr(value, "tensor", value) for name, value in output.get_fields().items()}
    assert fields
    return tensors(fields)


@pytest.mark.parametrize("name, network", NETWORKS)
def test_parts_of_a_network(name, network, tmp_path):
    cfg = config(name, network, tmp_path)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    (record,) = records = write_noise_images(str(tmp_path), 90, 120, 1)
    if network == FAST_RCNN:
        (record,) = records = add_random_regions(records, 60)
    mapper = DatasetMapper(cfg, is_train=False)
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    reads = iter(range(1000))  # every border is a second after the one before

    def run():
        return model([mapper(record)])

    with torch.no_grad():
        before = run()
        split = time_parts(model, run, clock=lambda: next(reads))
        after = run()
    assert len(tensors(before)) >= 2 and len(tensors(before)[0]) > 0
    for output in (split.output, after):
        assert all(map(torch.equal, tensors(before), tensors(output)))
        assert len(tensors(before)) == len(tensors(output))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())

    expected = dict.fromkeys(PARTS, 1)
    if network == UNSHARED:  # the RPN: before and after its own backbone
        expected.update(conv=2, proposals=2)
    expected["proposals"] = None if network == FAST_RCNN else expected["proposals"]
    expected["region_wise"] = None if network == RPN else 1
    between = {RPN: 2, FAST_RCNN: 2}.get(network, 3)  # the gaps between the parts, and after the last
    assert split.seconds == {**expected, "rest": between}
    assert sum(value or 0 for value in split.seconds.values()) == next(reads) - 1
    if network == FAST_RCNN:
        assert split.regions == 40
    elif network != RPN:
        assert 0 < split.regions <= cfg.MODEL.RPN.POST_NMS_TOPK_TEST
    else:
        assert split.regions is None


def test_all_sizes_of_a_pyramid_are_conv(tmp_path):
    cfg = config("paper", FAST_RCNN, tmp_path)
    cfg.MODEL.PYRAMID.SIZES_TEST = (42, 63, 84)
    model = build_model(cfg).eval()
    (record,) = add_random_regions(write_noise_images(str(tmp_path), 90, 120, 1), 60)
    mapper, forwards = DatasetMapper(cfg, is_train=False), []
    first = next(module for module in model.backbone.modules() if isinstance(module, torch.nn.Conv2d))
    first.register_forward_hook(lambda *_: forwards.append(1))
    with torch.no_grad():  # a clock that only the backbone drives
        split = time_parts(model, lambda: model([mapper(record)]), clock=lambda: len(forwards))
    assert split.seconds["conv"] == len(forwards) == 3 and split.seconds["rest"] == 0


def test_real_time_adds_up_to_the_whole(tmp_path):
    """Of one image once: then the medians are the values themselves."""
    cfg = config("paper", None, tmp_path)
    records = write_noise_images(str(tmp_path), 90, 120, 1)
    system = TimedSystem("ours", build_model(cfg), DatasetMapper(cfg, is_train=False), records)
    (times,) = measure_parts([system], repetitions=1, warm_up=1)
    parts = [times.milliseconds[part] for part in PARTS]
    assert all(part > 0 for part in parts)
    assert sum(parts) == pytest.approx(times.milliseconds["total"], abs=1e-6)
    # Another run of the same, on a machine that may be busy: of the same order.
    assert 0.05 < times.milliseconds["whole"] / times.milliseconds["total"] < 20
