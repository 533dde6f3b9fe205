"""Writing small proposal sets, for the tests of several rooms."""

from frcnn_alt.proposals import ProposalSet, ProposalSetWriter

import numpy as np


def random_proposals(rng, count):
    corners = rng.uniform(0, 500, size=(count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    return boxes, rng.normal(size=count).astype(np.float32)


def write(path, images, name="toys"):
    """Write a set from image id -> (boxes, scores) and open it."""
    with ProposalSetWriter(path, name) as writer:
        for image_id, (boxes, scores) in images.items():
            writer.add(image_id, boxes, scores)
    return ProposalSet(path)


_RNG = np.random.default_rng(0)
# image id -> (boxes, scores); ids that are not in order, and an image without proposals
IMAGES = {image_id: random_proposals(_RNG, count) for image_id, count in [("b", 5), ("a", 0), ("000007", 300)]}
