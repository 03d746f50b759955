"""Which of all that differs from the paper is the character.

    ink, mask = find_character(strength, floor, spotless)

A dark edge, a form's cell, ruled lines, shadows, printed dots, specks and smudges are left out;
weak ink beside deep ink and the grains of chalk are kept. The numbers were chosen on glyphs drawn
on simulated paper.
"""

import contextlib

import cv2
import numpy as np

from crossed import crossed_frame, lines, underline
from paper import gradient, quantile
from pieces import (
    OTHER_AREA,
    STRAY,
    THIN,
    box,
    cut_by_edges,
    dark_corners,
    edge_artefacts,
    grown,
    label_pieces,
    not_specks,
    of_pieces,
    over,
    stroke_width,
    touching,
)
from printed import LINE_ASPECT, cell, dividers, dots, row_at_edge, text
from shadow import shadows

SOFT = (0.25, 0.75)  # of the ink's level: where coverage 0 and 1 are on a soft edge
SEPARATION = 4.9  # see _stands_out; twice that beside a dark corner
FLUSH = 3  # px, from all edges to a character that is cut out closely, at most
ONE_PEN = 1.4  # one stroke of a pen is at most so many times as thick as another
FRAME_SHARE = 0.6  # of the picture's shorter side: a pale frame smaller than this is not sought
CORNERS = 0.8  # share of the ink in dark corners above which fainter ink is sought elsewhere
SMUDGE = 0.6  # of the main piece's mean strength: paler pieces are smudges, not ink
PALEST = 0.12  # of the ink's level: a paler line on a paint program's paper is no ink
FAINTEST = 0.25  # of the ink's level: weaker ink is hardly told from print that shines through
CLEAN = 0.02  # of the ink's level: on clean paper three pixels in four are weaker than this
# Weak ink on clean paper, and on a paint program's, which is without noise: its least thickness, in
# px at half size; least and most area, as shares of the other ink's; least and most strength, as
# shares of full ink's; least steepness of its rims, as a share of its own strength a px.
WEAK = (2, (0.03, 10), (FAINTEST, 0.5), 0.4)
WEAK_SPOTLESS = (1, (0.004, 30), (0.15, 0.65), 0.35)
OUTLINED = 0.75  # of an outlined letter's width and height: the gap in it has at least this
WINDING = 0.75  # of that gap's convex hull: the gap's area is at most this; an O's is over 0.95
MAX_GRAIN = 7  # px, sides of the closings that join grains: 3, 5, 7
MAX_PIECES = 12  # more than this is texture, not a character


class NoInk(Exception):
    """The picture is blank."""


def find_character(strength, floor, spotless, separation=SEPARATION, grain=3):
    """The pieces that are the character, of all that differs from the paper.

    Args:
        strength: (h, w) float32, how far each pixel is from the paper; overwritten.
        floor: strength below which nothing is ink.
        spotless: whether the picture is a paint program's, whose paper has one level.
        separation: as for `_stands_out`.
        grain: px, side of the closing to try next, where chalk or crayon has left many grains.

    Returns:
        ink: (h, w) float32, coverage in [0, 1], soft at the rims.
        mask: (h, w) bool, the pieces of the character and their soft rims.

    Raises:
        NoInk: there is nothing but paper.
    """
    rim = max(strength.shape) // 50  # what is left of a dark edge's blur
    for _ in range(4):  # a dark edge hides faint ink: without it the threshold is set again
        level = ink_level(strength, floor)
        labels, stats = label_pieces(strength > 0.5 * level)
        artefacts = _artefacts(strength, labels, stats, level, spotless)
        if not artefacts.any():
            break
        strength[grown(artefacts, rim) & ((labels == 0) | artefacts)] = 0
    pieces = not_specks(labels, stats)
    large = stats[:, 4] > STRAY[0] * (stats[:, 4] * pieces).max()
    weaker = _weaker_level(strength, level, of_pieces(labels, pieces & large), spotless)
    if weaker < level:
        level = weaker
        labels, stats = label_pieces(strength > 0.5 * level)
        pieces = not_specks(labels, stats)
    else:
        pieces = _as_deep(strength, labels, stats, pieces)
    kept = of_pieces(labels, pieces)
    if pieces.sum() > MAX_PIECES and grain <= MAX_GRAIN:
        closed = cv2.morphologyEx(strength, cv2.MORPH_CLOSE, np.ones((grain, grain)))
        return find_character(closed, floor, spotless, separation, grain + 2)
    if pieces.sum() > MAX_PIECES or not _stands_out(strength, kept, separation):
        raise NoInk
    corners = dark_corners(labels, stats)
    if stats[pieces & corners, 4].sum() > CORNERS * stats[pieces, 4].sum():  # is there fainter ink?
        rest = np.where(grown(of_pieces(labels, corners), 2 * rim), 0, strength)
        with contextlib.suppress(NoInk):
            ink, mask = find_character(rest, floor, spotless, 2 * SEPARATION)
            if OTHER_AREA * np.count_nonzero(ink[mask] > 0.5) > np.count_nonzero(kept):
                return ink, mask
    ink = np.clip((strength / level - SOFT[0]) / (SOFT[1] - SOFT[0]), 0, 1)
    others = grown((labels > 0) & ~kept, 2)
    return ink, grown(kept, 2) & ~others


