"""Boxes of all images of a data set: with any number of processes, cut and gone on with, and what goes wrong."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from frcnn_alt.proposals import (
    ProposalSet,
    ProposalSetError,
    ProposalSetWriter,
    SelectiveSearch,
    compute_from_pixels,
    from_pixels,
    resumable,
)
from frcnn_alt.proposals.opencv import import_opencv
from frcnn_alt.proposals.resumable import IMAGES_PER_PART

import numpy as np
import pytest
from bright_scenes import bright_rectangle
from PIL import Image

pytest.importorskip("cv2.ximgproc", reason="OpenCV's contrib module is an optional package")


@dataclass(frozen=True)
class Fake:
    """A method whose box is the image itself; `fails_at` kills the run there, `dies_at` the process."""

    boxes: int = 1
    fails_at: str = ""
    dies_at: str = ""
    error: type = KeyboardInterrupt
    searched: list = field(default_factory=list, compare=False)

    def settings(self):
        return {"method": "fake", "boxes": self.boxes}

    def prepare(self):
        pass

    def __call__(self, image, image_id):
        if image_id == self.fails_at:
            raise self.error("a reason")
        if image_id == self.dies_at:
            os._exit(9)
        self.searched.append(image_id)
        height, width = image.shape[:2]
        count = 0 if image_id == "empty" else self.boxes
        return np.tile(np.float32([0, 0, width, height]), (count, 1)), np.arange(count, 0, -1, dtype=np.float32)


def dicts(folder, *image_ids, width=48, height=36):
    images = []
    for number, image_id in enumerate(image_ids):
        box = (5 + number % 7, 4, 30 + number % 11, 28)
        file_name = str(folder / f"{image_id}.png")
        Image.fromarray(bright_rectangle(width, height, box)).save(file_name)
        images.append({"image_id": image_id, "file_name": file_name, "width": width, "height": height})
    return images


def numbered(folder, count):
    return dicts(folder, *[f"{number:03d}" for number in range(count)])


def bring(method, folder, images, **arguments):
    return compute_from_pixels(method, "toys", folder / "set", images, **arguments)


def test_two_processes_write_what_one_writes(tmp_path):
    images = numbered(tmp_path, 5)
    method = SelectiveSearch(smallest_side=5)
    one = compute_from_pixels(method, "toys", tmp_path / "one", images)
    two = compute_from_pixels(method, "toys", tmp_path / "two", images, processes=2)
    assert one.sha256 == two.sha256 and one.metadata == two.metadata and one.image_ids == two.image_ids
    assert one.num_boxes > 10 and one.metadata["k"] == [50, 100] and "opencv" in one.metadata
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["one", "two"]  # no part is left


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_was_cut_is_gone_on_with(tmp_path, error, caplog):
    images = numbered(tmp_path, IMAGES_PER_PART + 5)
    whole = compute_from_pixels(Fake(), "toys", tmp_path / "whole", images)
    cut = Fake(fails_at=images[IMAGES_PER_PART + 2]["image_id"], error=error)
    with pytest.raises((KeyboardInterrupt, ProposalSetError)):
        bring(cut, tmp_path, images)
    assert not (tmp_path / "set").exists() and len(cut.searched) == IMAGES_PER_PART + 2
    rest = Fake()
    with caplog.at_level(logging.INFO):
        found = bring(rest, tmp_path, images)
    assert rest.searched == [image["image_id"] for image in images[IMAGES_PER_PART + 2 :]]  # nothing twice
    assert f"{IMAGES_PER_PART + 2} of {IMAGES_PER_PART + 5} images are done already" in caplog.text
    assert found.sha256 == whole.sha256 and found.image_ids == whole.image_ids
    assert not (tmp_path / "set.parts").exists()


def test_a_killed_run_loses_the_part_it_was_writing_and_no_more(tmp_path):
    images = numbered(tmp_path, IMAGES_PER_PART + 3)
    with pytest.raises(KeyboardInterrupt):
        bring(Fake(fails_at=images[-1]["image_id"]), tmp_path, images)
    first, second = sorted((tmp_path / "set.parts").iterdir())
    (second / "index.json").write_text("{")  # as if it had not reached the disk
    (tmp_path / "set.parts" / "00002.partial").mkdir()
    rest = Fake()
    assert len(bring(rest, tmp_path, images)) == len(images)
    assert rest.searched == [image["image_id"] for image in images[IMAGES_PER_PART:]]


def test_a_finished_set_is_left_as_it_is(tmp_path, caplog):
    images = numbered(tmp_path, 3)
    before = bring(Fake(), tmp_path, images)
    stamp = (tmp_path / "set" / "index.json").stat().st_mtime_ns
    again = Fake()
    with caplog.at_level(logging.INFO):
        assert bring(again, tmp_path, images).sha256 == before.sha256
    assert again.searched == [] and "finished already" in caplog.text
    assert (tmp_path / "set" / "index.json").stat().st_mtime_ns == stamp
    assert len(bring(again, tmp_path, images, overwrite=True)) == len(again.searched) == 3


def test_a_run_that_was_killed_after_its_set_was_complete(tmp_path, monkeypatch):
    images = numbered(tmp_path, 3)
    with monkeypatch.context() as killed:
        killed.setattr(resumable.shutil, "rmtree", lambda *args, **kwargs: None)
        bring(Fake(), tmp_path, images)
    assert (tmp_path / "set.parts").is_dir()
    again = Fake()
    bring(again, tmp_path, images, overwrite=True)
    assert len(again.searched) == 3 and not (tmp_path / "set.parts").exists()


def test_parts_of_several_versions_of_the_library_tell_all(tmp_path, monkeypatch):
    images = numbered(tmp_path, IMAGES_PER_PART + 2)
    with pytest.raises(KeyboardInterrupt):
        bring(Fake(fails_at=images[-1]["image_id"]), tmp_path, images)
    monkeypatch.setattr(import_opencv(), "__version__", "9.9.9")
    assert bring(Fake(), tmp_path, images).metadata["opencv"][-1] == "9.9.9"


def test_another_set_is_an_error_until_it_is_to_be_overwritten(tmp_path):
    images = numbered(tmp_path, 3)
    before = bring(Fake(), tmp_path, images)
    with pytest.raises(ProposalSetError, match="it was made with boxes 1 and not 2. --overwrite makes it anew"):
        bring(Fake(2), tmp_path, images)
    with pytest.raises(ProposalSetError, match="it is of toys"):
        compute_from_pixels(Fake(), "others", tmp_path / "set", images)
    with pytest.raises(ProposalSetError, match="the images of toys have changed since"):
        bring(Fake(), tmp_path, images[:2])
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (36, 48, 3), dtype=np.uint8)).save(images[0]["file_name"])
    with pytest.raises(ProposalSetError, match="the images of toys have changed since"):
        bring(Fake(), tmp_path, images)
    assert ProposalSet(tmp_path / "set").sha256 == before.sha256
    with pytest.raises(KeyboardInterrupt):
        bring(Fake(2, fails_at="002"), tmp_path, images, overwrite=True)
    assert ProposalSet(tmp_path / "set").sha256 == before.sha256  # until the new one is complete
    rest = Fake(2)
    assert bring(rest, tmp_path, images, overwrite=True).num_boxes == 6 and rest.searched == ["002"]


def test_parts_of_another_set_are_an_error_until_they_are_to_be_overwritten(tmp_path):
    images = numbered(tmp_path, 3)
    with pytest.raises(KeyboardInterrupt):
        bring(Fake(fails_at="002"), tmp_path, images)
    with pytest.raises(ProposalSetError, match="set.parts is what is done of another .* boxes 1 and not 2"):
        bring(Fake(2), tmp_path, images)
    assert bring(Fake(2), tmp_path, images, overwrite=True).num_boxes == 6


@pytest.mark.parametrize("processes", [1, 2])
def test_an_unreadable_image_is_named_and_what_was_done_is_kept(tmp_path, processes):
    images = numbered(tmp_path, 4)
    Path(images[2]["file_name"]).write_bytes(b"no image")
    with pytest.raises(ProposalSetError, match=r"image 002, .*002.png, cannot be searched: Unidentified.*is kept"):
        bring(Fake(), tmp_path, images, processes=processes)
    (part,) = (tmp_path / "set.parts").iterdir()
    kept = set(ProposalSet(part).image_ids)  # with two processes also what was found meanwhile
    assert kept == {"000", "001"} if processes == 1 else kept and kept <= {"000", "001", "003"}


def test_an_image_of_another_size_than_its_data_set_says(tmp_path):
    images = numbered(tmp_path, 1)
    images[0]["width"] = 50
    with pytest.raises(ProposalSetError, match="image 000, .*cannot be searched: SizeMismatchError"):
        bring(Fake(), tmp_path, images)


def test_a_process_that_is_killed(tmp_path):
    images = numbered(tmp_path, 3)
    with pytest.raises(ProposalSetError, match="searched one of the images .*was killed.*fewer --processes"):
        bring(Fake(dies_at="001"), tmp_path, images, processes=2)
    assert len(bring(Fake(), tmp_path, images)) == 3


def test_grey_files_and_images_without_a_box(tmp_path, caplog):
    images = dicts(tmp_path, "a", "empty", "c")
    Image.fromarray(np.zeros((36, 48), np.uint8)).save(images[0]["file_name"])
    with caplog.at_level(logging.WARNING):
        found = bring(Fake(), tmp_path, images)
    assert found["empty"][0].shape == (0, 4) and found["a"][0].tolist() == [[0, 0, 48, 36]]
    assert "1 images have not a single box: empty" in caplog.text


def test_progress_tells_the_time_left(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(from_pixels, "SECONDS_BETWEEN_REPORTS", 0)
    with caplog.at_level(logging.INFO):
        bring(Fake(), tmp_path, numbered(tmp_path, 3))
    lines = [record.getMessage() for record in caplog.records if " left" in record.getMessage()]
    assert [line.split(",")[0] for line in lines] == [f"Proposals of toys: {n}/3 images" for n in (1, 2, 3)]


def test_large_images_are_told(tmp_path, caplog):
    large = {"image_id": "1", "file_name": "big.jpg", "width": 4000, "height": 3000}
    with caplog.at_level(logging.WARNING):
        from_pixels._warn_of_large_images(SelectiveSearch(width=500), [large])
        assert not caplog.records
        from_pixels._warn_of_large_images(SelectiveSearch(), [large])
    assert "1 images have more than 1.5 million pixels, e.g. big.jpg with 4000x3000" in caplog.text


def test_a_set_that_nobody_says_how_it_was_made(tmp_path):
    images = numbered(tmp_path, 1)
    with ProposalSetWriter(tmp_path / "set", "toys") as writer:
        writer.add("000", [[0, 0, 1, 1]], [1])
    with pytest.raises(ProposalSetError, match="does not tell how it was made"):
        bring(Fake(), tmp_path, images)
    with pytest.raises(ProposalSetError, match="toys has no images"):
        bring(Fake(), tmp_path, [])
