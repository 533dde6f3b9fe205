"""Proposals drawn at random, without looking at any score: the paper's "no cls" (Table 2; SPEC 8.1).

Where nothing is ranked there is no better box to suppress a worse one, hence no NMS, and no best ones before it. What
of the way does not need a score stays: boxes are clipped to the image and small ones dropped, which both original
programs do before they rank. The paper does not say so (SPEC 12).

Shape letters: N images, L levels, A anchors per cell, Hi x Wi cells of level i, R = sum of Hi * Wi * A anchors of an
image.
"""

import hashlib
from typing import List, Tuple

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from .image_facts import ImageFacts
from .selection import clip_and_filter

__all__ = ["draw_lots", "draw_proposals"]


def draw_lots(num_boxes: int, seed: int, image_name: str) -> np.ndarray:
    """Return a random permutation of 0 ... `num_boxes` - 1, int64: the lot of each box; the lowest ones win.

    A function of the arguments alone: of no process, order of images or version of numpy.
    """
    digest = hashlib.sha256(f"{seed} {image_name}".encode()).digest()
    # RandomState is the generator whose numbers numpy keeps the same for good.
    return np.random.RandomState(np.frombuffer(digest, dtype="<u4")).permutation(num_boxes).astype(np.int64)


def draw_proposals(
    boxes: List[torch.Tensor],
    image_sizes: List[Tuple[int, int]],
    images: List[ImageFacts],
    *,
    min_box_size: float,
    number: int,
    seed: int,
) -> List[Instances]:
    """Draw the proposals of N images: `number` of each image's boxes, all levels together, all equally likely.

    Every anchor has its lot, and lots of boxes that are dropped are passed over. So on the same image two networks with
    the same anchors, or one with and without its regression, draw the boxes of the same anchors as far as they have
    them. An image that a batch of larger ones pads has more anchors than alone, and hence another draw.

    Args:
        boxes: L tensors of shape (N, Hi*Wi*A, 4), decoded boxes, continuous XYXY pixels of the network's input.
        image_sizes: (height, width) of each network input without padding.
        images: of each image its scale, for `min_box_size`, and its name, which decides on its draw.
        min_box_size: as in `select_proposals`.
        number: of proposals, or all that an image has if these are fewer.
        seed: which draw, 0 or more.

    Returns:
        N ``Instances`` with ``proposal_boxes`` and ``objectness_logits``, in the order of the draw. The latter are 0,
        -1, -2, ..., no scores but the order: the first n of a draw are a draw of n, whoever sorts them.
    """
    results = []
    for n, (image_size, image) in enumerate(zip(image_sizes, images)):
        all_boxes = torch.cat([boxes_i[n] for boxes_i in boxes])
        kept_boxes, places = clip_and_filter(all_boxes, image_size, image.scale, min_box_size)
        lots = torch.from_numpy(draw_lots(len(all_boxes), seed, image.name)).to(places.device)
        drawn = lots[places].argsort()[:number]
        proposals = Instances(image_size)
        proposals.proposal_boxes = Boxes(kept_boxes[drawn])
        proposals.objectness_logits = torch.arange(0, -len(drawn), -1, dtype=all_boxes.dtype, device=all_boxes.device)
        results.append(proposals)
    return results
