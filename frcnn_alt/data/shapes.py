"""The demo's detection set: textured shapes on textured grounds, in VOC layout, made from a seed.

Colours and textures say nothing about the class, so only the outline does; shapes are turned and stretched a
little, between 1/6 and 2/3 of the image's shorter side, and may cover each other (the box is of the whole
shape, at least 60% of which stays visible). Bars and long ellipses are clutter without a label.

``python -m frcnn_alt.data.shapes --output datasets/shapes`` makes the set that ``configs/demo`` trains on.
"""

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple, Union
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from .outlines import CLASS_OUTLINES, Outline, bar, ellipse, fill, outline_box, place
from .textures import random_colour, random_texture, tint

__all__ = ["CLASSES", "make_shapes", "render_scene"]

CLASSES: Tuple[str, ...] = tuple(sorted(CLASS_OUTLINES))
SIZE_RANGE = (1 / 6, 2 / 3)  # square root of the box area, as a share of the image's shorter side
MAX_OBJECTS = 5
MAX_TURN = np.pi / 6  # radians, either way

_VERSION = 1  # of the pictures; part of shapes.json, so raise it when the same seed gives other bytes
_PARAMETERS_FILE = "shapes.json"
_MAX_IOU = 0.25  # below the detector's NMS threshold of 0.3, so that no true box is lost to NMS
_MIN_VISIBLE = 0.6
_MIN_CONTRAST = 90.0  # RGB distance between a shape's mean colour and what it covers


class LabelledBox(NamedTuple):
    """A shape in an image: continuous pixel corners on whole pixels, x2 and y2 beyond the last pixel covered."""

    name: str
    x1: int
    y1: int
    x2: int
    y2: int


def _random_outline(rng: np.random.Generator, outline: Outline, size: float, width: int, height: int) -> Outline:
    """Turn, stretch and scale an outline to `size` (square root of its box's area) and put it inside the image."""
    unit = place(outline, angle=rng.uniform(-MAX_TURN, MAX_TURN), stretch=rng.uniform(0.8, 1.25))
    x1, y1, x2, y2 = outline_box(unit)
    size = min(size, (width - 2) / (x2 - x1), (height - 2) / (y2 - y1))
    offset = rng.uniform(1, (width - 1 - size * (x2 - x1), height - 1 - size * (y2 - y1)))
    return [ring * size + offset for ring in unit]


def _textured(rng: np.random.Generator, height: int, width: int, colour: np.ndarray, contrast: float) -> np.ndarray:
    """A (height, width, 3) random texture that swings by up to `contrast` about a colour, each channel on its own."""
    swing = rng.uniform(-contrast, contrast, 3)
    return np.clip(tint(random_texture(rng, height, width), colour - swing, colour + swing), 0, 255)


def _paint(rng: np.random.Generator, image: np.ndarray, cover: np.ndarray, contrast: float) -> None:
    """Fill `cover` (H, W) of `image` (H, W, 3) with a random texture in a colour that stands out from what is there."""
    beneath = (image * cover[..., None]).sum(axis=(0, 1)) / cover.sum()
    colour = random_colour(rng)
    while np.linalg.norm(colour - beneath) < _MIN_CONTRAST:
        colour = random_colour(rng)
    image += cover[..., None] * (_textured(rng, *cover.shape, colour, contrast) - image)


def _paint_clutter(rng: np.random.Generator, image: np.ndarray, count: int) -> None:
    height, width = image.shape[:2]
    for _ in range(count):
        outline = bar() if rng.random() < 0.5 else ellipse()
        size = min(height, width) * rng.uniform(0.08, 0.35)
        cover = fill(_random_outline(rng, outline, size, width, height), height, width)
        if cover.sum() >= 1:
            _paint(rng, image, cover, contrast=20)


def _iou(a: LabelledBox, b: LabelledBox) -> float:
    overlap_width = min(a.x2, b.x2) - max(a.x1, b.x1)
    overlap_height = min(a.y2, b.y2) - max(a.y1, b.y1)
    overlap = max(overlap_width, 0) * max(overlap_height, 0)
    return overlap / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - overlap)


def _draw_object(rng: np.random.Generator, width: int, height: int) -> Tuple[LabelledBox, np.ndarray]:
    name = CLASSES[int(rng.integers(len(CLASSES)))]
    size = min(width, height) * np.exp(rng.uniform(*np.log(SIZE_RANGE)))
    outline = _random_outline(rng, CLASS_OUTLINES[name](), size, width, height)
    x1, y1, x2, y2 = outline_box(outline)
    box = LabelledBox(name, int(np.floor(x1)), int(np.floor(y1)), int(np.ceil(x2)), int(np.ceil(y2)))
    return box, fill(outline, height, width)


