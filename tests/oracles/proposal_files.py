"""Boxes of published proposal files, one at a time, from the rules of SPEC 9.

MATLAB counts pixels from 1 and a corner names the last pixel that belongs to the box; a continuous corner is an edge
between pixels, so only the first corner moves. Selective Search has y before x. The MATLAB release flips a box without
leaving MATLAB's numbers: x becomes W + 1 - x. py-faster-rcnn goes to inclusive corners from 0, rounds to find equal
boxes, of which the first stays, and keeps those with x2 - x1 >= 2 and y2 - y1 > 2.
"""


def continuous(row, columns="xyxy"):
    """(x1, y1, x2, y2) in continuous pixels of one row of a MATLAB file, whose columns are "xyxy" or "yxyx"."""
    first, second, third, fourth = (float(value) for value in row[:4])
    x1, y1, x2, y2 = (first, second, third, fourth) if columns == "xyxy" else (second, first, fourth, third)
    return [x1 - 1.0, y1 - 1.0, x2, y2]


def flipped_in_matlab(row, width):
    """One row x1, y1, x2, y2 of 1-based inclusive corners, in the mirror image."""
    x1, y1, x2, y2 = (float(value) for value in row)
    return [width + 1 - x2, y1, width + 1 - x1, y2]


def rows_kept_by_pyfrcnn(rows, columns="xyxy"):
    """Numbers of the rows of a MATLAB file that py-faster-rcnn keeps, in the order of the file."""
    seen, kept = set(), []
    for number, row in enumerate(rows):
        x1, y1, right, bottom = continuous(row, columns)
        x2, y2 = right - 1.0, bottom - 1.0
        rounded = tuple(round(value) for value in (x1, y1, x2, y2))
        if rounded in seen:
            continue
        seen.add(rounded)
        if x2 - x1 >= 2 and y2 - y1 > 2:
            kept.append(number)
    return kept


def by_score(scores):
    """Numbers of the boxes by descending score, equal scores in the order of the file."""
    return sorted(range(len(scores)), key=lambda number: (-scores[number], number))