def _artefacts(strength, labels, stats, level, spotless):
    """(h, w) bool: what is neither paper nor the character: edges, print, holes, shadows.

    Args:
        strength: (h, w) float32, how far each pixel is from the paper.
        labels, stats: of the pieces of full ink, from `label_pieces`.
        level: the strength of full ink.
        spotless: as for `find_character`.
    """
    # A line or a frame may be paler than the character; no weaker ink is found than this.
    faint = strength > (PALEST if spotless else FAINTEST) * level
    lined = ruled(strength, faint)
    found = cell(labels, stats)
    apart = row_at_edge(stats, labels.shape) | text(stats)
    if apart.any():  # but not what weak ink joins to the rest, as between a brush's overlaps
        parts, stats_of_parts = label_pieces(faint)
        rest = (labels > 0) & ~of_pieces(labels, apart)
        joined = touching(parts, stats_of_parts, rest)
        apart[labels[of_pieces(parts, joined)]] = False
    artefacts = lined | of_pieces(labels, found | apart)
    if not spotless:  # a paint program's coats are no shadows
        artefacts |= shadows(strength, labels, stats, level, ~found)
    edges = edge_artefacts(labels, stats)
    if lined.any():  # a thin piece from edge to edge may be a line and a character on it
        parts, stats_of_parts = label_pieces((labels > 0) & ~lined)
        artefacts |= of_pieces(parts, edge_artefacts(parts, stats_of_parts))
        between, stats_between = label_pieces(faint & ~lined)
        artefacts |= of_pieces(between, dividers(stats_between, lined))
        edges &= (stats[:, 2:4] > THIN * np.array(labels.shape[::-1])).all(axis=1)
    artefacts |= of_pieces(labels, edges)
    if min(box(faint)[2:]) > FRAME_SHARE * min(faint.shape):
        paler, stats_of_paler = label_pieces(faint)
        artefacts |= of_pieces(paler, cell(paler, stats_of_paler))
    # Printed dots, however pale: on a paint program's paper they would count as weak ink.
    _, _, (weakest, _), _ = WEAK_SPOTLESS if spotless else WEAK
    palest, stats_of_palest = label_pieces(strength > 0.5 * weakest * level)
    return artefacts | of_pieces(palest, dots(stats_of_palest))


