"""compute_proposals over flipped images, with a network whose answer tells which way round it saw the image."""

from frcnn_alt import get_cfg
from frcnn_alt.proposals import compute_proposals

import numpy as np
import pytest
import torch
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from oracles.flipping import flip_box, flip_pixels
from PIL import Image

WIDTH, HEIGHT = 30, 20
SCALE = 2  # from the file to the network
INCLUSIVE_TO_CONTINUOUS = [0, 0, 1, 1]


class LeftLeaningNetwork(torch.nn.Module):
    """Behaves as a ProposalNetwork: proposes the bright part of what it sees, begun `lean` pixels too far to the left.

    The score is the column where that begins, so that it says what was seen. A dark image has no proposals.
    """

    lean = 4

    def forward(self, inputs):
        (image,) = inputs
        height, width = image["image"].shape[1:]
        proposals = Instances((height, width))
        rows, columns = torch.where(image["image"][0] > 127)
        found = [[columns.min() - self.lean, rows.min(), columns.max() + 1, rows.max() + 1]] if len(rows) else []
        proposals.proposal_boxes = Boxes(torch.tensor(found, dtype=torch.float32).reshape(-1, 4))
        proposals.objectness_logits = torch.tensor([float(columns.min())] if found else [])
        return [{"proposals": detector_postprocess(proposals, image["height"], image["width"])}]


def write_images(folder, bright_boxes):
    """One image for each box of inclusive pixels; None is a dark one. Squares of SCALE pixels survive the resizing."""
    dicts = []
    for number, box in enumerate(bright_boxes):
        pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        if box:
            pixels[box[1] : box[3] + 1, box[0] : box[2] + 1] = 255
        name = str(folder / f"{number}.png")
        Image.fromarray(pixels).save(name)
        record = {"file_name": name, "image_id": number, "height": HEIGHT, "width": WIDTH, "annotations": []}
        dicts.append({**record, "pixels": pixels[:, :, 0].tolist()})
    return dicts


def config(workers=0):
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = HEIGHT * SCALE, 1000
    cfg.DATALOADER.NUM_WORKERS = workers
    return cfg


def expected(pixels, flipped):
    """What the network finds in the image or its mirror image, by hand; in inclusive pixels of the image as stored."""
    seen = flip_pixels(pixels) if flipped else pixels
    bright = [(x, y) for y, row in enumerate(seen) for x, value in enumerate(row) if value > 127]
    if not bright:
        return [], []
    left, top = min(x for x, _ in bright), min(y for _, y in bright)
    right, bottom = max(x for x, _ in bright), max(y for _, y in bright)
    box = [max(left - LeftLeaningNetwork.lean / SCALE, 0), top, right, bottom]
    return [flip_box(box, WIDTH) if flipped else box], [left * SCALE]


BRIGHT = [
    (10, 5, 14, 9),
    (0, 0, 3, 3),  # flush with the left edge: clipped where the network leans over it, on the flipped image it is not
    (20, 12, 29, 19),  # flush with the right and bottom edges
    (7, 7, 7, 7),
    (0, 0, 29, 19),
    None,
]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("flipped", [True, False])
def test_the_network_sees_flipped_images_and_boxes_are_those_of_the_stored_image(tmp_path, flipped, workers):
    dicts = write_images(tmp_path, BRIGHT)
    cfg = config(workers)
    proposals = compute_proposals(cfg, LeftLeaningNetwork(), "toys", tmp_path / "set", dicts, flipped=flipped)
    assert proposals.image_ids == [str(d["image_id"]) for d in dicts]
    assert proposals.metadata["flipped_images"] is flipped
    for record in dicts:
        boxes, scores = proposals[record["image_id"]]
        wanted_boxes, wanted_scores = expected(record["pixels"], flipped)
        # Bilinear enlarging blurs an edge by less than half a pixel of the file.
        wanted_boxes = np.array(wanted_boxes).reshape(-1, 4) + INCLUSIVE_TO_CONTINUOUS
        np.testing.assert_allclose(boxes, wanted_boxes, atol=0.51)
        np.testing.assert_allclose(scores, wanted_scores, atol=1.01)


def test_by_default_images_are_not_flipped(tmp_path):
    dicts = write_images(tmp_path, BRIGHT[:3])
    sets = [
        compute_proposals(config(), LeftLeaningNetwork(), "toys", tmp_path / name, dicts, **flags)
        for name, flags in [("a", {}), ("b", {"flipped": False}), ("c", {"flipped": True})]
    ]
    assert sets[0].sha256 == sets[1].sha256 != sets[2].sha256


def test_the_network_sees_the_mirror_image_pixel_by_pixel(tmp_path):
    """Also where resizing blurs edges (20 -> 27): what the detector is trained on, resized and then flipped."""
    seen = []

    class Looks(LeftLeaningNetwork):
        def forward(self, inputs):
            seen.append(inputs[0]["image"])
            return super().forward(inputs)

    dicts = write_images(tmp_path, BRIGHT[:1])
    cfg = config()
    cfg.INPUT.MIN_SIZE_TEST = 27
    for flipped in (False, True):
        compute_proposals(cfg, Looks(), "toys", tmp_path / str(flipped), dicts, flipped=flipped)
    plain, mirrored = (image[0].tolist() for image in seen)
    assert mirrored == flip_pixels(plain) != plain


def test_the_log_says_which_set_it_is(tmp_path, caplog):
    with caplog.at_level("INFO"):
        compute_proposals(
            config(), LeftLeaningNetwork(), "toys", tmp_path / "set", write_images(tmp_path, BRIGHT), flipped=True
        )
    assert any("Proposals of toys, flipped: 6 images" in record.getMessage() for record in caplog.records)
