"""The paper under the ink: how the light falls on it, its level.

    light = light_on(channel)
    sign = ink_side(channel - light, light, None)
    paper = sign * without_ink(sign * (channel - light), large=True) + light

Nearly all functions work on one channel of the picture made small, (h, w) float32 in [0, 255]. The
numbers were chosen on glyphs drawn on simulated paper.
"""

import cv2
import numpy as np

from pieces import SPECK_AREA, along_edges, cut_by_edges, grown, label_pieces

RIM_WEIGHT = 0.4  # of the vote on the paper's level; 0 would suit little ink, 1 no dark edges
BACKGROUND_WINDOW = 0.55  # of the picture's side: wider than any stroke, narrower than a shadow
SHADOW_WINDOW = 0.12  # of that side, too: wider than a pen's stroke
SHARP = 0.25  # of a wide part's depth: its rim is a shadow's if it rises less over 2 % of the side
SHARP_AT_EDGE = 0.35  # as SHARP, at nearly all of the rim of a part that the picture's edge cuts
EVEN = 0.6  # share of a note's area within a quarter of its median level; a lamp's light has less
TWO_LEVELS = 0.55  # share of a glyph cut out closely that is like its paper or its ink, at least
LESSER_LEVEL, GREATER_LEVEL = 0.1, 0.8  # share that each of the two has, at least and at most
RIM_LEVEL = 1.2  # times as much of the rim as the ink's level has is the paper's, at least
UNCUT = 0.25  # of the ink of such a glyph: no more is in pieces that touch no side
WIDE = 0.05  # of the longer side: the strokes of such a glyph are wider, ruled lines are not
COLOURED = 70.0  # grey levels between a highlighter's lightest and darkest channel, at least
MIN_CONTRAST = 10.0  # grey levels of 255: less than this is never ink


def without_ink(channel, large):
    """The paper under light ink: (h, w) float32 -> the same, its narrow light parts cut off.

    Narrow is what BACKGROUND_WINDOW does not fit into. In a `large` picture, where soft rims are
    told from sharp ones, parts wider than SHADOW_WINDOW with soft rims belong to the paper too:
    they are shadows, not brush strokes.
    """
    side = max(min(channel.shape), 0.6 * max(channel.shape))  # a flush l is all stroke sideways
    wide = cv2.morphologyEx(channel, cv2.MORPH_OPEN, square(BACKGROUND_WINDOW * side))
    _level_blots(wide, channel)
    if not large:
        return wide
    narrow = cv2.morphologyEx(channel, cv2.MORPH_OPEN, square(SHADOW_WINDOW * side))
    depth = narrow - wide  # what is wider than SHADOW_WINDOW
    steps = gradient(narrow)
    labels, stats = label_pieces(depth > MIN_CONTRAST / 2)
    for k in range(1, len(stats)):
        part = labels == k
        deep = part & (depth > depth[part].max() / 2)  # without a lamp's light around it
        if along_edges(deep).any() and _least_step(channel, wide, depth, deep) < SHARP_AT_EDGE:
            continue
        near = grown(part, 4)
        if quantile(steps[near], 0.95) <= SHARP * np.ptp(narrow[near]):
            rim, near = grown(deep, 1) & grown(~deep, 1), grown(deep, 4)
            if quantile(steps[rim], 0.7) <= SHARP * np.ptp(narrow[near]):
                continue
        narrow[near] = wide[near]
    return narrow


def _least_step(channel, wide, depth, deep):
    """The step between neighbours that nearly all of a wide part's rim has, in units of its depth.

    Strokes that cross the rim rise more, but have less of it.

    Args:
        channel, wide, depth: (h, w) float32, as in `without_ink`.
        deep: (h, w) bool, the part.
    """
    level = quantile(depth[deep], 0.5)
    inside = channel - wide > level / 2
    rim = grown(deep, 3) & inside & grown(~inside, 1)
    return quantile(gradient(channel)[rim], 0.3) / level if rim.any() else np.inf


