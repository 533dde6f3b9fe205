"""Random textures for the demo's images: smooth noise, gradients, stripes, checks, and colours to tint them with.

A texture is an H x W array of float32 in [0, 1] that says how far each pixel is on the way from one colour to another.
Everything is drawn from the numpy Generator that is handed in, so equal generators give equal pictures.
"""

from typing import Tuple

import numpy as np
from PIL import Image

__all__ = ["random_colour", "random_texture", "tint"]


def _grid(height: int, width: int) -> Tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates (y, x), each (height, width), in units of the longer side and centred on the image."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    longer = max(height, width)
    return (y - height / 2) / longer, (x - width / 2) / longer


def _rotated_axis(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Signed distance of each pixel from a line through the centre in a random direction."""
    y, x = _grid(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    return x * np.cos(angle) + y * np.sin(angle)


def _stretch(field: np.ndarray) -> np.ndarray:
    low, high = field.min(), field.max()
    return (field - low) / max(high - low, 1e-6)


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Sum of random grids of doubling fineness, each smoothed up to the whole image ("value noise")."""
    total = np.zeros((height, width), np.float32)
    cells = int(rng.integers(2, 7))
    for octave in range(3):
        coarse = rng.random((cells * 2**octave + 1,) * 2).astype(np.float32)
        fine = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
        total += np.asarray(fine) * 0.6**octave
    return _stretch(total)


def _linear_gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return _stretch(_rotated_axis(rng, height, width))


def _radial_gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = _grid(height, width)
    return _stretch(np.hypot(y - rng.uniform(-0.4, 0.4), x - rng.uniform(-0.4, 0.4)))


def _stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    waves = np.sin(_rotated_axis(rng, height, width) * 2 * np.pi * rng.uniform(4, 16))
    sharpness = rng.uniform(1, 8)  # from a sine wave to hard-edged bars
    return 0.5 + 0.5 * np.tanh(waves * sharpness) / np.tanh(sharpness)


def _checks(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    frequency = 2 * np.pi * rng.uniform(3, 9)
    y, x = _grid(height, width)
    angle = rng.uniform(0, np.pi / 2)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return 0.5 + 0.5 * np.tanh(4 * np.sin(along * frequency) * np.sin(across * frequency))


_TEXTURES = (_noise, _noise, _linear_gradient, _radial_gradient, _stripes, _checks)


def random_texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a (height, width) float32 array in [0, 1] of a kind, direction and fineness drawn from `rng`."""
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))](rng, height, width)
    return np.clip(texture, 0, 1).astype(np.float32)


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Return an RGB colour, (3,) float32 in [0, 255]."""
    return rng.uniform(0, 255, 3).astype(np.float32)


def tint(texture: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Blend two RGB colours by a (H, W) texture into a (H, W, 3) float32 image in [0, 255]."""
    return start + texture[..., None] * (end - start)
