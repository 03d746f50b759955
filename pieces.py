"""What a piece of ink is: part of an edge, a speck, the dot of an i, part of a neighbour.

    labels, stats = label_pieces(mask)
    character = not_specks(labels, stats)

A piece is a connected region of ink; what it is, its place, size and thickness tell. The numbers
were chosen on glyphs drawn on simulated paper.
"""

import cv2
import numpy as np

SPECK_AREA = 0.01  # of the largest piece's area: a smaller piece is dirt
# A small piece is dirt where it is far off: below STRAY[0] of the largest one's area, more than
# STRAY[1] of the character's longer side away; so far off a larger one is dirt too, below ASIDE[0]
# of that area and ASIDE[1] of that piece's longer side.
STRAY, ASIDE = (0.08, 0.3), (0.3, 0.4)
STEM = 1.5  # of its height: the stroke of an i's or a j's main piece is shorter
APART = 0.05  # of a character's longer side: the gap beside it to a neighbour is larger
FAR = 0.3  # of a character's longer side: only its dot is so far away
WHOLE = 0.7  # of the height of all the ink: a character beside parts of others has more
THICK = 2  # times a character's stroke width: a finger is thicker, its other strokes are not
OTHER_AREA = 3  # times the rest's area: a piece at the edge that is smaller is an artefact
THIN = 0.15  # of the picture's width or height: a line from edge to edge takes less of the other
# A pen on the page: its least length in a character's longer sides and in its own widths, and the
# least share of its box along it that it fills.
ROD = (1.5, 4, 0.75)
SOLID = 0.3  # of its box's area: a dark corner fills more, an L or a C cut out flush less


def label_pieces(mask):
    """Labels (h, w) int, 0 outside, and stats (n, 5): x, y, w, h, area of each piece."""
    if not mask.any():  # one time in five
        height, width = mask.shape
        return np.zeros(mask.shape, np.uint16), np.int32([[0, 0, width, height, mask.size]])
    # On one core this labels 144x192 px in 50 us; with int32 it takes 67, with OpenCV's default
    # algorithm 120. Four pixels in a square are of one piece: in 500x500 px there are fewer than
    # 2**16 pieces.
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        mask.view(np.uint8), 8, cv2.CV_16U, cv2.CCL_BBDT
    )
    return labels, stats


def of_pieces(labels, found):
    """(h, w) bool: the pixels of those pieces that are `found`, (n,) bool."""
    numbers = np.flatnonzero(found)
    if len(numbers) > 1:
        return found[labels]
    # Usually one or none is found: comparing 192x256 px takes 5 us, looking them up 70.
    return labels == (numbers[0] if len(numbers) else -1)


def touching(labels, stats, where):
    """(n,) bool: pieces, or the ground between them, that have a pixel in `where`, (h, w) bool."""
    return np.bincount(labels[where], minlength=len(stats)) > 0


def edge_artefacts(labels, stats):
    """(n,) bool: pieces that are a dark photo border, a form's cell or a ruled line.

    One that could as well be a character cut out flush is only dropped when there is something
    else.
    """
    surely, perhaps = _at_edges(labels, stats)
    height, width = labels.shape
    _, _, w, h, area = stats.T
    rest = ~surely & ~perhaps & (np.maximum(w, h) > 0.04 * max(height, width))
    rest[0] = False
    # The stem of a j cut out flush must not go because its dot remains, a tenth of its area.
    largest = area[rest].max(initial=0)
    long = (w > 0.9 * width) | (h > 0.9 * height)
    return surely | (perhaps & (area < np.where(long, 200, OTHER_AREA) * largest))


def dark_corners(labels, stats):
    """(n,) bool: pieces at the edges that are solid; an I or l cut out flush may be one."""
    _, _, w, h, area = stats.T
    return np.logical_or(*_at_edges(labels, stats)) & (area > SOLID * w * h)


def _at_edges(labels, stats):
    """Thin pieces along an edge or across the whole picture.

    Returns:
        surely, perhaps: (n,) bool each, those that must be artefacts and those that may be.
    """
    height, width = labels.shape
    _, _, w, h, area = stats.T
    rim = along_edges(labels)
    if not rim.any():  # as a rule
        return np.zeros((2, len(stats)), bool)
    contact = np.bincount(rim, minlength=len(stats))
    hugs = (contact > 0.5 * (w + h)) & (area < 0.25 * min(height, width) * (w + h))
    across = (w == width) & (h < THIN * height)
    down = (h == height) & (w < THIN * width)
    side = hugs & (((w == width) & (h < 0.25 * height)) | ((h == height) & (w < 0.25 * width)))
    surely, perhaps = across | side, hugs | down
    surely[0] = perhaps[0] = False
    return surely, perhaps


def not_specks(labels, stats):
    """(n,) bool: pieces that belong to the character, as the dots of i and j do."""
    area = stats[:, 4].astype(np.float64)
    area[0] = 0
    main = area.argmax()
    kept = area >= SPECK_AREA * area[main]
    sides = stats[:, 2:4].max(axis=1)
    small = kept & (area < STRAY[0] * area[main])
    if not cut_by_edges(stats, labels.shape)[:, main].any():  # the main piece is no shadow
        small |= kept & (area < ASIDE[0] * area[main]) & (sides < ASIDE[1] * sides[main])
    if small.any():
        # A hasty hand sets dots farther off, and makes dashes of them; a staple is thinner.
        dots = over(stats, main, aside=0.6, high=1.5) & (area > 0.2 * sides**2)
        near, before = kept & ~small, 0
        while np.count_nonzero(near) > before:  # from piece to piece along a stroke with gaps
            before = np.count_nonzero(near)
            gaps, side = _gaps(stats, near)
            near |= small & (gaps.max(axis=0) <= STRAY[1] * side)
        far = small & ~near
        several = np.count_nonzero(far & dots) > 1  # an i has one dot: these are a screen's icons
        if (far & dots).any() and area[main] > STEM * stats[main, 3] * stroke_width(labels == main):
            dots &= over(stats, main)  # so far over no stem: a screen's clock, a printed number
        kept &= ~(far & (several | ~dots))
    kept[0] = False
    return kept