def render_scene(rng: np.random.Generator, width: int, height: int) -> Tuple[np.ndarray, List[LabelledBox]]:
    """Draw one image.

    Returns:
        the image, (height, width, 3) uint8 RGB, and its 1 to 5 labelled boxes from the hindmost to the foremost.
    """
    image = _textured(rng, height, width, random_colour(rng), contrast=50)
    _paint_clutter(rng, image, count=int(rng.integers(0, 4)))

    boxes: List[LabelledBox] = []
    covers: List[np.ndarray] = []
    visible: List[np.ndarray] = []
    wanted = int(rng.integers(1, MAX_OBJECTS + 1))
    for _ in range(8 * wanted):  # a crowded image may end with fewer than wanted
        if len(boxes) == wanted:
            break
        box, cover = _draw_object(rng, width, height)
        left = [seen * (1 - cover) for seen in visible]
        hides_too_much = any(seen.sum() < _MIN_VISIBLE * whole.sum() for seen, whole in zip(left, covers))
        if hides_too_much or any(_iou(box, other) > _MAX_IOU for other in boxes):
            continue
        _paint(rng, image, cover, contrast=rng.uniform(0, 40))
        boxes.append(box)
        covers.append(cover)
        visible = left + [cover]

    image += rng.normal(0, rng.uniform(0, 6), image.shape)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), boxes


def _annotation(file_name: str, width: int, height: int, boxes: Sequence[LabelledBox]) -> ElementTree.ElementTree:
    """The VOC description of an image; its corners are 1-based and inclusive."""
    root = ElementTree.Element("annotation")

    def add(parent: ElementTree.Element, **children: object) -> None:
        for tag, text in children.items():
            ElementTree.SubElement(parent, tag).text = str(text)

    add(root, folder="shapes", filename=file_name)
    add(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    add(root, segmented=0)
    for box in boxes:
        node = ElementTree.SubElement(root, "object")
        add(node, name=box.name, pose="Unspecified", truncated=0, difficult=0)
        corners = ElementTree.SubElement(node, "bndbox")
        add(corners, xmin=box.x1 + 1, ymin=box.y1 + 1, xmax=box.x2, ymax=box.y2)
    if hasattr(ElementTree, "indent"):  # Python 3.9
        ElementTree.indent(root)
    return ElementTree.ElementTree(root)


def _write_all(root: Path, seed: int, splits: Dict[str, int], size: Tuple[int, int]) -> None:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "CLASSES.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    width, height = size
    for split_index, (split, count) in enumerate(splits.items()):
        names = [f"{split}_{number:05d}" for number in range(count)]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for number, name in enumerate(names):
            # a generator for each image: its pixels do not depend on how many others are made
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split_index, number)))
            image, boxes = render_scene(rng, width, height)
            Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=90, subsampling=0)
            _annotation(f"{name}.jpg", width, height, boxes).write(root / "Annotations" / f"{name}.xml")


def _is_made(root: Path, parameters: Dict[str, object]) -> bool:
    """Whether `root` holds the finished set of these parameters; raises FileExistsError when it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    description = root / _PARAMETERS_FILE
    if not description.is_file():
        raise FileExistsError(f"{root} exists and is no shapes data set; choose another folder or remove it")
    found = json.loads(description.read_text())
    if found != parameters:
        raise FileExistsError(
            f"{root} holds shapes made with {found}, not with {parameters}; choose another folder or remove it"
        )
    return True


def make_shapes(
    root: Union[str, Path],
    *,
    seed: int = 0,
    num_trainval: int = 400,
    num_test: int = 100,
    size: Tuple[int, int] = (224, 168),
) -> None:
    """Make the data set in `root`: JPEGImages, Annotations, ImageSets/Main/{trainval,test}.txt, CLASSES.txt.

    The same arguments give the same bytes. A folder finished with the same arguments is left as it is; a run that is
    cut leaves nothing at `root`.

    Args:
        root: folder to make.
        seed: 0 or more.
        num_trainval, num_test: images of the two splits, each at least 1.
        size: (width, height) of the images in pixels, each at least 32.

    Raises:
        ValueError: an argument outside the ranges above.
        FileExistsError: `root` holds something else, or shapes of other parameters.
    """
    if seed < 0 or num_trainval < 1 or num_test < 1 or min(size) < 32:
        raise ValueError(
            "shapes need seed >= 0, num_trainval >= 1, num_test >= 1 and a size of at least 32x32, got "
            f"seed={seed}, num_trainval={num_trainval}, num_test={num_test}, size={tuple(size)}"
        )
    root = Path(root)
    parameters = {
        "version": _VERSION,
        "seed": seed,
        "num_trainval": num_trainval,
        "num_test": num_test,
        "size": list(size),
    }
    if _is_made(root, parameters):
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    beside = root.with_name(f".{root.name}.{os.getpid()}")
    try:
        beside.mkdir()
        _write_all(beside, seed, {"trainval": num_trainval, "test": num_test}, size)
        (beside / _PARAMETERS_FILE).write_text(json.dumps(parameters) + "\n")
        os.replace(beside, root)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo's detection set of textured shapes, in VOC layout.")
    parser.add_argument("--output", default="datasets/shapes", help="folder to make (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-trainval", type=int, default=400)
    parser.add_argument("--num-test", type=int, default=100)
    parser.add_argument("--size", type=int, nargs=2, default=(224, 168), metavar=("WIDTH", "HEIGHT"))
    args = parser.parse_args()
    numbers = {"seed": args.seed, "num_trainval": args.num_trainval, "num_test": args.num_test}
    try:
        make_shapes(args.output, size=tuple(args.size), **numbers)
    except (ValueError, FileExistsError) as error:
        parser.error(str(error))
    print(f"{args.num_trainval} + {args.num_test} images of {', '.join(CLASSES)} in {args.output}")


if __name__ == "__main__":
    _main()
