"""How `fuzz.py` damages a file: bits flipped, pieces cut, repeated, spliced in, and words of its format put in.

What is drawn follows from the generator alone: the same one gives the same inputs.
"""

import random
from typing import List

__all__ = ["mutate"]


def mutate(data: bytes, seeds: List[bytes], words: List[bytes], draw: random.Random) -> bytes:
    """Change an input in one to six ways, more often a few."""
    out = bytearray(data)
    for _ in range(min(draw.randint(1, 6), draw.randint(1, 6))):
        place = draw.randrange(len(out) + 1)
        length = min(draw.choice((1, 2, 4, 8, 16, 64, 256)), len(out) - place)
        kind = draw.randrange(10)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << draw.randrange(8)
        elif kind == 1 and place < len(out):
            out[place] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
        elif kind == 2:
            del out[place : place + length]
        elif kind == 3:
            out[place:place] = out[place : place + length] * draw.choice((1, 1, 2, 50))
        elif kind == 4 and words:
            out[place:place] = draw.choice(words)
        elif kind == 5 and words:
            out[place : place + length] = draw.choice(words)
        elif kind == 6:
            other = draw.choice(seeds)
            begin = draw.randrange(len(other) + 1)
            out[place : place + length] = other[begin : begin + draw.choice((4, 16, 64, 256, 1024))]
        elif kind == 7 and draw.random() < 0.3:
            del out[place:]
        elif kind == 8:
            _replace_token(out, place, words, draw)
        else:
            begin = draw.randrange(len(out) + 1)
            piece = bytes(out[begin : begin + length])
            out[place : place + length] = piece
    return bytes(out[: 1 << 16])


def _replace_token(out: bytearray, place: int, words: List[bytes], draw: random.Random) -> None:
    """Put a word in the place of the number or the name that stands at `place`, as a text format has them."""
    inside = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_.-+"
    begin = end = place
    while begin > 0 and out[begin - 1] in inside and place - begin < 64:
        begin -= 1
    while end < len(out) and out[end] in inside and end - place < 64:
        end += 1
    out[begin:end] = draw.choice(words) if words and draw.random() < 0.7 else str(draw.randint(-3, 300)).encode()
