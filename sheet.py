"""Where the sheet of paper is in a picture that also shows the desk under it, or an app's bars.

    inside = find_sheet(grey)
    left, top, right, bottom = find_canvas(grey)

A sheet is a light, convex region with straight, sharp sides on something darker, such as a page on
a desk; a note is one of another colour. What lies around it is neither paper nor ink.
"""

import cv2
import numpy as np

from paper import dark_levels, gradient, quantile
from pieces import along_edges, box, grown, label_pieces, of_pieces, touching

SHEET_SIDE = 64  # px, longer side of the picture in which a sheet is sought
MIN_STEP = 40.0  # grey levels of 255 between the sheet and what it lies on, at least
SHARP = 0.35  # of that step: an edge of the sheet takes more within two pixels
SHARE = (0.12, 0.985)  # of the picture's area: the sheet's is between
MIN_PALE_STEP, MIN_CELL = 20.0, 0.04  # MIN_STEP and SHARE[0] for a white cell, a coloured note
MIN_SLIP_STEP = 6.0  # MIN_STEP for a slip on something lighter
SLIP_CUT = 0.3  # of the picture's edges: a pale slip takes less, a page's shaded part more
SHADOW = 0.3  # of a slip's longer side: the shadow along its edges is longer
WHITE = 0.98  # quantile of the picture's pixels that is as light as the cell
CONVEX = 0.93  # of its convex hull's area: the sheet fills more
STRAIGHT = 0.87  # of that area: a polygon of few corners fills more; six in an ellipse 0.83
CORNERS = 6  # of that polygon, at most; the picture's own corners may cut off some
AROUND = 0.5  # of what is around the sheet: more is dark
SHOWN = 0.06  # of the sheet's step: in a letter's hole the ground shows, at most this much off
ROUND = 0.85  # of its holes' convex hulls: a letter's holes fill more, writing less
BAR = (2.0, 64.0)  # grey levels between an app's bar and its canvas, at least and at most
BAR_SHARE = 0.6  # of the pixels in a bar's row or column: more are of its one level


