"""Where the ink is: a picture in, the character's pieces out.

    coverage, mask = find_ink(picture)

Ink is what differs from the local background, in colour, by more than the paper's own noise; the
desk around a sheet is left out. character.py decides which of the ink is the character. The numbers
were chosen on glyphs drawn on simulated paper.
"""

import contextlib

import cv2
import numpy as np

from character import NoInk, find_character, ink_level, ruled
from paper import (
    MIN_CONTRAST,
    has_highlighter,
    ink_side,
    light_on,
    margin_of,
    quantile,
    without_ink,
)
from pieces import box, grown, label_pieces, of_pieces, touching
from shadow import without_shadow
from sheet import SHEET_SIDE, find_canvas, find_cell, find_note, find_sheet, find_slip
from sun import in_even_light

BILEVEL = 0.95  # share of the pixels near black or white: a bilevel scan has more
DOTTED = 0.6  # share of a page's parts, 16 across and down, that have dots in them, at least
DOTS_BLUR = 1.2, 2.0  # px, standard deviations of the Gaussians that make grey of such dots
WORK_MIN, WORK_MAX = 192, 256  # px, longer side of the picture while ink is sought
GLYPH_MIN = 64  # px, longer side of a glyph: around a smaller one it is looked again, enlarged
SPOTLESS = 0.4  # share of the pixels that equal their neighbours and have one level: it has more
SMALL = 2  # from this scale on a picture is small: its soft rims are not told from sharp ones
BACKGROUND_SIDE = 96  # px, longer side of the picture when its background is estimated
BEYOND = 0.6  # share of the ink on a sheet: less of it that goes on beyond is left out
NEAR_ASPECT = 8  # as LINE_ASPECT, in the part of a page around a character, whose strokes end in it
NOISE_FACTOR = 6.0  # standard deviations of the paper's noise: less than this is not ink
ALIKE = 0.1  # of the widest channel's range: a channel that adds less is left out


