"""How the region proposal network's box targets are measured: one row of statistics over all positive anchors.

The MATLAB release normalises the RPN's targets so (SPEC 4.4); nothing is sampled and no network runs, because anchors
depend on sizes only.

Shape letters: L levels, Hi x Wi cells of level i, B = 4.
"""

from typing import List, Optional, Sequence, Tuple

import torch
from detectron2.structures import Boxes, Instances

from ..box_regression import BoxRegressionStatistics, NormalizedBox2BoxTransform
from .matching import POSITIVE

__all__ = ["MeasuresAnchorStatistics"]


def _mirror_image(instances: Instances) -> Instances:
    x1, y1, x2, y2 = instances.gt_boxes.tensor.unbind(dim=1)
    width = instances.image_size[1]
    return Instances(instances.image_size, gt_boxes=Boxes(torch.stack([width - x2, y1, width - x1, y2], dim=1)))


class MeasuresAnchorStatistics:
    """Part of an ``RPN`` with a ``_label_anchors`` method: measures and sets the statistics of its box targets."""

    def new_box_statistics(self) -> Optional[BoxRegressionStatistics]:
        """Return an empty accumulator for `update_box_statistics`; None if the network works on raw targets."""
        if not isinstance(self.box2box_transform, NormalizedBox2BoxTransform):
            return None
        return self.box2box_transform.new_statistics(add_mirror_images=False)  # they are labelled by themselves

    @torch.no_grad()
    def update_box_statistics(
        self,
        statistics: BoxRegressionStatistics,
        gt_instances: List[Instances],
        feature_sizes: Optional[Sequence[Tuple[int, int]]] = None,
    ) -> None:
        """Add all positive anchors of some images and of their mirror images, as class 0 (SPEC 4.4).

        A mirror image has positive anchors of its own: the grid of anchors begins at the left edge, so unless the width
        is a multiple of the stride its mirror image is another grid, and other anchors are the best ones.

        Args:
            statistics: of `new_box_statistics`, changed; its `finish()` gives what `set_box_statistics` wants.
            gt_instances: as in `label_and_sample_anchors`, each as large as the network will see it in training.
            feature_sizes: (Hi, Wi) of L levels, for all these images. By default each level has ceil(side / stride)
                cells, which covers the image; more cells (ZF's map has one more for most sizes) add no anchors that lie
                inside the image, hence no positive one.
        """
        device = self.rpn_head.anchor_deltas.weight.device
        for instances in [twin for one in gt_instances for twin in (one, _mirror_image(one))]:
            height, width = instances.image_size
            sizes = feature_sizes or [(-(-height // s), -(-width // s)) for s in self.anchor_generator.strides]
            # Anchor generators read nothing but the size of a feature map; without channels it takes no memory.
            anchors = Boxes.cat(self.anchor_generator([torch.empty((1, 0, *s), device=device) for s in sizes]))
            instances = instances.to(device)
            labels, matched_boxes = self._label_anchors(anchors, instances)
            positive = labels == POSITIVE
            classes = torch.zeros(int(positive.sum()), dtype=torch.int64, device=device)
            statistics.update(anchors.tensor[positive], matched_boxes[positive], classes)

    def set_box_statistics(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Normalise the targets by `mean` and `std`, both of shape (1, 4), from now on and in saved models.

        Raises:
            ValueError: the network works on raw targets (``MODEL.RPN.BBOX_REG_STATISTICS`` is "none").
        """
        if not isinstance(self.box2box_transform, NormalizedBox2BoxTransform):
            raise ValueError(
                "Box statistics were measured for a region proposal network without them; set "
                'MODEL.RPN.BBOX_REG_STATISTICS to "measured", or do not measure.'
            )
        self.box2box_transform.set_statistics(mean, std)