def find_canvas(grey):
    """Finds a drawing between the bars of an app, in a picture of its whole window or screen.

    A bar runs along a whole edge, is even, a little lighter or darker than the canvas, and thicker
    than a line. What is between it and the edge, a title or a frame, is cut off with it.

    Args:
        grey: (h, w) float32 in [0, 255], of a paint program's picture, whose paper has one level.

    Returns:
        (left, top, right, bottom) in px of `grey`, or None where there are no bars.
    """
    canvas = quantile(grey[::8, ::8].ravel(), 0.5)
    found = []
    for lines in (grey.T[:, ::16], grey[:, ::16]):  # columns, rows
        level = np.median(lines, axis=1)
        even = (abs(lines - level[:, None]) < 1).mean(axis=1) > BAR_SHARE
        step = abs(level - canvas)
        bar = even & (step > BAR[0]) & (step < BAR[1])
        bar &= (abs(lines[:, [0, -1]] - canvas) > 1).all(axis=1)  # a straight stroke is not so long
        thick = np.ones((1, max(grey.shape) // 40), np.uint8)
        third, plain = len(bar) // 3, even & (step < 1)
        # Closed over the outlines of icons, but not over what is between ruled lines.
        bar = cv2.morphologyEx(bar.astype(np.uint8)[None], cv2.MORPH_CLOSE, thick) & ~plain
        bar = cv2.morphologyEx(bar, cv2.MORPH_OPEN, thick)[0] > 0
        # The canvas begins at the bar's sharp edge, or beyond a line there; a shadow's end is soft.
        first = [n + 3 for n in np.flatnonzero(bar[:third]) if plain[n + 3]]
        last = [n - 2 for n in np.flatnonzero(bar) if n >= len(bar) - third and plain[n - 3]]
        found.append((max(first, default=0), min(last, default=len(bar))))
    (left, right), (top, bottom) = found
    whole = (left, top, right, bottom) == (0, 0, *grey.shape[::-1])
    return None if whole else (left, top, right, bottom)


def find_sheet(grey):
    """Finds a sheet of paper on something darker.

    Args:
        grey: (h, w) float32 in [0, 255], the picture's longer side being SHEET_SIDE.

    Returns:
        (h, w) uint8, 1 well inside the sheet; None where there is none or it fills the picture.
    """
    grey = cv2.blur(grey, (3, 3))
    for level in dark_levels(grey.astype(np.uint8), 2):  # paper in a shadow may be darker
        inside = _inside(grey, (grey > level).astype(np.uint8), None, MIN_STEP, SHARE[0])
        if inside is not None:
            break
    return inside


def find_cell(grey):
    """`find_sheet` for a form's white cell in a pale colour, which is along the picture's edges.

    Otsu's threshold would not tell the two apart: it lies between them and the ink.
    """
    grey = cv2.blur(grey, (3, 3))
    ground = quantile(along_edges(grey), 0.5)
    white = quantile(grey.ravel(), WHITE)
    if white - ground < MIN_PALE_STEP:
        return None
    light = (grey > (ground + white) / 2).astype(np.uint8)
    return _inside(grey, light, None, MIN_PALE_STEP, MIN_CELL)


def find_note(picture):
    """`find_sheet` for a note of another colour than its ground's, be it as light as that.

    Light and shadow leave a colour on one line with black: what is far from the ground's line is
    the note, but not its shadow. Writing on it is not as the ground, which is seen in a letter.

    Args:
        picture: (h, w, 3) float32, BGR in [0, 255], the longer side being SHEET_SIDE.
    """
    smooth = cv2.blur(picture, (3, 3))
    ground = np.median(along_edges(smooth), axis=0)
    line = ground / max(1, np.linalg.norm(ground))
    beside = cv2.transform(smooth, np.eye(3) - np.outer(line, line))
    beside = np.sqrt(np.einsum("ijk,ijk->ij", beside, beside))  # a fifth of numpy's norm's time
    coloured = beside[beside > MIN_PALE_STEP]
    if len(coloured) < MIN_CELL * beside.size:
        return None
    light = (beside > quantile(coloured, 0.5) / 2).astype(np.uint8)
    unlike = (abs(picture - ground).max(axis=2) > MIN_PALE_STEP).astype(np.uint8)
    return _inside(beside, light, unlike, MIN_PALE_STEP, MIN_CELL)


def find_slip(grey):
    """`find_sheet` for the negative of a slip on something lighter, such as a scanner's lid.

    The slip may be hardly darker than that; what is darker still is ink on it, or the shadow along
    its edges, which is left out.
    """
    grey = cv2.blur(grey, (3, 3))
    ground = quantile(along_edges(grey), 0.5)
    more = grey[grey > ground + MIN_SLIP_STEP / 2]
    if len(more) < SHARE[0] * grey.size:  # as a rule: nothing but ink
        return None
    slip = quantile(more, 0.5)
    half = (slip - ground) / 2
    light = (grey > ground + half).astype(np.uint8)
    if slip - ground < MIN_STEP and along_edges(light).mean() > SLIP_CUT:
        return None
    # Nearly all of it must be light, the ink too, so that a letter with a hole is not taken for it.
    inside = _inside(np.minimum(grey, slip), light, light, MIN_SLIP_STEP, SHARE[0])
    if inside is None:
        return None
    inside = cv2.dilate(inside, np.ones((3, 3)))  # without the shadow a smaller margin will do
    band, rim = ((cv2.erode(inside, np.ones([n] * 2)) == 0) & (inside > 0) for n in (5, 3))
    labels, stats = label_pieces((grey > slip + half) & band)
    shadow = touching(labels, stats, rim)  # an i's dot at the edge is shorter
    shadow &= stats[:, 2:4].max(axis=1) > SHADOW * max(box(inside)[2:])
    shadow[0] = False
    return inside & ~grown(of_pieces(labels, shadow), 1)


def _inside(grey, light, solid, least_step, least_share):
    """The largest light region, where it is a sheet: (h, w) uint8, 1 well inside it; or None.

    Args:
        grey: (h, w) float32 in [0, 255], blurred.
        light: (h, w) uint8, 1 where the sheet may be.
        solid: (h, w) uint8, 1 where the sheet or the writing on it may be, unless that winds, as no
            letter's hole does; None for everywhere.
        least_step, least_share: as MIN_STEP and SHARE[0].
    """
    outlines, _ = cv2.findContours(light, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea, default=())
    if len(outline) < 3:
        return None
    filled = cv2.drawContours(np.zeros_like(light), [outline], 0, 1, cv2.FILLED)
    written_on = solid is None or not _has_round_holes(light, filled)
    sheet = filled if written_on else filled & solid
    corners = cv2.convexHull(outline)
    hull = cv2.fillConvexPoly(np.zeros_like(light), corners, 1)
    polygon = cv2.approxPolyDP(corners, 0.02 * cv2.arcLength(corners, True), True)
    around = hull == 0
    ground = around & (light == 0)
    if not (
        least_share < hull.mean() < SHARE[1]
        and sheet.sum() > CONVEX * hull.sum()
        and len(polygon) <= CORNERS
        and cv2.contourArea(polygon) > STRAIGHT * cv2.contourArea(corners)
        and ground.sum() > AROUND * around.sum()
    ):
        return None
    step = grey[~around & (light > 0)].mean() - grey[ground].mean()
    edge = ~around & grown(around, 1)
    if step < least_step or np.median(gradient(grey)[edge]) < SHARP * step:
        return None
    if _is_letter(grey, light, filled, np.median(grey[ground]), SHOWN * step):
        return None
    return cv2.erode(hull, np.ones((5, 5)))  # nothing is taken off at the picture's own edges


def _has_round_holes(light, filled):
    """Whether there are holes in a light region, and all are convex, as a letter's are.

    Args:
        light, filled: as for `_is_letter`.
    """
    holes, hulls = filled & (1 - light), np.zeros_like(light)
    for hole in cv2.findContours(holes, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]:
        cv2.fillConvexPoly(hulls, cv2.convexHull(hole), 1)
    return holes.any() and holes.sum() >= ROUND * hulls.sum()


def _is_letter(grey, light, filled, ground, most):
    """Whether a light region is a letter such as a D: one stroke's width around convex holes.

    Args:
        grey, light: as for `_inside`.
        filled: (h, w) uint8, 1 in the region and its holes.
        ground: the level of what is around it; in the holes of a letter it shows.
        most: how far the darkest in the holes may be from that.
    """
    if not _has_round_holes(light, filled):
        return False
    holes = filled & (1 - light)
    if abs(grey[holes > 0].min() - ground) > most:
        return False
    rims = (holes & cv2.dilate(light, None)) > 0
    widths = cv2.distanceTransform(filled, cv2.DIST_L2, 5)[rims]
    return quantile(widths, 0.9) < 1.25 * quantile(widths, 0.1) + 1
