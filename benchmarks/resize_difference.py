"""How far detectron2's input is from the original programs', in grey levels (docs/FIDELITY.md, 2).

Original: the mean subtracted, then OpenCV's bilinear resizing of the float image, without antialiasing. detectron2:
Pillow's bilinear resizing of the 8-bit image, which antialiases when it shrinks, then the mean.

usage: python benchmarks/resize_difference.py FOLDER_OF_IMAGES ...
"""

import argparse
from pathlib import Path

import frcnn_alt  # noqa: F401  mends detectron2 for today's packages

import cv2
import numpy as np
from detectron2.data import detection_utils
from detectron2.data import transforms as T

MEAN = np.array([102.9801, 115.9465, 122.7717], np.float32)


def paper(image):
    return T.ResizeShortestEdge(600, 1000).get_transform(image)


def halved(image):  # what the paper's rule does to a photograph of 1200 x 2000 pixels
    return T.ResizeShortestEdge(min(image.shape[:2]) // 2, 10**6).get_transform(image)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="of .jpg images")
    for folder in parser.parse_args().folders:
        files = sorted(folder.glob("*.jpg"))[:40]
        if not files:
            parser.error(f"{folder} holds no .jpg images")
        for resizing in (paper, halved):
            differences, scales = [], []
            for file in files:
                image = detection_utils.read_image(str(file), "BGR")
                transform = resizing(image)
                ours = transform.apply_image(image).astype(np.float32) - MEAN
                size = (transform.new_w, transform.new_h)
                theirs = cv2.resize(image.astype(np.float32) - MEAN, size, interpolation=cv2.INTER_LINEAR)
                differences.append(np.abs(ours - theirs))
                scales.append(transform.new_h / image.shape[0])
            mean = np.mean([d.mean() for d in differences])
            more = np.mean([(d > 1.001).mean() for d in differences])
            largest = max(d.max() for d in differences)
            print(
                f"{folder}, {resizing.__name__}: {len(files)} images, scale {min(scales):.2f} to "
                f"{max(scales):.2f}, mean {mean:.2f}, largest {largest:.1f}, above one grey level {100 * more:.1f} %"
            )


if __name__ == "__main__":
    main()