def cut_off(labels, stats):
    """(n,) bool: pieces that the picture's edge cuts off, beside a whole character.

    They are parts of its neighbours, or of a shadow with a hard edge. Since strokes of one
    character may be as far apart as two characters, the whole one must be larger than any part,
    and about as high as all together. A finger or a pen on the page is farther off, and may be
    larger; a pen may also be near. What three edges cut off is one character in pieces, cut out
    flush.
    """
    _, y, _, h, area = stats.T
    cut = cut_by_edges(stats, labels.shape)
    whole = ~cut.any(axis=0)
    if whole[1:].all() or not whole[1:].any():  # as a rule all are whole
        return np.zeros(len(stats), bool)
    whole[0] = False
    main = np.argmax(whole * area)
    gaps, side = _gaps(stats, [main])
    high = (y + h)[1:].max() - y[1:].min()
    found = (gaps[0] > APART * side) & (area < area[main]) & (h[main] > WHOLE * high)
    if cut[:, 1:].any(axis=1).sum() < 3:
        # Not from box to box: a slanting pen's overlaps the character's.
        off = cv2.distanceTransform((~of_pieces(labels, whole)).view(np.uint8), cv2.DIST_L2, 5)
        parts = 1 + np.flatnonzero(~whole[1:])
        apart = np.zeros(len(stats))
        apart[parts] = [off[labels == k].min() for k in parts]
        far = apart > FAR * side
        dots = over(stats, main) & (stats[:, 2:4].max(axis=1) < ASIDE[1] * side)
        found |= far & (area < OTHER_AREA * area[main]) & ~dots
        beside = apart > APART * side
        for k in np.flatnonzero(beside & ~found):
            found[k] = _is_rod(labels == k, side)
        perhaps = np.flatnonzero(beside & ~found & ~dots)
        if len(perhaps):  # seldom: the widths of strokes cost a tenth of a conversion
            width = stroke_width(labels == main)
            if side > 2 * THICK * width:  # no dot, no speck beside a fat character
                found[perhaps] = [stroke_width(labels == k) > THICK * width for k in perhaps]
    return found & ~whole


def _is_rod(piece, side):
    """Whether a piece, (h, w) bool, is a pen beside a character whose longer side is `side` px."""
    places = np.argwhere(piece).astype(np.float32)
    thick, long = sorted(1 + np.array(cv2.minAreaRect(places)[1]))
    straight = len(places) > ROD[2] * long * thick
    return straight and long > max(ROD[0] * side, ROD[1] * thick) and side > 2 * thick


def cut_by_edges(stats, shape, within=0):
    """(4, n) bool: pieces that the left, upper, right, lower edge of an (h, w) picture cut off.

    One that ends `within` px of an edge counts, too.
    """
    x, y, w, h, _ = stats.T
    return np.array([x, y, shape[1] - x - w, shape[0] - y - h]) <= within


def along_edges(values):
    """What lies along the four edges of an (h, w[, 3]) picture: (n[, 3]), the corners twice."""
    return np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])


def over(stats, main, aside=0.25, high=0.6):
    """(n,) bool: pieces above piece `main`, as the dot of an i is.

    Args:
        stats: of the pieces, from `label_pieces`.
        main: number of the piece.
        aside, high: heights of it that another is beside and above it at most.
    """
    x, y, w, h, _ = stats.T.astype(np.float64)
    across = abs(x + w / 2 - x[main] - w[main] / 2)
    gap = y[main] - y - h
    return (across < w[main] / 2 + aside * h[main]) & (gap >= 0) & (gap < high * h[main])


def _gaps(stats, some):
    """Gaps between each piece's box and the box around `some`.

    Returns:
        gaps: (2, n), across and down; negative where they overlap.
        side: the longer side of the box around `some`.
    """
    first, last = (corner[:, None] for corner in extent(stats, some))
    low = stats.T[:2]
    return np.maximum(first - low - stats.T[2:4], low - last), (last - first).max()


def corners_of(stats):
    """The upper left and the lower right corner of each piece's box: (n, 2) each."""
    low = stats[:, :2]
    return low, low + stats[:, 2:4]


def extent(stats, some):
    """The box around the pieces `some`: its upper left and its lower right corner, (2,) each."""
    low, high = corners_of(stats[some])
    return low.min(axis=0), high.max(axis=0)


def size_of(stats, some):
    """(2,): width and height of the box around the pieces `some`."""
    first, last = extent(stats, some)
    return last - first


def stroke_width(mask):
    """Mean width in px of a bool image's strokes: four times the mean depth, as in a strip."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    return 4 * float(depth[padded > 0].mean() - 0.5)


def grown(mask, radius):
    """A bool image, grown by `radius` pixels in every direction (a square)."""
    return cv2.dilate(mask.view(np.uint8), None, iterations=radius).view(bool)


def box(mask):
    """x, y, width, height of the box around what is true in a bool image."""
    return cv2.boundingRect(mask.view(np.uint8))
