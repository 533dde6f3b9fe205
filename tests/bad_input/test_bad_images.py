"""Image files: what cannot be read is told before training; what is legal but odd goes through all four steps."""

import os
import struct
import zlib

from frcnn_alt.data.images import image_size

import numpy as np
import pytest
from detectron2.data.detection_utils import read_image
from PIL import Image
from refusals import ONE_STEP, train_net
from voc_files import voc_annotation, write_image


def _pixels(size=(112, 84), seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def _huge_png(path, side):
    """A PNG of zeros whose header says side x side, of which not one row is there: its header is what is refused."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000)))]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in [*parts, (b"IEND", b"")]:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _truncated(path):
    _pixels().save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1000])


def _with_orientation(path, orientation, size=(112, 84), image_format="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = orientation
    _pixels(size).save(path, image_format, exif=exif)


def _with_another_checksum(path):
    _pixels().save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[20] ^= 255  # of the header
    path.write_bytes(content)


UNREADABLE = {
    "truncated": (_truncated, "cut off, or damaged"),
    "zero bytes": (lambda path: path.write_bytes(b""), "it is empty, 0 bytes"),
    "text": (lambda path: path.write_text("no image"), "it is no image"),
    "half a header": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00"), "unreadable image"),
    "a header that was changed": (_with_another_checksum, "unreadable image"),
    "a directory": (lambda path: path.mkdir(), "it is a folder"),
    "a symbolic link in a circle": (lambda path: path.symlink_to(path), "leads nowhere, or in a circle"),
    "a symbolic link to nothing": (lambda path: path.symlink_to("nowhere.jpg"), "leads nowhere, or in a circle"),
    "a pipe": (lambda path: os.mkfifo(path), "it is no regular file"),
    "20000 x 20000": (lambda path: _huge_png(path, 20000), "too large for Pillow"),
    "16 bits": (
        lambda path: Image.fromarray(np.full((84, 112), 40000, np.uint16)).save(path, "PNG"),
        "more than 8 bits a channel",
    ),
    "floating point": (
        lambda path: Image.fromarray(np.full((84, 112), 0.5, np.float32)).save(path, "TIFF"),
        "convert it to 8 bits",
    ),
    "rotated by EXIF, with boxes that are not": (lambda path: _with_orientation(path, 6), "its EXIF orientation says"),
    "a TIFF with an orientation": (lambda path: _with_orientation(path, 3, image_format="TIFF"), "save it turned"),
    "another size": (lambda path: write_image(path, (84, 112)), "the image is 84x112"),
    "too elongated": (lambda path: write_image(path, (3000, 1)), "image too elongated"),
}


@pytest.fixture
def one(tmp_path):
    """Makes a VOC-layout folder of one image by a function that is given its path."""

    def make(write, size=(112, 84), extension="jpg"):
        for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (tmp_path / "spoilt" / folder).mkdir(parents=True)
        write(tmp_path / "spoilt" / "JPEGImages" / f"a.{extension}")
        objects = [("disc", 1, 1, size[0], size[1])]
        (tmp_path / "spoilt" / "Annotations" / "a.xml").write_text(voc_annotation(objects, size))
        for split in ("trainval", "test"):
            (tmp_path / "spoilt" / "ImageSets" / "Main" / f"{split}.txt").write_text("a\n")
        return tmp_path / "spoilt"

    return make


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read(case, one, start, refused, tmp_path):
    write, part = UNREADABLE[case]
    root = one(write, (3000, 1) if case == "too elongated" else (112, 84))
    words = ["DATASETS.VOC_LAYOUT.ROOT", root, *ONE_STEP, "OUTPUT_DIR", tmp_path / "out"]
    refused(train_net(start.config, *words), str(root / "JPEGImages" / "a.jpg"), part)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_image_without_permission(one, start, refused, tmp_path):
    root = one(lambda path: write_image(path, (112, 84)))
    (root / "JPEGImages" / "a.jpg").chmod(0)
    words = ["DATASETS.VOC_LAYOUT.ROOT", root, *ONE_STEP, "OUTPUT_DIR", tmp_path / "out"]
    refused(train_net(start.config, *words), str(root / "JPEGImages" / "a.jpg"), "permissions forbid it")


def test_a_huge_image_is_told_without_its_memory(tmp_path):
    import resource

    _huge_png(tmp_path / "a.png", 20000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert image_size(str(tmp_path / "a.png")) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; decoded it is 1.2 GB


ODD = {
    "greyscale.jpg": lambda path: _pixels().convert("L").save(path),
    "greyscale with alpha.png": lambda path: _pixels().convert("LA").save(path),
    "black and white.png": lambda path: _pixels().convert("1").save(path),
    "CMYK.jpg": lambda path: _pixels().convert("CMYK").save(path),
    "palette.png": lambda path: _pixels().convert("P").save(path, transparency=3),
    "palette with alpha.png": lambda path: _pixels().convert("P").save(path, transparency=bytes(range(256))),
    "alpha.png": lambda path: _pixels().convert("RGBA").save(path),
    "a few bytes more.jpg": lambda path: (_pixels().save(path), path.write_bytes(path.read_bytes() + b"more")),
    "rotated.jpg": lambda path: _with_orientation(path, 6, (84, 112)),
    "upside down.jpg": lambda path: _with_orientation(path, 3),
    "rotated.png": lambda path: _with_orientation(path, 8, (84, 112), "PNG"),
}


def test_what_is_odd_goes_through_all_steps(start, refused, tmp_path, capfd):
    root = tmp_path / "odd"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for name, write in ODD.items():
        write(root / "JPEGImages" / name)
        path = root / "Annotations" / f"{name.rsplit('.', 1)[0]}.xml"
        path.write_text(voc_annotation([("disc", 20, 20, 70, 60)], (112, 84)))
    stems = sorted({name.rsplit(".", 1)[0] for name in ODD})
    for split in ("trainval", "test"):
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
    words = ["DATASETS.VOC_LAYOUT.ROOT", root, "MODEL.WEIGHTS", "", "OUTPUT_DIR", tmp_path / "run"]
    for number in range(1, 5):
        words += [f"SCHEDULE.STEP{number}.MAX_ITER", len(stems), f"SCHEDULE.STEP{number}.IMS_PER_BATCH", 1]
    assert train_net(start.config, *words)() == 0
    said = capfd.readouterr().out
    assert (tmp_path / "run" / "results.json").is_file()
    assert "turned or mirrored by their EXIF orientation" in said and "upside down.jpg" in said


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_size_is_the_one_that_detectron2_reads(image_format, orientation, tmp_path):
    path = tmp_path / "image"
    _with_orientation(path, orientation, image_format=image_format)
    if image_format == "TIFF" and orientation > 1:
        assert image_size(str(path)) is None  # Pillow and detectron2 both turn it
        return
    height, width = read_image(str(path), format="BGR").shape[:2]
    assert image_size(str(path)) == (width, height)
