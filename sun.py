"""The sun that shines on the paper through blinds or leaves, in patches.

    shade, found = in_even_light(work, find)

A character is in few pieces and within the picture; patches of light and shade are neither.
"""

import contextlib
import itertools

import cv2
import numpy as np

from character import NoInk
from paper import dark_levels, quantile
from pieces import cut_by_edges, cut_off, grown, label_pieces

SHADES = 2  # how many colours of paper in the shade are tried
DARKEST = 0.03  # share of the pixels between two levels that are darker than paper in the shade
TIDY = 2  # pieces of a character that touches no edge: with more, other light is tried
AS_DARK = 0.05  # of the contrast of ink and lit paper: what is less than that above ink is ink
LACKING = 0.05  # of a character's area: it does not lack more ink than that


def in_even_light(work, find):
    """`find`, again where what it finds seems to be no character, with lit paper made darker.

    Lit paper is made as dark as paper in the shade. What is found then is taken if it is in fewer
    pieces, touches no edge, and lacks nothing that is as dark as its own ink: a part of a character
    is in few pieces, too.

    Args:
        work: (h, w, 3) float32, BGR in [0, 255].
        find: function of `work` -> (ink, mask) as `ink.find_ink`; may raise NoInk.

    Returns:
        shade: (3,) float, BGR, to which lit paper was darkened; None where it was not.
        found: from `find`.

    Raises:
        NoInk: nothing on it in any light.
    """
    shade, found, parts = None, None, np.inf
    with contextlib.suppress(NoInk):
        found = find(work)
        pieces, edges = _pieces_and_edges(found[1])
        parts = pieces + 2 * edges
    for darker in _shades(work) if parts > TIDY else ():
        with contextlib.suppress(NoInk):
            again = find(np.minimum(work, np.float32(darker)))
            pieces, edges = _pieces_and_edges(again[1])
            better = not edges and pieces < parts
            if better and not (found and _lacks_ink(work, again[1], found[1])):
                shade, found, parts = darker, again, pieces
        if parts <= TIDY:
            break
    if found is None:
        raise NoInk
    return shade, found


def _shades(work):
    """Yields colours, (3,) BGR, that paper in the shade may have: a light one, then a dark one."""
    grey = cv2.cvtColor(cv2.blur(work, (3, 3)), cv2.COLOR_BGR2GRAY).astype(np.uint8)
    for lit, dark in itertools.pairwise(dark_levels(grey, 1 + SHADES)):
        between = work[(grey > dark) & (grey <= lit)]
        if len(between):
            yield np.quantile(between, DARKEST, axis=0)


def _lacks_ink(work, mask, all_ink):
    """Whether a mask, (h, w) bool, lacks pixels of another one that are as dark as its own."""
    grey = cv2.cvtColor(work, cv2.COLOR_BGR2GRAY)
    ink, paper = np.median(grey[mask]), quantile(grey.ravel(), 0.9)
    lacking = all_ink & ~grown(mask, 2) & (grey < ink + AS_DARK * (paper - ink))
    return np.count_nonzero(lacking) > LACKING * np.count_nonzero(mask)


def _pieces_and_edges(mask):
    """How many pieces a mask, (h, w) bool, has, and how many of the picture's edges they touch.

    Parts of neighbours, fingers and pens do not count: they are left out afterwards.
    """
    labels, stats = label_pieces(mask)
    kept = ~cut_off(labels, stats)
    kept[0] = False
    edges = cut_by_edges(stats[kept], mask.shape, 1).any(axis=1)
    return np.count_nonzero(kept), np.count_nonzero(edges)