def filled(ink):
    """Fills an outlined letter: bubble writing, or a marker's stroke as a scanning app shows it.

    Such a letter has one gap between its outlines, nearly as large as the letter, which winds or
    goes around a loop. A letter of plain strokes may have as large a gap, but a round one.

    Args:
        ink: (h, w) float32, coverage in [0, 1], cut out closely.

    Returns:
        (h, w) float32; `ink` itself where it is no such letter.
    """
    height, width = ink.shape
    solid = (ink > 0.5).view(np.uint8)
    outlines, tree = cv2.findContours(solid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for k, outline in enumerate(outlines):
        _, _, w, h = cv2.boundingRect(outline)
        if tree[0, k, 3] < 0 or w < OUTLINED * width or h < OUTLINED * height:
            continue  # not a gap, or a small one
        inside = cv2.drawContours(np.zeros_like(solid), [outline], 0, 1, cv2.FILLED)
        rim = cv2.drawContours(np.zeros_like(solid), [outline], 0, 1) > 0
        labels, stats = label_pieces(inside & ~solid)
        # Not the hole within an O's inner outline, which may be larger.
        gap = np.argmax(stats[:, 4] * touching(labels, stats, grown(rim, 1) & (labels > 0)))
        if stats[gap, 4] < WINDING * cv2.contourArea(cv2.convexHull(outline)):
            return np.maximum(ink, grown(labels == gap, 1))
    return ink


def ruled(strength, faint, aspect=LINE_ASPECT):
    """(h, w) bool: the ruled lines in `faint`, (h, w) bool, without strokes that lie on them."""
    frame = crossed_frame(faint)
    found = lines(faint, aspect) | underline(faint) | frame
    if frame.any():  # a practice cell has lines within it, too
        x, y, w, h = box(frame)
        edge = round(stroke_width(frame)) + 2
        inside = slice(y + edge, y + h - edge), slice(x + edge, x + w - edge)
        found[inside] |= lines(faint[inside] & ~frame[inside], aspect)
    if found.any() and not _are_strokes(found, faint):
        return found & (strength < 2 * np.median(strength[found]))
    return np.zeros_like(found)


def _are_strokes(lined, ink):
    """Whether what seems ruled are the straight strokes of a character that is cut out flush.

    It touches all edges of the picture, they do not, and they are as thick as its other ink.

    Args:
        lined, ink: (h, w) bool, what seems ruled and all ink.
    """
    cut = [cut_by_edges(np.array([[*box(part), 0]]), ink.shape, FLUSH) for part in (ink, lined)]
    rest = ink & ~lined
    if not cut[0].all() or cut[1].all() or not rest.any():
        return False
    return 1 / ONE_PEN < stroke_width(lined) / stroke_width(rest) < ONE_PEN


def ink_level(strength, floor):
    """The strength of full ink: the mean above Otsu's threshold, of what is above `floor`."""
    values = strength[strength > floor]
    if values.size == 0:
        raise NoInk
    top = values.max()
    binned = (values * (255 / top)).astype(np.uint8)
    threshold, _ = cv2.threshold(binned, 0, 255, cv2.THRESH_OTSU)
    return values[values > threshold * top / 255].mean()


def _as_deep(strength, labels, stats, pieces):
    """(n,) bool: those of `pieces`, (n,) bool, about as deep as the main one, and its dots.

    Paler ones are an eraser's smudges. A dot may be pale: it is small, and the picture soft.
    """
    numbers = np.flatnonzero(pieces)
    if len(numbers) < 2:
        return pieces
    depths = np.zeros(len(pieces))
    depths[numbers] = [strength[labels == k].mean() for k in numbers]
    main = np.argmax(depths * stats[:, 4])
    return pieces & ((depths > SMUDGE * depths[main]) | over(stats, main))


def _weaker_level(strength, level, kept, spotless):
    """The level of weaker ink: a half-transparent brush beside its overlaps, a paler colour.

    Such ink is on clean paper, adjoins the other ink or, in a paint program's picture, is its dot,
    touches no edge, is thicker than a ruled line and has sharp rims, unlike shadows and print that
    shines through.

    Args:
        strength: (h, w) float32, how far each pixel is from the paper.
        level: the strength of full ink.
        kept: (h, w) bool, the character's large pieces of full ink.
        spotless: as for `find_character`.

    Returns:
        The weaker level, or `level` where there is no such ink.
    """
    paper = strength[::5, ::5]
    paper = paper[paper <= FAINTEST * level]
    if len(paper) == 0 or quantile(paper, 0.75) > CLEAN * level:
        return level
    spotless = spotless and quantile(paper, 0.9) < CLEAN / 10 * level
    thickness, areas, strengths, steepness = WEAK_SPOTLESS if spotless else WEAK
    half, kept = (np.ascontiguousarray(values[::2, ::2]) for values in (strength, kept))
    least, most = (share * level for share in strengths)
    weak = (half > least) & ~grown(half > most, 2)  # beyond soft rims
    weak = cv2.erode(weak.view(np.uint8), np.ones((thickness, thickness)))
    if not weak.any():  # as a rule
        return level
    labels, stats = label_pieces(weak)
    area = stats[:, 4]
    found = (area > areas[0] * kept.sum()) & (area < areas[1] * kept.sum())
    found &= ~cut_by_edges(stats, half.shape).any(axis=0)
    found[0] = False
    beside = touching(labels, stats, grown(kept, 4))
    if spotless:  # an i's dot
        beside |= over(np.vstack([stats, [*box(kept), kept.sum()]]), len(stats))[:-1]
    if not (found & beside).any():
        return level
    weaker = quantile(half[of_pieces(labels, found)], 0.5)
    rim = (strength > 0.5 * weaker) & grown(strength <= 0.5 * weaker, 1)
    rim &= ~grown(strength > most, 3)
    steps = gradient(strength)[rim]
    return weaker if len(steps) and quantile(steps, 0.5) > steepness * weaker else level


def _stands_out(strength, ink, separation):
    """Whether `ink`, (h, w) bool, is more than the strongest bits of the paper's own texture.

    Its mean strength must be `separation` times the paper's root mean square.
    """
    paper = (~grown(ink, 3)).view(np.uint8)
    count = cv2.countNonZero(paper)
    if count == 0:
        return False
    noise = np.sqrt(cv2.norm(strength, cv2.NORM_L2SQR, paper) / count)  # quicker than numpy's
    return cv2.mean(strength, ink.view(np.uint8))[0] > separation * noise
