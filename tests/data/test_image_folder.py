"""An ImageNet-layout folder: an image that breaks after the folder was opened is named."""

from frcnn_alt.data import DatasetError
from frcnn_alt.data.image_folder import TrainingImages, ValidationImages, check_folders, open_image_folder

import pytest
from torch.utils.data import DataLoader
from voc_files import write_image


@pytest.fixture
def folder(tmp_path):
    """train/cat/1.jpg; `check_folders` has nothing against it."""
    (tmp_path / "train" / "cat").mkdir(parents=True)
    write_image(tmp_path / "train" / "cat" / "1.jpg", (40, 40))
    opened = open_image_folder(str(tmp_path), "train")
    check_folders(opened)
    return opened


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "cut"])
@pytest.mark.parametrize("workers", [0, 1])
def test_the_file_is_named(content, workers, folder, tmp_path):
    path = tmp_path / "train" / "cat" / "1.jpg"
    path.write_bytes(path.read_bytes()[:600] if content is None else content)
    for images in (
        TrainingImages(folder, seed=0, image_size=16, image_format="BGR"),
        ValidationImages(folder, image_size=16, image_format="BGR"),
    ):
        with pytest.raises(DatasetError, match=f"{path} cannot be read as an image"):
            next(iter(DataLoader(images, sampler=[0], num_workers=workers)))
    with pytest.raises(DatasetError, match=f"1 x unreadable image.*\n.*{path}"):
        check_folders(folder)
