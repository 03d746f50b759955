"""The shadow of a hand or a phone: taken from the ink's strength, told from ink by its soft rims.

    strength = without_shadow(strength, level, unit)
    soft = shadows(strength, labels, stats, level, unprinted)

The numbers were chosen on glyphs drawn on simulated paper.
"""

import cv2
import numpy as np

from paper import SHADOW_WINDOW, gradient, quantile, square
from pieces import along_edges, cut_by_edges, grown, label_pieces, of_pieces, touching

STEEP = 0.45  # of the rise at a rim within 9 px: at the rim of ink 3 px have more
VEIL = 0.1  # of the ink's level: a shadow has more
DEEPEST = 1.4  # times a shadow's median depth: what is deeper is ink in it
SHARP_RIMS = 0.2  # pixels at sharp rims to one of the longer side: a character has more
ACROSS = 0.1  # of the longer side: what crosses a shadow's rim is less than half as wide
SOFT_SHARE = 0.4  # of a wide part's rims that are sharp: ink has more
SHARP_SHARE = 0.3  # of a piece's rims that are sharp: ink has more, a shadow less
END = (0.1, 0.75)  # the same, and of the ink's strength, for a shadow's end that touches no edge
OFF = 8  # px, off other pieces: farther than their soft rims


def without_shadow(strength, level, unit):
    """Takes from the ink's strength what the shadow of a hand or a phone across it adds.

    The rims of ink are sharp, those of a shadow are not. One that comes in from the edge and is
    wider than a stroke goes first. Then, on the paler side of a sharp rim is paper, shaded or not;
    the shadow elsewhere is interpolated from these places.

    Args:
        strength: (h, w) float32, how far each pixel is from the paper.
        level: the strength of full ink.
        unit: int, pixels of `strength` to one of the picture's, where that was enlarged.

    Returns:
        (h, w) float32; `strength` itself where no wide shadow comes in, and the paper is even
        beside nine rims in ten.
    """
    strength = _without_wide_shadows(strength, level, unit)
    flecks = square(4 * unit + 1)  # in mottled ink, beside whose rims is ink
    closed = cv2.morphologyEx(strength, cv2.MORPH_CLOSE, flecks)
    sharp = _sharp_rims(closed, 0.4 * level, unit)
    paler = cv2.erode(strength, square(8 * unit + 1))
    if np.count_nonzero(paler[sharp] > 0.1 * level) <= 0.1 * np.count_nonzero(sharp):
        return strength
    size = [max(1, n // 4) for n in strength.shape[::-1]]
    known, weight = (
        cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        for values in (sharp * paler, sharp.astype(np.float32))
    )
    near, far = (
        [cv2.GaussianBlur(values, (0, 0), sigma) for values in (known, weight)]
        for sigma in (1.5, 12)
    )
    veil = (near[0] + 1e-3 * far[0]) / (near[1] + 1e-3 * far[1] + 1e-12)
    return np.maximum(strength - cv2.resize(veil, strength.shape[::-1]), 0)


def _without_wide_shadows(strength, level, unit):
    """Takes off what comes in from the edge, wider than a stroke and with soft rims.

    Only where there are sharp rims, too. Arguments and result as of `without_shadow`.
    """
    side = max(strength.shape)
    window = square(SHADOW_WINDOW * side)
    # Most pictures end here: what is as wide as the window is half as wide at an edge, at least.
    if np.count_nonzero(along_edges(strength) > VEIL * level) < len(window) / 2:
        return strength
    wide = cv2.morphologyEx(strength, cv2.MORPH_OPEN, window)
    labels, stats = label_pieces(wide > VEIL * level)
    cut = 1 + np.flatnonzero(cut_by_edges(stats[1:], labels.shape).any(axis=0))
    if not len(cut):
        return strength
    if np.count_nonzero(_sharp_rims(strength, 0.25 * level, unit)) < SHARP_RIMS * side:
        return strength
    plain = _without_thin(strength, round(ACROSS * side) | 1)  # rims as if nothing crossed them
    sharp = grown(_sharp_rims(plain, VEIL * level, unit), 2)
    for k in cut:
        part = labels == k
        depth = quantile(wide[part], 0.5)
        inside = plain > depth / 2
        rims = grown(part, 5 * unit) & inside & grown(~inside, 1)
        if np.count_nonzero(rims & sharp) < SOFT_SHARE * np.count_nonzero(rims):
            veil = np.minimum(wide, DEEPEST * depth)
            # Dark ink absorbs a share of the light: the less there is, the less deep it seems.
            lit = np.maximum(strength - veil, 0) * (255 / np.maximum(255 - veil, 64))
            strength = np.where(grown(part, 4 * unit), lit, strength)
    return strength


def _without_thin(strength, window):
    """(h, w) float32, 0 or more: what is thinner than half the window, in px, light or dark, goes.

    A median leaves straight rims as sharp or as soft as they are.
    """
    scale = 255 / max(strength.max(), 1)  # OpenCV's medians of so many pixels are of bytes alone
    return cv2.medianBlur((strength * scale).astype(np.uint8), window) / np.float32(scale)


def shadows(strength, labels, stats, level, unprinted):
    """(h, w) bool: what comes in from the edge with soft rims, beside ink with sharp ones.

    So is what lies within the picture and is paler besides: the end of such a shadow. All of it
    goes that is off the other pieces: where a shadow is cut off it has a sharp rim, as weak ink.

    Args:
        strength, level: as for `without_shadow`.
        labels, stats: of the pieces in `strength`, from `label_pieces`.
        unprinted: (n,) bool, those that may be ink by hand.
    """
    nothing = np.zeros(labels.shape, bool)
    large = stats[:, 2:4].max(axis=1) > max(labels.shape) / 8
    large[0] = False
    if np.count_nonzero(large) < 2:
        return nothing
    inside = ~cut_by_edges(stats, labels.shape).any(axis=0)
    if not (large & inside).any():
        return nothing
    sharp = _sharp_rims(strength, 0.25 * level, 1)
    rims = grown(labels == 0, 2)  # of the pieces, of which each is counted
    counts = [np.bincount(labels[some], minlength=len(stats)) for some in (rims, rims & sharp)]
    share = counts[1] / counts[0]
    ink = large & inside & unprinted & (share >= SHARP_SHARE)
    if not ink.any():
        return nothing
    depths = np.bincount(labels.ravel(), strength.ravel()) / stats[:, 4]
    ends = (share < END[0]) & (depths < END[1] * depths[ink].max())
    found = of_pieces(labels, large & np.where(inside, ends, share < SHARP_SHARE))
    if not found.any():
        return nothing
    parts, stats_of_parts = label_pieces(strength > VEIL * level)
    whole = of_pieces(parts, touching(parts, stats_of_parts, found))
    return found | whole & ~grown((labels > 0) & ~found, OFF)


def _sharp_rims(strength, least, unit):
    """Where the strength of ink, (h, w) float32, rises as steeply as at the rims of ink.

    Returns:
        (h, w) bool, where it rises by more than `least` within 9 px of the picture, and by STEEP of
        that within 3.
    """
    rise = gradient(strength, 4 * unit)
    return (rise > least) & (gradient(strength, unit) > STEEP * rise)
