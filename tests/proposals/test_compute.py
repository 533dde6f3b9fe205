"""compute_proposals with a network that finds the one bright rectangle of an image, so the right boxes are known."""

import logging
import os

from frcnn_alt import get_cfg
from frcnn_alt.proposals import ProposalSet, ProposalSetError, compute, compute_proposals

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from PIL import Image
from two_processes import on_two_processes


class BrightRectangleNetwork(torch.nn.Module):
    """Behaves as a ProposalNetwork: proposes the bright rectangle and, with a lower score first, the whole image."""

    def forward(self, inputs):
        assert not self.training and not torch.is_grad_enabled()
        assert len(inputs) == 1
        results = []
        for image in inputs:
            assert "instances" not in image
            height, width = image["image"].shape[1:]
            rows, columns = torch.where(image["image"][0] > 127)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            proposals = Instances((height, width))
            proposals.proposal_boxes = Boxes(torch.tensor([[0, 0, width, height], corners], dtype=torch.float32))
            proposals.objectness_logits = torch.tensor([-1.0, 3.0])
            results.append({"proposals": detector_postprocess(proposals, image["height"], image["width"])})
        return results


class Detector(BrightRectangleNetwork):
    def forward(self, inputs):
        return [{"instances": result["proposals"]} for result in super().forward(inputs)]


def make_dataset(folder, count):
    """Images of 60 x 40 and 40 x 60 pixels; test transforms scale them by 2. Odd ones have no annotations."""
    rng = np.random.default_rng(count)
    dicts = []
    for number in range(count):
        width, height = ((60, 40), (40, 60))[number % 2]
        x1, y1 = rng.integers(0, 20, size=2).tolist()
        x2, y2 = x1 + 15, y1 + 12
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[y1:y2, x1:x2] = 255
        file_name = os.path.join(folder, f"{number}.png")
        Image.fromarray(pixels).save(file_name)
        annotations = [{"bbox": [x1, y1, x2, y2], "bbox_mode": 0, "category_id": 0}] if number % 2 == 0 else []
        image = {"file_name": file_name, "image_id": f"{number:06d}", "height": height, "width": width}
        dicts.append({**image, "annotations": annotations, "rectangle": [x1, y1, x2, y2]})
    return dicts


def make_cfg():
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST = 80
    cfg.INPUT.MAX_SIZE_TEST = 1000
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def check_proposals(proposals, dicts):
    assert proposals.image_ids == [d["image_id"] for d in dicts]
    for image in dicts:
        boxes, scores = proposals[image["image_id"]]
        np.testing.assert_allclose(boxes[0], image["rectangle"], atol=0.51)  # half a pixel: the image was resized
        np.testing.assert_allclose(boxes[1], [0, 0, image["width"], image["height"]], atol=1e-4)
        assert scores.tolist() == [3.0, -1.0]


@pytest.mark.parametrize("workers", [0, 2])
def test_every_image_in_original_coordinates(tmp_path, workers):
    dicts = make_dataset(tmp_path, 4)
    cfg = make_cfg()
    cfg.DATALOADER.NUM_WORKERS = workers
    network = BrightRectangleNetwork().train()
    proposals = compute_proposals(cfg, network, "rectangles", tmp_path / "set", dicts)
    assert network.training
    assert proposals.dataset_name == "rectangles"
    check_proposals(proposals, dicts)


def test_registered_data_set(tmp_path):
    dicts = make_dataset(tmp_path, 2)
    DatasetCatalog.register("registered_rectangles", lambda: dicts)
    try:
        proposals = compute_proposals(make_cfg(), BrightRectangleNetwork(), "registered_rectangles", tmp_path / "set")
    finally:
        DatasetCatalog.remove("registered_rectangles")
    check_proposals(proposals, dicts)


def test_progress_and_last_line(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(compute, "SECONDS_BETWEEN_REPORTS", 0)
    with caplog.at_level(logging.INFO, logger=compute.__name__):
        compute_proposals(
            make_cfg(), BrightRectangleNetwork(), "rectangles", tmp_path / "set", make_dataset(tmp_path, 3)
        )
    lines = [r.getMessage() for r in caplog.records if r.name == compute.__name__]
    assert [line.split(",")[0] for line in lines[:3]] == [f"Proposals of rectangles: {n}/3 images" for n in (1, 2, 3)]
    assert lines[2].endswith("0:00:00 left")
    assert "3 images in" in lines[3] and "2.0 boxes an image" in lines[3]


def test_a_model_that_gives_no_proposals(tmp_path):
    with pytest.raises(ProposalSetError, match=r"Detector gives \['instances'\] instead of proposals"):
        compute_proposals(make_cfg(), Detector(), "rectangles", tmp_path / "set", make_dataset(tmp_path, 1))
    assert not (tmp_path / "set").exists()


def test_empty_data_set(tmp_path):
    with pytest.raises(ProposalSetError, match="nothing_here has no images"):
        compute_proposals(make_cfg(), BrightRectangleNetwork(), "nothing_here", tmp_path / "set", [])


def compute_together(folder, dicts):
    return len(compute_proposals(make_cfg(), BrightRectangleNetwork(), "rectangles", folder / "set", dicts))


@pytest.mark.parametrize("count", [5, 1])  # of a single image the second process has none
def test_two_processes_write_what_one_writes(tmp_path, count):
    dicts = make_dataset(tmp_path, count)
    alone = compute_proposals(make_cfg(), BrightRectangleNetwork(), "rectangles", tmp_path / "alone", dicts)
    (tmp_path / "set.process7.partial").mkdir()  # of eight processes that were cut
    assert on_two_processes(compute_together, tmp_path, dicts) == [count, count]  # both see the whole set
    together = ProposalSet(tmp_path / "set")
    assert together.sha256 == alone.sha256
    assert together.metadata == alone.metadata
    check_proposals(together, dicts)
    assert not list(tmp_path.glob("set.*"))  # no parts are left behind
