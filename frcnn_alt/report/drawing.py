"""Boxes with labels on images: for the report's pictures and for ``tools/visualize.py``.

With Pillow rather than detectron2's ``Visualizer``, because that one needs OpenCV, which this package leaves to its
users, and because labels here avoid each other and difficult objects are dashed.

Boxes are XYXY in continuous pixels of the image that is given; R boxes.
"""

import os
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import matplotlib
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Color", "LabelledBox", "class_color", "draw_boxes", "enlarge", "side_by_side"]

Color = Tuple[int, int, int]
Rectangle = Tuple[float, float, float, float]

# Okabe and Ito's colours, which colour-blind people tell apart, without black; then Tol's, for more classes.
_CLASS_COLORS = (
    "#56B4E9 #E69F00 #009E73 #CC79A7 #F0E442 #D55E00 #0072B2 #DDCC77 #88CCEE #AA4499 #44AA99 #CC6677 #999933 #BBBBBB"
)
_PALETTE: List[Color] = [tuple(bytes.fromhex(color[1:])) for color in _CLASS_COLORS.split()]
_DARK: Color = (20, 20, 20)
_PAPER: Color = (255, 255, 255)


@dataclass(frozen=True)
class LabelledBox:
    """A box to draw.

    Attributes:
        box: x1, y1, x2, y2.
        label: text beside it; none if empty.
        color: of the box and behind the text.
        dashed: whether its sides are dashed.
    """

    box: Sequence[float]
    label: str
    color: Color
    dashed: bool = False


def class_color(index: int) -> Color:
    """Return the colour of a class; colours repeat after 14 classes."""
    return _PALETTE[index % len(_PALETTE)]


def enlarge(image: Image.Image, long_side: int) -> Tuple[Image.Image, float]:
    """Resize `image` so that its longer side has `long_side` pixels, so that labels have the same size on all images.

    Returns:
        The image, and the factor from old to new pixels.
    """
    scale = long_side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.BICUBIC if scale > 1 else Image.LANCZOS), scale


def draw_boxes(image: Image.Image, boxes: Sequence[LabelledBox], long_side: int = 800) -> Image.Image:
    """Return a copy of `image`, resized to `long_side`, with boxes and labels.

    Args:
        image: RGB.
        boxes: in pixels of `image`; those named first lie on top.
        long_side: pixels of the result's longer side.
    """
    canvas, scale = enlarge(image.convert("RGB"), long_side)
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(long_side / 150))
    font = _font(max(11, round(long_side / 38)))
    for item in reversed(boxes):
        corners = _scaled(item.box, scale, canvas.size, line)
        # A dark line outside the coloured one keeps the box visible on ground of its own colour.
        _outline(draw, corners, _DARK, line + 2, item.dashed, dash=5 * line)
        _outline(draw, corners, item.color, line, item.dashed, dash=5 * line)
    taken: List[Rectangle] = []
    for item in boxes:
        if item.label:
            place = _place_label(
                draw, item.label, font, _scaled(item.box, scale, canvas.size, line), canvas.size, taken
            )
            taken.append(place)
            draw.rectangle(place, fill=item.color)
            draw.text((place[0] + 3, place[1] + 1), item.label, fill=_text_color(item.color), font=font)
    return canvas


def side_by_side(images: Sequence[Image.Image], titles: Sequence[str]) -> Image.Image:
    """Put images of equal size beside each other, each under its title."""
    width, height = images[0].size
    gap = 12
    font = _font(max(13, width // 38))
    head = font.size + 12
    canvas = Image.new("RGB", (len(images) * (width + gap) - gap, height + head), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for column, (image, title) in enumerate(zip(images, titles)):
        left = column * (width + gap)
        draw.text((left + 2, 4), title, fill=_DARK, font=font)
        canvas.paste(image, (left, head))
    return canvas


def _font(size: int) -> ImageFont.FreeTypeFont:
    """A scalable font that is there wherever matplotlib is; Pillow before 10.1 brings only a tiny bitmap."""
    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _scaled(box: Sequence[float], scale: float, size: Tuple[int, int], line: int) -> Rectangle:
    """The box in pixels of the canvas, kept so far inside that its whole line can be seen."""
    right, bottom = size[0] - 1 - line // 2, size[1] - 1 - line // 2
    x1, x2 = (min(max(value * scale, line // 2), right) for value in (box[0], box[2]))
    y1, y2 = (min(max(value * scale, line // 2), bottom) for value in (box[1], box[3]))
    return x1, y1, x2, y2


def _outline(draw: ImageDraw.ImageDraw, box: Rectangle, color: Color, width: int, dashed: bool, dash: int) -> None:
    x1, y1, x2, y2 = box
    sides = (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1)))
    half = (width - 1) / 2
    for (ax, ay), (bx, by) in sides:
        length = max(abs(bx - ax), abs(by - ay))
        # An odd number of equal pieces, so that every corner is drawn.
        pieces = 2 * max(1, round(length / (2 * dash))) + 1 if dashed else 1
        for piece in range(0, pieces, 2):
            start, end = piece / pieces, (piece + 1) / pieces
            xs = sorted((ax + (bx - ax) * start, ax + (bx - ax) * end))
            ys = sorted((ay + (by - ay) * start, ay + (by - ay) * end))
            draw.rectangle((xs[0] - half, ys[0] - half, xs[1] + half, ys[1] + half), fill=color)


def _place_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont,
    box: Rectangle,
    size: Tuple[int, int],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Where the label of `box` covers no other label: above the box, inside it, or below; else above."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right + 6, font.size + 5
    x1, y1, x2, y2 = box
    wanted = [(x1, y1 - height), (x1, y1), (x1, y2), (x1, y2 - height), (x2 - width, y1 - height), (x2 - width, y2)]
    places = []
    for x, y in wanted:
        x, y = min(max(x, 0), max(size[0] - width, 0)), min(max(y, 0), size[1] - height)
        places.append((x, y, x + width, y + height))
    free = [place for place in places if not any(_overlap(place, other) for other in taken)]
    return (free or places)[0]


def _overlap(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _text_color(background: Color) -> Color:
    red, green, blue = background
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else _PAPER
