"""Writing the files of a VOC-layout folder, for fixtures and tests."""

from pathlib import Path
from typing import Iterable, Sequence, Tuple

import numpy as np
from PIL import Image

OBJECT = """<object><name>{name}</name>{difficult}
<bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"""
ANNOTATION = """<annotation>
<size><width>{width}</width><height>{height}</height><depth>3</depth></size>
{objects}
</annotation>
"""


def voc_annotation(objects: Iterable[Sequence], size: Tuple[int, int]) -> str:
    """Return the XML of one image; each object is (name, xmin, ymin, xmax, ymax) and perhaps difficult."""
    parts = []
    for name, xmin, ymin, xmax, ymax, *difficult in objects:
        flag = f"<difficult>{difficult[0]}</difficult>" if difficult else ""
        parts.append(OBJECT.format(name=name, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, difficult=flag))
    return ANNOTATION.format(width=size[0], height=size[1], objects="\n".join(parts))


def write_image(path: Path, size: Tuple[int, int], seed: int = 0) -> None:
    """Write an image of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
