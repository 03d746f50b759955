"""What is printed where the character touches or crosses it: ruled lines, a cell's frame.

    not_the_character = lines(mask, LINE_ASPECT) | underline(mask) | crossed_frame(mask)

These are parts of the character's pieces; printed.py finds whole pieces. All are told by their
place, straightness and thickness. The numbers were chosen on glyphs drawn on simulated paper.
"""

import cv2
import numpy as np

from paper import quantile
from pieces import SPECK_AREA, box, extent, label_pieces, of_pieces
from printed import FRAMED, LINE_ASPECT, LONG, teeth

FRAME_ASPECT = 12  # as LINE_ASPECT, for each of a frame's four sides
MIN_FRAME = 48  # px, side of a crossed frame, at least: in a smaller one bows are not seen
ROUND, SQUARE = 0.25, 0.06  # of a crossed frame's side: the radius of its corners, at most
MAX_BOW = 6.0  # px, of a crossed frame's side, at most; an O's are rounder
DASHED = 12  # a ruled line's width is at least this many times the gaps between its dashes
BESIDE = 0.05  # of a ruled line's area: the character has more


def lines(mask, aspect):
    """(h, w) bool ink -> (h, w) bool: ruled lines in it, from edge to edge, level or upright.

    A line's width is at least `aspect` times its thickness. Where a stroke crosses it, the ink is
    deeper than the line is thick: it is kept.
    """
    found, level, largest = _level_lines(mask, aspect)
    others, upright, another = _level_lines(mask.T, aspect)
    found |= others.T
    if not found.any():
        return found
    # Where lines cross each other the ink is deep too, but no stroke's.
    labels, stats = label_pieces(mask & ~found)
    whole = np.bincount(labels[level & upright.T], minlength=len(stats)) == stats[:, 4]
    whole[0] = False
    found |= of_pieces(labels, whole)
    left = stats[~whole, 4][1:]  # specks alone: the line is an l, cut out closely
    return found if left.max(initial=0) > BESIDE * max(largest, another) else np.zeros_like(found)


def _level_lines(mask, aspect):
    """The level ruled lines in (h, w) bool ink, from side to side.

    Returns: (h, w) bool, the lines; the same with the strokes along them; the largest one's area.
    """
    if not (mask[:, :3].any() and mask[:, -3:].any()):
        return np.zeros_like(mask), np.zeros_like(mask), 0
    ink = np.ascontiguousarray(mask, np.uint8)
    found, bands, largest = _lines_along(ink, ink, aspect)
    if found.any():  # dashes are sought beside other lines alone
        joined = _dashes_joined(ink, mask.shape[1] / aspect / 2)
        dashed, more, another = _lines_along(joined, ink, aspect)
        found, bands, largest = found | dashed, bands | more, max(largest, another)
    return found, bands, largest