def find_ink(picture):
    """Finds the character in a picture; a small one on a large page is looked at twice.

    Args:
        picture: (height, width, 3) uint8, BGR; any size, ink of any colour on any ground.

    Returns:
        coverage: (h, w) float32 in [0, 1], how much of each pixel is ink, soft at the rims.
        mask: (h, w) bool, the pieces of the character and their soft rims.
        Both are of the picture, or of the part of it around the character, at another scale.

    Raises:
        NoInk: nothing on it.
    """
    step = max(3, max(picture.shape) // 200)
    some = picture[::step, ::step, 1]
    if ((some < 32) | (some > 223)).mean() < BILEVEL:
        return _find_once(picture)
    # In a scan or a fax black dots may stand for grey, and hide the ink.
    small, large = DOTS_BLUR
    with contextlib.suppress(NoInk):
        dotted = _is_dotted(picture)
        return _find_once(cv2.GaussianBlur(picture, (0, 0), small) if dotted else picture)
    return _find_once(cv2.GaussianBlur(picture, (0, 0), large))


def _is_dotted(picture):
    """Whether there are dots all over a picture, where strokes, even of one pixel, are not.

    Black ones or white ones, less than three pixels across.
    """
    light = cv2.threshold(cv2.extractChannel(picture, 1), 127, 255, cv2.THRESH_BINARY)[1]
    dots = light ^ cv2.medianBlur(light, 3)
    if cv2.countNonZero(dots) < dots.size / 64:  # as a rule; and the rest takes 0.3 ms
        return False
    return (cv2.resize(dots, (16, 16), interpolation=cv2.INTER_AREA) > 0).mean() > DOTTED


def _find_once(picture):
    """`find_ink`, of the picture as it is."""
    rescaled = work, scale, spotless = _rescaled(picture)
    if spotless and scale < 1:
        canvas = find_canvas(cv2.extractChannel(work, 1))
        if canvas is not None:
            left, top, right, bottom = (round(n / scale) for n in canvas)
            picture = picture[top:bottom, left:right]
            rescaled = _rescaled(picture)
    return _find_on_paper(picture, *rescaled)


def _find_on_paper(picture, work, scale, spotless):
    """`find_ink`, of a picture without an app's bars; the rest is from `_rescaled`."""
    sheet = _sheet(work) if scale < SMALL else None
    found = None if sheet is None else _on_sheet(work, scale, spotless, sheet)
    if found is None:
        margin = margin_of(picture)
        if margin is not None:  # once at most; the edges of a sheet may be seen then too
            wider = cv2.copyMakeBorder(picture, *margin)
            return _find_on_paper(wider, *_rescaled(wider))
        sheet = None
        if scale >= SMALL or spotless:  # a cut-out may touch its edges; a paint program has no sun
            found = _find_ink(work, scale, spotless)
        else:
            shade, found = in_even_light(work, lambda work: _find_ink(work, scale, spotless))
            picture = picture if shade is None else np.minimum(picture, np.uint8(shade))
    if max(box(found[1])[2:]) < GLYPH_MIN:  # a small glyph on a large page: look again, from near
        return _look_closer(picture, *found, sheet, spotless)
    return found


def _rescaled(picture):
    """The picture at the size at which ink is sought in it.

    Enlarged smoothly: the grey rims of a 30 px photograph carry its shape.

    Returns:
        work: (h, w, 3) float32, BGR in [0, 255]; longer side between WORK_MIN and WORK_MAX pixels.
        scale: its longer side divided by the picture's; above 1 where it was enlarged.
        spotless: whether it is a paint program's picture, whose paper has one level: in a smooth
            photograph, too, many pixels equal their neighbours.
    """
    side = max(picture.shape[:2])
    scale = min(max(side, WORK_MIN), WORK_MAX) / side
    work = resized(picture, scale)
    some = work[::5, :, 1]
    even = some[:, 1:][np.abs(np.diff(some, axis=1)) < 0.01].clip(0, 255).round()
    most = np.bincount(even.astype(np.uint8), minlength=1).max()
    return work, scale, most > SPOTLESS * some.size


def resized(picture, scale):
    """The picture as float32, enlarged smoothly (cubic) or reduced by averaging areas."""
    if scale == 1:
        return picture.astype(np.float32)
    height, width = picture.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if scale > 1:
        return cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    # Halving is quick: 12 megapixels take 6 ms, not 34. It may cost a row or column at the rim.
    while 2 * size[0] <= picture.shape[1] and 2 * size[1] <= picture.shape[0]:
        height, width = (n // 2 for n in picture.shape[:2])
        even = picture[: 2 * height, : 2 * width]
        picture = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
    # Reducing in float32 takes three quarters of the time.
    return cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _look_closer(picture, ink, mask, sheet, spotless):
    """`_find_ink` around what was found, enlarged, with enough margin to see the paper there.

    Args:
        picture: (height, width, 3) uint8, BGR.
        ink, mask: from `_find_ink`; returned where a closer look finds nothing.
        sheet: from `_sheet`.
        spotless: from `_rescaled`.
    """
    scale = max(picture.shape[:2]) / max(mask.shape)  # work px -> picture px
    near = mask
    if spotless:  # a brush's weak coats are not seen as such in so thin strokes
        labels, stats = label_pieces(ink > 0)
        near = mask | of_pieces(labels, touching(labels, stats, mask & (ink > 0)))
    x, y, w, h = box(near)
    margin = 0.5 * max(w, h)
    left, top = (max(0, int((v - margin) * scale)) for v in (x, y))
    right, bottom = int((x + w + margin) * scale) + 1, int((y + h + margin) * scale) + 1
    part = picture[top:bottom, left:right]
    x0, y0, x1, y1 = (round(v / scale) for v in (left, top, right, bottom))
    near = grown(near, 2)[y0:y1, x0:x1].view(np.uint8)
    work, scale, spotless = _rescaled(part)
    if sheet is not None:
        work = _without_desk(work, sheet[y0:y1, x0:x1])
    try:
        return _find_ink(work, scale, spotless, near)
    except NoInk:
        return ink, mask


def _sheet(work):
    """(h, w) uint8: 1 on the sheet of paper; None where the picture does not show its edges."""
    small = resized(work, SHEET_SIDE / max(work.shape))
    inside = find_sheet(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY))
    if inside is None:  # a slip on something lighter is darker in at least one channel
        blue, green, red = cv2.split(small)  # numpy's min over three takes six times as long
        least = cv2.min(cv2.min(blue, green), red)
        inside = find_slip(255 - least)
        if inside is None:  # a form's white cell in a pale colour
            inside = find_cell(least)
        if inside is None:
            inside = find_note(small)
    if inside is None or not inside.any():
        return None
    return cv2.resize(inside, work.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _on_sheet(work, scale, spotless, sheet):
    """`_find_ink` on the sheet alone; None where it is blank, or the ink goes on beyond it.

    Ink near the sheet's edge is looked at again with more of the edge in `sheet`, which is
    overwritten. What still goes on beyond a sheet on something darker is left out where it is not
    most of the ink: a bit of the desk, a shadow's end.
    """
    first = None
    for _ in range(2):
        try:
            ink, mask = _find_ink(_without_desk(work, sheet), scale, spotless, sheet)
        except NoInk:
            return None
        beyond = mask & (sheet == 0)
        if not beyond.any():
            return ink, mask
        first = first or (ink, mask, beyond, _is_lighter(work, sheet))
        sheet[grown(sheet > 0, max(sheet.shape) // SHEET_SIDE)] = 1
    ink, mask, beyond, on_darker = first
    labels, stats = label_pieces(mask)
    beyond = of_pieces(labels, touching(labels, stats, beyond))
    return (ink, mask & ~beyond) if on_darker and beyond.sum() < BEYOND * mask.sum() else None


def _is_lighter(work, sheet):
    """Whether a sheet is lighter than what it lies on; a slip is not, nor is a shadow."""
    return sum(cv2.mean(work, sheet)) > sum(cv2.mean(work, 1 - sheet))


def _without_desk(work, sheet):
    """`work` with paper wherever `sheet`, (h', w') uint8 of any size, is 0.

    With the nearest of the paper around a sheet on something darker: so ruled lines and shadows go
    on to the picture's edge, by which they are told from ink. Else with the paper's colour.
    """
    sheet = cv2.resize(sheet, work.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    inside = sheet > 0
    if not _is_lighter(work, sheet):
        return np.where(inside[..., None], work, np.median(work[inside], axis=0))
    # Of the pixels inside each has a number, all others have that of the nearest.
    _, nearest = cv2.distanceTransformWithLabels(
        1 - sheet, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.empty((nearest.max() + 1, 3), np.float32)
    colours[nearest[inside]] = work[inside]
    return colours[nearest]


def _find_ink(work, scale, spotless, where=None):
    """Finds the character.

    Args:
        work, scale, spotless: from `_rescaled`.
        where: (h', w') uint8 of any size, 1 where ink may be, or None for everywhere.

    Returns:
        ink: (h, w) float32, coverage in [0, 1], soft at the rims.
        mask: (h, w) bool, the pieces of the character and their soft rims.

    Raises:
        NoInk: none of it is ink.
    """
    channels = _channels(work)
    informative = _informative(channels, ALIKE)
    if has_highlighter([flat for _, flat, _ in channels]):
        lightest = work.max(axis=2)  # in which a highlighter's colour is not seen
        work = cv2.merge([lightest] * 3)
        informative = channels = _channels(work)[:1]
    try:
        return _find_in_channels(work, scale, spotless, where, informative)
    except NoInk:  # unless its colour is faint, and something at the edge is much deeper
        every = _informative(channels, 0)
        if len(every) == len(informative):
            raise
        return _find_in_channels(work, scale, spotless, where, every)


def _find_in_channels(work, scale, spotless, where, channels):
    """`_find_ink` in some of the channels, as `_channels` gives them."""
    strength, noise = _ink_strength(work, scale, channels)
    floor = max(MIN_CONTRAST, NOISE_FACTOR * noise)
    if where is not None:
        # Ruled lines go first: they are told from strokes only while they run from edge to edge.
        faint = strength > 0.25 * ink_level(strength, floor)
        strength[grown(ruled(strength, faint, NEAR_ASPECT), 1)] = 0
    if scale < SMALL and not spotless:  # a paint program's coats are no shadows
        strength = without_shadow(strength, ink_level(strength, floor), max(1, round(scale)))
    if where is not None:
        strength *= cv2.resize(where, work.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return find_character(strength, floor, spotless)


def _channels(work):
    """The colour channels made small: list of (number, flat, light).

    number: of the channel, 0 to 2: blue, green, red.
    flat: (h, w) float32, the channel in even light.
    light: (h, w) float32, what was subtracted from it for that.
    """
    small = resized(work, BACKGROUND_SIDE / max(work.shape))
    smalls = cv2.split(cv2.blur(small, (3, 3)))  # each in one piece of memory: numpy is faster
    lights = [light_on(small) for small in smalls]
    return [(k, small - light, light) for k, (small, light) in enumerate(zip(smalls, lights))]


def _ink_strength(work, scale, channels):
    """How far each pixel is from its local background, towards the ink's colour.

    Args:
        work, scale: from `_rescaled`.
        channels: from `_channels`; the deepest counts: blue for yellow ink on white.

    Returns:
        strength: (h, w) float32, 0 on paper, in grey levels of evenly lit paper.
        noise: standard deviation of the strength on paper.
    """
    height, width = work.shape[:2]
    strength = np.zeros((height, width), np.float32)
    for k, flat, light in channels:
        plane = cv2.extractChannel(work, k)
        sign = ink_side(flat, light, plane if scale < SMALL else None)
        paper = without_ink(sign * flat, scale < SMALL) + sign * light
        paper = cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)
        ink = sign * plane - paper
        if sign < 0:  # dark ink absorbs a share of the light, the same share in a shadow
            ink *= 255 / np.maximum(-paper, 64)
        np.maximum(strength, ink, out=strength)
    if scale <= 1:  # not smooth yet, as an enlarged one is
        strength = cv2.GaussianBlur(strength, (0, 0), 0.8)
    sample = strength[::3, ::3].ravel()
    # Both are of paper where less than two thirds are ink. They lie 1.12 (no ink) to 1.38 (40 %
    # ink) standard deviations of the paper apart.
    low, middle = (quantile(sample, share) for share in (0.05, 0.3))
    noise = (middle - low) / 1.25
    strength -= middle
    return np.maximum(strength, 0, out=strength), noise


def _informative(channels, alike):
    """The channel with the widest range, and those that add something to it.

    One channel tells all of ink of one colour on paper of one colour, and of anything grey; what
    another adds weakly would not count as ink beside it. Of pictures of 200 to 600 px, 1.4 channels
    are used on average, not 2.8, in three quarters of the time.

    Args:
        channels: from `_channels`.
        alike: share of the widest range; a channel that adds no more than this is left out.

    Returns:
        Some of `channels`.
    """
    centred = [flat.ravel() - flat.mean() for _, flat, _ in channels]
    ranges = [np.ptp(values) for values in centred]
    first = int(np.argmax(ranges))
    widest, square = centred[first], max(centred[first] @ centred[first], 1e-6)
    added = [np.ptp(c - (c @ widest / square) * widest) for c in centred]
    added[first] = np.inf
    return [channel for channel, more in zip(channels, added) if more > alike * ranges[first]]