def _level_blots(wide, channel):
    """Levels `wide` where it follows a blot of ink: a brush so fat that it fills the loops.

    A blot touches no edge, and nothing is written on it, unlike a coloured note.

    Args:
        wide: (h, w) float32, the paper that `without_ink` has found; overwritten.
        channel: (h, w) float32, what it was found in.
    """
    base = quantile(along_edges(wide), 0.5)
    labels, stats = label_pieces(wide > base + MIN_CONTRAST)
    whole = ~cut_by_edges(stats[1:], wide.shape).any(axis=0)
    for k in 1 + np.flatnonzero(whole):
        part = labels == k
        depth = quantile(wide[part], 0.5) - base
        inside = part & (wide > base + 0.9 * depth)
        if quantile((channel - wide)[inside], 0.95) < MIN_CONTRAST:
            wide[part] = base


def margin_of(picture):
    """The paper to add around a glyph cut out closely, in which there may be more ink than paper.

    Added only where most pixels have one of two levels, on the rim too, which has clearly more of
    the paper's; the other touches all four sides, in strokes wider than ruled lines, and nearly all
    of it does: what a desk or a frame at the sides leaves free is a whole character. The green
    channel stands for all.

    Args:
        picture: (height, width, 3) uint8, BGR.

    Returns:
        What follows the picture in a call of `cv2.copyMakeBorder`; None where none is needed.
    """
    height, width = picture.shape[:2]
    step = max(1, min(height, width) // 64)
    some = picture[::step, ::step, 1].astype(np.float32)
    levels = [quantile(some.ravel(), share) for share in (0.02, 0.98)]
    around = (levels[1] - levels[0]) / 4
    shares = [np.count_nonzero(abs(some - level) < around) / some.size for level in levels]
    if sum(shares) < TWO_LEVELS or min(shares) < LESSER_LEVEL or max(shares) > GREATER_LEVEL:
        return None
    rim = along_edges(picture)
    parts = [abs(rim[:, 1] - level) < around for level in levels]
    counts = [np.count_nonzero(part) for part in parts]
    paper = int(np.argmax(counts))
    strokes = abs(some - levels[paper]) > 2 * around
    if (
        sum(counts) < TWO_LEVELS * len(rim)
        or counts[paper] < RIM_LEVEL * counts[1 - paper]
        or not _wide(strokes)
        or not _touch_all_sides(strokes)
    ):
        return None
    colour = np.median(rim[parts[paper]], axis=0).tolist()
    return *[max(2, max(height, width) // 20)] * 4, cv2.BORDER_CONSTANT, None, colour


def _touch_all_sides(strokes):
    """Whether (h, w) bool strokes touch all four sides, and nearly all of them touch one.

    The first pixels of a soft rim are like paper: a few may be missing.
    """
    stats = label_pieces(strokes)[1][1:]
    touch, area = cut_by_edges(stats, strokes.shape, 1 + max(strokes.shape) // 50), stats[:, 4]
    large = area > SPECK_AREA * area.max()
    uncut = area[~touch.any(axis=0)].sum()
    return touch[:, large].any(axis=1).all() and uncut <= UNCUT * area.sum()


def _wide(strokes):
    """Whether strokes, (h, w) bool, are as wide as a pen's in a glyph cut out closely, on average.

    Measured across or down, whichever is less.
    """
    runs = [
        np.count_nonzero(some[0]) + np.count_nonzero(some[1:] & ~some[:-1])
        for some in (strokes, strokes.T)
    ]
    return np.count_nonzero(strokes) > WIDE * max(strokes.shape) * max(runs)


def has_highlighter(channels):
    """Whether a highlighter's stripe lies on the ink, or a coloured tile like one under it.

    It is wide, oblong, coloured, and in its lightest channel as light as the paper, so that ink
    shows dark in it. A fat brush's stroke has no such ink in it, a filled outline all around it.

    Args:
        channels: list of (h, w) float32, in even light.
    """
    lightest = cv2.max(cv2.max(*channels[:2]), channels[2])
    colour = lightest - cv2.min(cv2.min(*channels[:2]), channels[2])
    if np.ptp(colour[::3, ::3]) < COLOURED:  # nearly always
        return False
    paper = quantile(colour[::3, ::3].ravel(), 0.5)
    if paper > COLOURED / 2:  # on it a fat brush may be as light, in another channel
        return False
    colour -= paper
    dark = lightest < quantile(lightest[::3, ::3].ravel(), 0.5) - COLOURED / 4
    stripe = (colour > 0.5 * quantile(colour[::3, ::3].ravel(), 0.98)) & ~dark
    if not stripe.any():
        return False
    level = quantile(colour[stripe], 0.5)
    stripe &= abs(colour - level) < level / 4  # strokes in two colours are not even
    kernel = square(SHADOW_WINDOW * max(dark.shape))
    wide = cv2.morphologyEx(stripe.view(np.uint8), cv2.MORPH_CLOSE, kernel)
    inside = cv2.morphologyEx(wide, cv2.MORPH_OPEN, kernel) > 0
    area, inked = np.count_nonzero(inside), np.count_nonzero(dark & inside)
    if inked <= 0.01 * area or np.count_nonzero(stripe & inside) < 0.4 * area:
        return False
    rim = grown(inside, 3) & ~inside
    places = np.argwhere(inside).astype(np.float32)
    return (
        np.count_nonzero((stripe | dark) & inside) > 0.7 * area
        and np.count_nonzero(dark & rim) < 0.45 * np.count_nonzero(rim)
        and area > 0.7 * np.prod(cv2.minAreaRect(places)[1])
    )


def light_on(channel):
    """How the light falls off across the paper: (h, w) float32 -> the same shape, a plane.

    The slopes are medians of differences over a quarter of the picture, which neither ink nor the
    edge of a shadow moves.
    """
    down, across = (
        _slope(values) * np.arange(len(values), dtype=np.float32) for values in (channel, channel.T)
    )
    return down[:, None] + across[None, :]


def _slope(values):
    """The median rise from row to row of (n, m) values, measured over a quarter of the rows.

    In each third column: of a blurred picture the others tell the same, and take 5 % of the time
    of a cut-out.
    """
    lag = max(1, len(values) // 4)
    rises = values[lag:, ::3] - values[:-lag, ::3]
    return quantile(rises.ravel(order="K"), 0.5) / lag if rises.size else np.float32(0)


def ink_side(flat, light, plane):
    """On which side of the paper's level the ink is: 1 for lighter than the paper, -1 for darker.

    The paper's level is the majority's, where the picture's rim has RIM_WEIGHT of the votes: a fat
    glyph cut out flush covers more than half of the rest.

    Args:
        flat: (h, w) float32, a channel in even light.
        light: (h, w) float32, what was taken from the channel for that.
        plane: (height, width) float32, the same channel at full size, where a thin stroke keeps
            its full depth; None where the picture is not large.
    """
    flat, light = flat[::2, ::2], light[::2, ::2]
    rim = np.ones(flat.shape, bool)
    rim[1:-1, 1:-1] = False
    share = rim.mean()
    vote = np.where(rim, RIM_WEIGHT / share, (1 - RIM_WEIGHT) / max(1 - share, 1e-6)).ravel()
    paper = _weighted_median(flat.ravel(), vote)
    if plane is None:
        return _vote(flat, flat, flat, paper)
    size, around = flat.shape[::-1], np.ones((5, 5))
    darkest, lightest = (
        cv2.resize(pool(plane, around), size, interpolation=cv2.INTER_NEAREST) - light
        for pool in (cv2.erode, cv2.dilate)
    )
    sign = _vote(flat, darkest, lightest, paper)
    lamp = _soft_parts(flat - paper) - _soft_parts(paper - flat)
    if lamp.any():  # a lamp's light or a shadow may have won the vote: again without both
        sign = _vote(flat - lamp, darkest - lamp, lightest - lamp, paper)
    return sign


def _vote(flat, darkest, lightest, paper):
    """1 where more of the picture is lighter than paper than darker, by sums of cubes; else -1.

    Only what differs from both the paper's level and the local median counts.

    Args:
        flat, darkest, lightest: (h, w) float32, the channel and its extremes around each pixel.
        paper: the paper's level.
    """
    local = flat[::2, ::2].clip(0, 255).astype(np.uint8)
    window = int(BACKGROUND_WINDOW * max(local.shape)) | 1
    half = window // 2  # mirrored there, so that a dark edge stays the minority
    local = cv2.copyMakeBorder(local, half, half, half, half, cv2.BORDER_REFLECT)
    local = cv2.medianBlur(local, window)[half:-half, half:-half]
    local = cv2.resize(local, flat.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    over = (lightest - np.maximum(paper, local)).clip(0)
    under = (np.minimum(paper, local) - darkest).clip(0)
    # Products are ten times as fast as a power.
    return 1 if (over * over * over).sum() > (under * under * under).sum() else -1


def _soft_parts(flat):
    """(h, w) float32: `flat` in its wide parts above 0 that have soft rims; 0 elsewhere.

    A coloured note is none, though its sharp edge is a small step beside a dark character on it:
    where most of a part is even, as no lamp's light is, the rims of its even level count too.
    """
    kernel = square(SHADOW_WINDOW * max(flat.shape))
    wide = cv2.morphologyEx(flat, cv2.MORPH_CLOSE, kernel)  # as if no strokes crossed it
    wide = cv2.morphologyEx(wide, cv2.MORPH_OPEN, kernel).clip(0)
    steps = gradient(wide)
    # Above a tenth: squared paper lifts everything a little, and would make it all one part.
    labels, stats = label_pieces(wide > max(MIN_CONTRAST / 2, wide.max() / 10))
    soft = np.zeros_like(flat)
    for k in range(1, len(stats)):
        part = grown(labels == k, 2)
        depth = np.ptp(wide[part])
        if quantile(steps[part], 0.95) > 2 * SHARP * depth:  # over 4 % here
            continue
        inside = wide[labels == k]
        level = quantile(inside, 0.5)
        if (np.abs(inside - level) < level / 4).mean() > EVEN:
            ground = gradient(np.minimum(wide, 1.5 * level))
            if quantile(ground[part], 0.95) > 2 * SHARP * 1.5 * level:
                continue
        soft[part] = wide[part]
    return soft


def square(side):
    """A kernel of about `side` px across and down."""
    return np.ones([round(side)] * 2)


def gradient(values, radius=1):
    """(h, w) values -> the same shape: the largest less the least within `radius` px, a square."""
    return cv2.morphologyEx(values, cv2.MORPH_GRADIENT, None, iterations=radius)


def quantile(values, share):
    """The quantile `share`, in [0, 1], of (n,) values: the nearest one; faster than numpy's own."""
    place = round(share * (len(values) - 1))
    # The place is given twice: with one, numpy 2 takes 3 to 30 times as long, a tenth of the time
    # of a 400 px picture.
    return np.partition(values, [place, place])[place]


def dark_levels(grey, count):
    """Otsu's threshold of (h, w) uint8, then that of what is not above it, and so on: `count`."""
    for _ in range(count):
        level, _ = cv2.threshold(grey, 0, 1, cv2.THRESH_OTSU)
        yield level
        grey = grey[grey <= level]
        if not len(grey):
            return


def _weighted_median(values, weights):
    """The weighted median, to a quarter of a grey level; sorting would take ten times as long."""
    lowest = values.min()
    counts = np.bincount(np.rint(4 * (values - lowest)).astype(np.intp), weights)
    sums = np.cumsum(counts)
    return np.float32(lowest + np.searchsorted(sums, sums[-1] / 2) / 4)
