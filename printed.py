"""What is printed around a character: a form's cell, a line to write on, dots, text.

    labels, stats = label_pieces(mask)
    around = cell(labels, stats) | text(stats) | dots(stats)

All of these are whole pieces; crossed.py finds what the character touches. All are told by their
place, straightness and thickness. The numbers were chosen on glyphs drawn on simulated paper.
"""

import cv2
import numpy as np

from pieces import SPECK_AREA, corners_of, cut_by_edges, extent, of_pieces, over, size_of

LINE_ASPECT = 20  # a ruled line's length is at least this many times its thickness
FRAMED = 0.25  # of a frame's shorter side: what is in it is higher; the bar of an E is not
RINGED = 0.4  # of a ring's height: the longer side of a character in it is more
SHORTEST = 12  # px, of a line between two cells
MAX_CELLS = 6  # of a form's cells, how many are looked at for one with a character: the widest
LONG = 1.2  # of a character's longer side: a line to write on is longer
DOT = 0.15  # of the largest piece's area: a printed dot has less
MIN_DOTS, MAX_DOTS = 8, 400  # printed dots on a page
TEXT_GAP = 0.15  # of a character's longer side: a line of print is farther above or below it
AT_EDGE = 0.2  # of the picture's width or height: punched holes are nearer to its edge
PUNCHED = 7  # diameters between two holes: a punch's are 13 apart, 6 mm in 80
EVEN = 0.8  # share of the dots with the usual distance to the next one, at least


def cell(labels, stats):
    """(n,) bool: a form's cell around the rest (frame, dashes, corners, teeth), a line below it."""
    return _frame(labels, stats) | _dashes(labels, stats) | teeth(stats) | _rule(stats)


def _frame(labels, stats):
    """(n,) bool: the piece that is a frame, the cells beside it, whole or cut off, its number.

    The frame may be open above, like a comb's cell, and the character taller than it.
    """
    found = np.zeros(len(stats), bool)
    if len(stats) < 3:
        return found
    low, high = corners_of(stats)
    width, height, area = stats.T[2:]
    widest = 1 + np.argsort(-width[1:])[:MAX_CELLS]
    for outer in widest[area[widest] < 0.3 * (width * height)[widest]]:
        inside = (low[:, 0] > low[outer, 0]) & (high < high[outer]).all(axis=1)
        inside[0] = False
        inner = np.argmax(inside * height)
        if not inside[inner] or height[inner] < FRAMED * min(width[outer], height[outer]):
            continue
        piece = labels == outer
        places = np.argwhere(piece).astype(np.float32)
        corners = cv2.convexHull(places)
        hull = cv2.contourArea(corners) / max(1, np.prod(cv2.minAreaRect(places)[1]))
        # A circle has 0.79, a D 0.9; what is in a round letter is small.
        large = size_of(stats, inside).max() > RINGED * height[outer]
        if not (hull > 0.92 or (large and _is_ring(piece, corners))):
            continue
        piece[[0, -1]] = piece[:, [0, -1]] = True  # the picture's edge may cut off a side
        (x, y), (right, bottom) = low[outer], high[outer]
        above, *others = _along(piece[y:bottom, x:right])
        if y < low[inner, 1] and min(above, *others) > 0.6:  # an E around its bar is not closed
            inside &= low[:, 1] > y
        elif above > 0.3 or min(others) < 0.85:
            continue  # not a comb's: the least of a round U is 0.83
        ends = np.abs([low - low[outer], high - high[outer]]).max(axis=0)
        alike = (ends < 0.1 * stats[outer, 2:4]).any(axis=1)  # in a row or a column with it
        found = ~inside & (alike | cut_by_edges(stats, labels.shape).any(axis=0))
        # Small, in the upper left corner: a printed number. The dot of an i leans to the right.
        near = (low - low[outer] < 0.2 * stats[outer, 2:4]).all(axis=1)
        small = stats[:, 2:4].max(axis=1) < 0.2 * stats[outer, 2:4].min()
        found |= inside & near & small & ~over(stats, inner, 0.1)
        found[0] = False
        return found
    return found


def _is_ring(piece, corners):
    """Whether a piece, (h, w) bool, lies along its convex hull only; an outlined 8 does not."""
    inside = np.zeros(piece.shape, np.uint8)
    cv2.fillConvexPoly(inside, np.int32(corners[..., ::-1]), 1)
    thick = np.count_nonzero(piece) / cv2.arcLength(corners, True)
    inside = cv2.erode(inside, np.ones([2 * round(thick) + 5] * 2))
    return np.count_nonzero(piece & (inside > 0)) < 0.1 * np.count_nonzero(piece)


