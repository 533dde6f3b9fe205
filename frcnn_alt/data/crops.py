"""Crops of a detection set as an image classification set: its objects and, as one more class, its background.

What makes good starting weights for a detector decides how crops are cut:

* windows keep the surroundings that a proposal has: 1 to 1.41 times the object's sides, so that their IoU is 0.5 or
  more for objects of ordinary proportions, as a detector's foreground; background windows have IoU below 0.3;
* elongated objects get a window at most 1.5 times as long as wide, because a square image of it should not distort the
  edges that the convolutions see much more than detection does;
* background windows have the sizes of object windows, or blur would tell the two apart;
* classes are drawn equally often, whatever their frequency;
* a batch is shown at a random size, because in detection the convolutions meet objects of all sizes at the scale of
  the image, not all of them enlarged to one size.

Shapes: S is the side of a crop in pixels; K the number of object classes, whose index K is background.
"""

from typing import Any, Dict, List, Tuple

import numpy as np
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import BoxMode
from PIL import Image

from .problems import DatasetError
from .unreadable import read_or_refuse

__all__ = ["MAX_CONTEXT", "CropSource"]

MAX_CONTEXT = 2**0.5
MAX_ELONGATION = 1.5
MAX_BACKGROUND_IOU = 0.3
_TRIES = 200


def _ious(window: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """IoU of one window (4,) with boxes (R, 4), all continuous XYXY."""
    sides = np.minimum(window[2:], boxes[:, 2:]) - np.maximum(window[:2], boxes[:, :2])
    overlap = np.clip(sides, 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return overlap / ((window[2:] - window[:2]).prod() + areas - overlap)


class CropSource:
    """Images with boxes at the size at which detection trains, and windows cut from them.

    Args:
        dicts: detectron2 data set dictionaries. Objects with ``iscrowd`` (VOC's difficult ones are marked so) are no
            foreground, and keep background away from them like all others.
        num_classes: K.
        shortest_edge, max_size: detection's image size (INPUT.MIN_SIZE_TRAIN, MAX_SIZE_TRAIN), in pixels.
        image_format: channel order, "BGR" or "RGB".
        pixel_mean: fills what lies outside of an image; in the channel order above.
        cache_bytes: resized images are kept while they fit; beyond that they are decoded at each use.

    Raises:
        DatasetError: no object can be cropped.
    """

    def __init__(
        self,
        dicts: List[Dict[str, Any]],
        num_classes: int,
        *,
        shortest_edge: int,
        max_size: int,
        image_format: str,
        pixel_mean: List[float],
        cache_bytes: int = 1 << 30,
    ):
        self.dicts = dicts
        self.num_classes = num_classes
        self.image_format = image_format
        self.fill = tuple(int(round(value)) for value in pixel_mean)
        self.cache_bytes = cache_bytes
        self._resize = ResizeShortestEdge([shortest_edge], max_size, "choice")
        self._cache: Dict[int, np.ndarray] = {}
        self._cached_bytes = 0
        # object number -> (image number, class, box in original pixels); self.of_class: class -> object numbers
        self.objects: List[Tuple[int, int, np.ndarray]] = []
        self.boxes: List[np.ndarray] = []
        for number, record in enumerate(dicts):
            boxes = []
            for annotation in record["annotations"]:
                box = np.array(BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS), float)
                boxes.append(box)
                if not annotation.get("iscrowd", 0) and (box[2:] - box[:2] >= 1).all():
                    self.objects.append((number, annotation["category_id"], box))
            self.boxes.append(np.array(boxes).reshape(-1, 4))
        if not self.objects:
            raise DatasetError(f"None of {len(dicts)} images has an object that is not marked difficult: no crops")
        self.of_class = [[o for o, (_, label, _) in enumerate(self.objects) if label == k] for k in range(num_classes)]
        self.present = [k for k in range(num_classes) if self.of_class[k]]

    def image(self, number: int) -> np.ndarray:
        """The image at detection's size, (H, W, 3) uint8 in `image_format`."""
        if number not in self._cache:
            image = read_or_refuse(self.dicts[number], self.image_format)
            image = np.ascontiguousarray(self._resize.get_transform(image).apply_image(image))
            if self._cached_bytes + image.nbytes > self.cache_bytes:
                return image
            self._cached_bytes += image.nbytes
            self._cache[number] = image
        return self._cache[number]

    def fill_cache(self) -> None:
        """Decode images until the cache is full, e.g. before worker processes are forked, which then share them."""
        for number in range(len(self.dicts)):
            self.image(number)
            if number not in self._cache:
                break

    def cut(self, number: int, window: np.ndarray, side: int) -> np.ndarray:
        """Cut a window out of an image and scale it to a square; what lies outside is filled with the mean.

        Args:
            number: of the image.
            window: (4,) continuous XYXY in original pixels.
            side: S, in pixels.

        Returns:
            (S, S, 3) uint8.
        """
        image = self.image(number)
        record = self.dicts[number]
        scale = np.array([image.shape[1] / record["width"], image.shape[0] / record["height"]] * 2)
        x1, y1, x2, y2 = window * scale
        left, top, right, bottom = int(np.floor(x1)), int(np.floor(y1)), int(np.ceil(x2)), int(np.ceil(y2))
        canvas = Image.new("RGB", (right - left, bottom - top), self.fill)
        inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        canvas.paste(Image.fromarray(inside), (max(-left, 0), max(-top, 0)))
        within = (x1 - left, y1 - top, x2 - left, y2 - top)
        return np.asarray(canvas.resize((side, side), Image.BILINEAR, box=within))

    def object_window(self, box: np.ndarray, context: float, shift: np.ndarray) -> np.ndarray:
        """The window of `context` times a box's sides, its centre off the box's by `shift` (2,) box sides."""
        sides = box[2:] - box[:2]
        half = np.maximum(sides, sides.max() / MAX_ELONGATION) * context / 2
        centre = (box[:2] + box[2:]) / 2 + shift * sides
        return np.concatenate([centre - half, centre + half])

    def random_object(self, rng: np.random.Generator) -> Tuple[int, np.ndarray, int]:
        """Draw an object of a random class with random context: (image number, window, class)."""
        label = self.present[rng.integers(len(self.present))]
        number, _, box = self.objects[self.of_class[label][rng.integers(len(self.of_class[label]))]]
        context = MAX_CONTEXT ** rng.random()
        # the object stays inside of the window
        return number, self.object_window(box, context, (context - 1) / 2 * rng.uniform(-1, 1, 2)), label

    def random_background(self, rng: np.random.Generator) -> Tuple[int, np.ndarray, int]:
        """Draw a window of an object's size with IoU below 0.3 with every box: (image number, window, K).

        Raises:
            DatasetError: none was found; the images are filled with objects.
        """
        shrink = 1.0
        for _ in range(_TRIES):
            number = int(rng.integers(len(self.dicts)))
            other, window, _ = self.random_object(rng)
            size = np.array([self.dicts[number][key] for key in ("width", "height")])
            original = np.array([self.dicts[other][key] for key in ("width", "height")])
            sides = np.minimum((window[2:] - window[:2]) * (size / original).min() * shrink, size)
            corner = rng.uniform(0, 1, 2) * (size - sides)
            window = np.concatenate([corner, corner + sides])
            if (_ious(window, self.boxes[number]) < MAX_BACKGROUND_IOU).all():
                return number, window, self.num_classes
            shrink = max(shrink * 0.98, 0.1)  # small windows overlap large objects less
        raise DatasetError(
            "No background was found beside the objects of the training images: set PRETRAIN.BACKGROUND_FRACTION to 0"
        )
