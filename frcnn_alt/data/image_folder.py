"""An ImageNet-layout folder (``train/<class>/*.jpg``, ``val/<class>/*.jpg``) as the detector's backbone will see it.

Folders, decoding and augmentation are torchvision's; what is added is the detector's channel order, 0 to 255, and an
order of training images that follows from the seed.

Shapes: S is the side of an image in pixels.
"""

import os
from typing import Tuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from .images import check_image_files
from .problems import DatasetError, describe_problems

__all__ = ["ValidationImages", "TrainingImages", "check_folders", "open_image_folder"]


def open_image_folder(root: str, split: str) -> ImageFolder:
    """Open ``root/split``.

    Raises:
        DatasetError: there is no such folder, or a class in it has no images; the message shows the layout wanted.
    """
    folder = os.path.join(root, split)
    layout = f"{root}/train/<class>/*.jpg and {root}/val/<class>/*.jpg"
    if not os.path.isdir(folder):
        raise DatasetError(f"PRETRAIN.DATA: {folder} is not a folder; wanted is the layout {layout}, or 'crops'")
    try:
        return ImageFolder(folder)
    except FileNotFoundError as error:
        raise DatasetError(f"PRETRAIN.DATA: {error} Wanted is the layout {layout}") from error


def check_folders(*folders: ImageFolder) -> None:
    """Look at the header and the end of every image of `folders`, before days are spent on them.

    Raises:
        DatasetError: images that cannot be read; all of them are listed.
    """
    records = [{"file_name": path, "image_id": path} for folder in folders for path, _ in folder.samples]
    problems = check_image_files(records, "PRETRAIN.DATA")
    if problems:
        raise DatasetError(f"PRETRAIN.DATA cannot be used: {describe_problems(problems, max_lines=50)}")


def _read(folder: ImageFolder, index: int) -> Tuple[Image.Image, int]:
    try:
        return folder[index]
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's, which name no file
        raise DatasetError(f"{folder.samples[index][0]} cannot be read as an image: {error}") from error


def _as_tensor(image: Image.Image, image_format: str) -> torch.Tensor:
    pixels = np.asarray(image).transpose(2, 0, 1)  # RGB
    return torch.from_numpy(np.ascontiguousarray(pixels[::-1] if image_format == "BGR" else pixels))


class TrainingImages(Dataset):
    """Endless training set: each epoch is a permutation of all images; item p follows from (seed, p) alone.

    Args:
        folder: what `open_image_folder` returned.
        seed: of the training.
        image_size: S.
        image_format: "BGR" or "RGB".
    """

    def __init__(self, folder: ImageFolder, *, seed: int, image_size: int, image_format: str):
        self.folder = folder
        self.seed = seed
        self.image_format = image_format
        self.transform = transforms.Compose(
            [transforms.RandomResizedCrop(image_size), transforms.RandomHorizontalFlip()]
        )
        self._order = (-1, np.empty(0, np.int64))  # (epoch, its permutation)

    def __getitem__(self, position: int) -> Tuple[torch.Tensor, int]:
        """Return an image, (3, S, S) uint8, and its class.

        Raises:
            DatasetError: it cannot be read.
        """
        epoch, place, index = self._place(position)
        image, label = _read(self.folder, index)
        draw = np.random.SeedSequence([self.seed, epoch, place]).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[]):  # torchvision draws from torch's global generator
            torch.manual_seed(int(draw >> np.uint64(1)))
            return _as_tensor(self.transform(image), self.image_format), label

    def _place(self, position: int) -> Tuple[int, int, int]:
        epoch, place = divmod(position, len(self.folder))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.folder)))
        return epoch, place, int(self._order[1][place])

    def file_of(self, position: int) -> str:
        """The image file of item `position`."""
        return self.folder.samples[self._place(position)[2]][0]


class ValidationImages(Dataset):
    """The ``val`` images: shorter side to 256/224 of S, centre S x S.

    Args:
        folder: what `open_image_folder` returned.
        image_size: S.
        image_format: "BGR" or "RGB".
    """

    def __init__(self, folder: ImageFolder, *, image_size: int, image_format: str):
        self.folder = folder
        self.image_format = image_format
        resize = transforms.Resize(image_size * 256 // 224)
        self.transform = transforms.Compose([resize, transforms.CenterCrop(image_size)])

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> Tuple[torch.Tensor, int]:
        image, label = _read(self.folder, index)
        return _as_tensor(self.transform(image), self.image_format), label