def _along(mask):
    """For the upper, lower, left and right sixth of `mask`: the share of its length with ink."""
    down, across = (1 + n // 6 for n in mask.shape)
    sides = mask[:down], mask[-down:], mask[:, :across].T, mask[:, -across:].T
    return [side.any(axis=0).mean() for side in sides]


def _dashes(labels, stats):
    """(n,) bool: pieces that form a dashed frame, or mark its four corners."""
    found = np.zeros(len(stats), bool)
    if len(stats) < 4:  # as a rule
        return found
    low, high = extent(stats, slice(1, None))
    part, side = labels[low[1] : high[1], low[0] : high[0]], (high - low).min()
    band = max(3, side // 12)
    inside = np.bincount(part[band:-band, band:-band].ravel(), minlength=len(stats)) > 0
    inside[0], outside = False, ~inside
    outside[0] = False
    if outside.sum() < 2 or not inside.any():
        return found
    first, last = extent(stats, inside)
    if (first <= low).any() or (last >= high).any() or stats[inside, 3].max() < FRAMED * side:
        return found
    if stats[inside, 2:4].max() < 0.6 * (last - first).max():  # chalk's grains are no dashes
        return found
    frame = of_pieces(part, outside)
    down, across = (1 + n // 8 for n in part.shape)
    corners = [
        corner
        for rows in (frame[:down], frame[-down:])
        for corner in (rows[:, :across], rows[:, -across:])
    ]
    four = outside.sum() == 4 and all(corner.any() for corner in corners)
    return outside if four or min(_along(frame)) > 0.25 else found


def teeth(stats):
    """(n,) bool: two thin upright pieces beside the rest, as between the cells of a comb."""
    found = np.zeros(len(stats), bool)
    if len(stats) < 4:
        return found
    low, high = corners_of(stats)
    pair = [1 + low[1:, 0].argmin(), 1 + high[1:, 0].argmax()]
    ends = low[pair, 1], high[pair, 1]
    tall = np.mean(ends[1] - ends[0])
    if stats[pair, 2].max() > 0.2 * tall or max(map(np.ptp, ends)) > 0.15 * tall:
        return found
    rest = np.ones(len(stats), bool)
    rest[[0, *pair]] = False
    (left, top), (right, bottom) = extent(stats, rest)
    gap = min(left - high[pair[0], 0], low[pair[1], 0] - right)
    # An N's or an M's strokes are as high as the rest, near it, or both.
    level = max(abs(top - ends[0][0]), abs(bottom - ends[1][0])) < 0.15 * tall
    found[pair] = bottom - top > 0.5 * tall and gap > 0.1 * tall and not level
    return found


def dividers(stats, lined):
    """(n,) bool: two or more thin pieces from one ruled line to another: a row's or column's cells.

    Args:
        stats: of the pieces beside the lines, from `label_pieces`.
        lined: (h, w) bool, the lines.
    """
    found = np.zeros(len(stats), bool)
    for axis, near in ((1, lined), (0, lined.T)):  # upright in a row of cells, level in a column
        first, across = stats[:, axis], stats[:, 1 - axis]
        long, thick = stats[:, 2 + axis], stats[:, 3 - axis]
        thin = (thick < long / 5) & (long > SHORTEST)
        thin[0] = False
        for k in np.flatnonzero(thin):  # where it meets them, a part of them is its own
            beside = near[:, max(0, across[k] - 3) : across[k] + thick[k] + 3].any(axis=1)
            ends = first[k], first[k] + long[k]
            thin[k] = all(beside[max(0, end - 3) : end + 3].any() for end in ends)
        rest = ~thin & ~found
        rest[0] = False
        if np.count_nonzero(thin) > 1 and long[rest].max(initial=0) > FRAMED * long[thin].min():
            found |= thin
    return found


def _rule(stats):
    """(n,) bool: pieces that are a line to write on, whole or in dashes, below all the rest."""
    found = np.zeros(len(stats), bool)
    if len(stats) < 3:
        return found
    low, high = corners_of(stats)
    main = 1 + stats[1:, 3].argmax()
    below = low[:, 1] >= high[main, 1]
    if not below.any():
        return found
    rest = ~below
    rest[0] = False
    width, deep = size_of(stats, below)
    side = size_of(stats, rest).max()
    thick = stats[below, 4].sum() / width
    return below if width > max(LONG * side, 10 * deep, LINE_ASPECT * thick) else found


def row_at_edge(stats, shape):
    """(n,) bool: similar pieces in a row along an edge: holes, punched or a spiral's, app buttons.

    Two or three must be round and far apart; of four or more the shape does not matter. All the
    rest lies on their inner side and holds something larger, unlike the dots of a dotted letter;
    beside round ones of one size, as far apart as a punch sets them, it may lie anywhere.
    """
    found = np.zeros(len(stats), bool)
    if len(stats) < 4:  # as a rule
        return found
    sides = stats[:, 2:4].max(axis=1)
    some = stats[:, 4] > SPECK_AREA * stats[1:, 4].max()
    some[0] = False
    for axis in (0, 1):
        low, high = stats[:, axis], stats[:, axis] + stats[:, 2 + axis]
        for near, far in ((low, high), (shape[1 - axis] - high, shape[1 - axis] - low)):
            first = np.flatnonzero(some)[far[some].argmin()]
            middles = (near + far) / 2
            ratio = sides / sides[first]
            row = some & (abs(middles - middles[first]) < sides[first] / 2)
            row &= (ratio > 0.6) & (ratio < 1.6)
            rest = some & ~row
            count = np.count_nonzero(row)
            if count < 2 or middles[first] > AT_EDGE * shape[1 - axis] or not rest.any():
                continue
            places = np.sort(stats[row, 1 - axis] + stats[row, 3 - axis] / 2)
            apart = np.diff(places).min() / sides[row].max()
            w, h, area = stats[row, 2:].T
            round_ = (area > 0.65 * w * h).all() and (
                np.maximum(w, h) < 1.5 * np.minimum(w, h)
            ).all()
            if round_ and apart > PUNCHED and sides[row].max() < 1.15 * sides[row].min() + 1:
                found |= row & (sides[rest].max() > sides[row].max())
                continue
            if near[rest].min() <= far[row].max() or sides[rest].max() < 2 * sides[row].max():
                continue
            if apart > (1.2 if count > 3 else 4) and (count > 3 or round_):
                found |= row
    return found


def text(stats):
    """(n,) bool: a line of print above or below the rest, in one piece or letter by letter.

    A scanning app's name, a worksheet's question: low, wide and apart, unlike the bar of a T.
    """
    found = np.zeros(len(stats), bool)
    if len(stats) < 3:  # as a rule
        return found
    low, high = corners_of(stats)
    main = 1 + stats[1:, 3].argmax()
    side = stats[main, 2:4].max()
    gaps = low[main, 1] - high[:, 1], low[:, 1] - high[main, 1]
    for beyond in (gap > TEXT_GAP * side for gap in gaps):
        beyond[0] = False
        if beyond.any():
            width, height = size_of(stats, beyond)
            if height < 0.4 * stats[main, 3] and width > max(0.8 * side, 4 * height):
                found |= beyond
    return found


def dots(stats):
    """(n,) bool: printed dots at even distances, as on the paper of a journal or a note app.

    They are small, round, of one size, and lie all around something larger.
    """
    found = np.zeros(len(stats), bool)
    w, h, area = stats[:, 2:].T
    if len(stats) <= MIN_DOTS:  # as a rule
        return found
    main = 1 + np.argmax(area[1:])
    small = (area < DOT * area[main]) & (np.maximum(w, h) < 2 * np.minimum(w, h) + 2)
    if not small.any():
        return found
    ratio = area / np.median(area[small])
    small &= (ratio > 0.5) & (ratio < 2)  # the dot of an i is larger
    if not MIN_DOTS <= np.count_nonzero(small) <= MAX_DOTS:
        return found
    middles = stats[small, :2] + stats[small, 2:4] / 2
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.min(axis=1)
    even = np.abs(nearest - np.median(nearest)) < 0.1 * np.median(nearest) + 1
    around = np.ptp(middles, axis=0) > stats[main, 2:4]
    around &= np.ptp(np.sort(middles, axis=0)[1:-1], axis=0) > 0.5 * np.median(nearest)  # not a row
    return small if even.mean() > EVEN and around.all() else found