def _lines_along(joined, ink, aspect):
    """`_level_lines` in (h, w) uint8 ink, where what is `joined` runs from side to side."""
    found, bands, largest = np.zeros(ink.shape, bool), np.zeros(ink.shape, bool), 0
    width = ink.shape[1]
    labels, stats = _runs(joined, max(3, width // 4))
    for k in 1 + np.flatnonzero(stats[1:, 2] > 0.97 * width):
        line = labels == k  # with any stroke that lies along it
        thick = np.median(np.count_nonzero(line, axis=0)) - 4
        if aspect * thick < width:
            thin = line & _shallow(ink, thick)
            largest = max(largest, np.count_nonzero(thin))
            found |= thin
            bands |= line
    return found, bands, largest


def _dashes_joined(ink, thick):
    """(h, w) uint8 ink with the gaps closed between level dashes of up to about `thick` px."""
    gap = max(1, ink.shape[1] // DASHED)
    dashes = _shallow(ink, thick).view(np.uint8)
    return ink | cv2.morphologyEx(dashes, cv2.MORPH_CLOSE, np.ones((1, gap)))


def _runs(ink, least):
    """Labels and stats of level runs of `least` px in (h, w) uint8 ink; each is 4 px too deep."""
    runs = cv2.dilate(ink, np.ones((5, 1)))  # a slanting line goes on in the next row
    return label_pieces(cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((1, least))))


def _shallow(ink, thick):
    """(h, w) bool: where (h, w) uint8 ink is not much deeper than a level line's thickness, px."""
    depth = round(2 * max(1, thick)) + 2
    return (ink > 0) & (cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((depth, 1))) == 0)


def underline(mask):
    """(h, w) bool ink -> (h, w) bool: the line to write on, where a character touches it.

    It extends beyond the character at both sides, and is in its lower half, unlike a T's bar.
    """
    found = np.zeros_like(mask)
    x, _, w, h = box(mask)
    part = mask[:, x : x + w]
    ends = np.hstack([part[:, w // 25 : w // 10], part[:, -(w // 10) : -(w // 25)]])
    counts = np.count_nonzero(ends, axis=0)  # where there are teeth, more
    if w < 25 or counts.min() == 0 or LINE_ASPECT * np.median(counts) > 2 * w:
        return found
    thin = _level_lines(part, LINE_ASPECT)[0]
    labels, stats = label_pieces(part & ~thin)
    beside = teeth(stats)
    kept = ~beside & (stats[:, 4] > SPECK_AREA * stats[1:, 4].max(initial=1))
    kept[0] = False
    if not (thin.any() and kept.any()):
        return found
    (left, top), (right, bottom) = extent(stats, kept)
    side = max(right - left, bottom - top)
    long = w > LONG * side and min(left, w - right) > 0.1 * side
    if (long or beside.any()) and np.flatnonzero(thin.any(axis=1)).max() > (top + bottom) / 2:
        found[:, x : x + w] = thin
    return found


def crossed_frame(mask):
    """(h, w) bool ink -> (h, w) bool: a cell's frame that the character touches or crosses.

    Four thin, straight lines that end at one another or at round corners, or three where a comb is
    open above, with more between them than the bar of a B.
    """
    found = np.zeros_like(mask)
    x, y, w, h = box(mask)
    if min(w, h) < MIN_FRAME:
        return found
    part = mask[y : y + h, x : x + w].view(np.uint8)
    for axis, long, ends in ((1, w, [-1]), (0, h, [1, -1])):  # long lines? Half of all ink has none
        counts = cv2.reduce(part, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        if min(counts[::end][: len(counts) // 3].max() for end in ends) < 0.35 * long:
            return found
    pad = max(w, h) // FRAME_ASPECT + 4  # else _shallow takes ink at the edge for deeper than it is
    part = cv2.copyMakeBorder(part, *[pad] * 4, cv2.BORDER_CONSTANT)
    frame = _frame_crossed(part, w, h, ROUND)
    if frame is None:
        frame = _comb_crossed(part, h, pad)
    if frame is not None:
        found[y : y + h, x : x + w] = frame[pad:-pad, pad:-pad]
    return found


def _comb_crossed(mask, h, pad):
    """`_frame_crossed` of a cell that is open above, as a comb's: a line is drawn there first.

    Args:
        mask: (h', w') uint8 ink, whose box is `h` px high and `pad` px off the edges.
    """
    _, stats = _runs(np.ascontiguousarray(mask.T), h // 3)
    if len(stats) < 3:
        return None
    first, last = stats[:, 1], stats[:, 1] + stats[:, 3]
    sides = [1 + first[1:].argmin(), 1 + last[1:].argmax()]
    left, right, tops = first[sides[0]], last[sides[1]], stats[sides, 0]
    width, height = right - left - 4, pad + h - tops.max()  # runs are 4 px too deep
    if np.ptp(tops) > 0.15 * height or min(width, height) < MIN_FRAME:
        return None
    above = tops.max() - pad
    closed = mask[above:].copy()
    closed[:pad] = 0
    closed[pad : pad + 2, left + 2 : right - 2] = 1
    frame = _frame_crossed(closed, width, height, SQUARE)
    if frame is None:
        return None
    # Between the teeth the base alone is printed: above it is the character, and the line drawn,
    # whose ends above the teeth do no harm.
    frame[: pad + height // 2, left + stats[sides[0], 3] : stats[sides[1], 1]] = False
    return np.vstack([np.zeros(mask[:above].shape, bool), frame])


def _frame_crossed(mask, w, h, corner):
    """`crossed_frame` in (h', w') uint8 ink, whose box is w x h px and off the edges; or None.

    Its corners' radius is at most the share `corner` of its side.
    """
    inks, pairs, runs = [], [], []
    for ink, long in ((mask, w), (mask.T, h)):
        ink = np.ascontiguousarray(ink)
        labels, stats = _runs(ink, long // 2)
        if len(stats) < 3:
            return None
        outer = [1 + stats[1:, 1].argmin(), 1 + (stats[1:, 1] + stats[1:, 3]).argmax()]
        inks.append(ink)
        pairs.append(stats[outer])
        runs.append((labels, outer))
    # The box of each side must reach the corners with the two sides across it, which may be round;
    # most characters end here.
    for own, other in (pairs, pairs[::-1]):
        near, far = other[0, 1] + other[0, 3], other[1, 1]
        reach = corner * (far - near)
        if own[:, 0].max() > near + reach or (own[:, 0] + own[:, 2]).min() < far - reach:
            return None
    bands = [[labels == k for k in outer] for labels, outer in runs]
    sides = [], []
    for two, band, pair in zip(sides, bands, pairs):
        for one in zip(band, pair):
            two.append(_side(*one, corner))
            if two[-1] is None:  # as a rule the first
                return None
    # So must its middle line, or go a little beyond, as with a stroke along it.
    (top, bottom), (left, right) = places = [[middle for middle, _ in pair] for pair in sides]
    ends = [pair[:, [0, 2]].cumsum(axis=1) for pair in pairs]
    beyond = (np.array(ends) - np.array(places)[::-1, None]) * (-1, 1)
    side = min(bottom - top, right - left)
    down, across = (bottom - top) // 4, (right - left) // 4
    reach = corner * side
    middle = mask[top + down : bottom - down, left + across : right - across]  # empty in an O
    if beyond.min() <= -reach or beyond.max() >= 0.3 * side or not middle.any():
        return None
    level, upright = (both[0] | both[1] for both in bands)
    level_thin, upright_thin = (
        _shallow(ink, max(thick for _, thick in pair)) for ink, pair in zip(inks, sides)
    )
    # Where two sides meet, the ink is deep, but no stroke's.
    frame = (mask > 0) & (level & level_thin | (upright & upright_thin).T | level & upright.T)
    labels, stats = label_pieces((mask > 0) & ~frame)
    x, y, wide, high, _ = stats.T
    aside = (x + wide < left + reach) | (x > right - reach)
    at_corners = aside & ((y + high < top + reach) | (y > bottom - reach))
    if high[1:][~at_corners[1:]].max(initial=0) <= FRAMED * side:
        return None
    return frame | of_pieces(labels, at_corners)


def _side(band, stats, corner):
    """Middle row and thickness, px, of a level band, (h, w) bool, if it is a frame's side; or None.

    Only its thinner columns count: a stroke may lie along the rest. Round corners, with a radius of
    the share `corner` of the side, bend its ends.
    """
    x, y, long, high, _ = stats
    rows, columns = np.nonzero(band[y : y + high, x : x + long])
    depths = np.bincount(columns)
    deep = quantile(depths, 0.2)
    if FRAME_ASPECT * (deep - 4) >= long:
        return None
    rows, columns = (places[depths[columns] <= deep] for places in (rows, columns))
    bow = abs(np.polyfit(columns, rows, 2)[0]) * (long / 2) ** 2
    straight = bow < min(MAX_BOW, corner * long / 3)
    return (y + int(np.median(rows)), deep - 4) if straight else None
