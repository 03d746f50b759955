"""picture.py: bad files are named in one line, and one glyph gives one image however it is shown.

    python -m pytest tests/test_picture.py

Every picture is drawn here, from pen strokes given as lines; nothing is read from elsewhere.
"""

import functools
import os
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import picture
from picture import PictureError, convert, decode, read_picture, to_emnist
from sheet import find_sheet

# --------------------------------------------------------------------------------- drawn glyphs


def _arc(cx, cy, rx, ry, start, end):
    t = np.radians(np.linspace(start, end, 40))
    return [(cx + rx * np.cos(a), cy + ry * np.sin(a)) for a in t]


STROKES = {  # in units of the height, y down
    "2": [[*_arc(0.32, 0.28, 0.3, 0.28, 190, 380), (0, 1), (0.65, 1)]],
    "5": [[(0.55, 0), (0.1, 0), (0.06, 0.45), *_arc(0.27, 0.68, 0.3, 0.32, -130, 130)]],
    "8": [_arc(0.3, 0.25, 0.25, 0.25, 0, 360), _arc(0.3, 0.75, 0.3, 0.25, 0, 360)],
    "E": [[(0.6, 0), (0, 0), (0, 1), (0.6, 1)], [(0, 0.48), (0.5, 0.48)]],
    "H": [[(0, 0), (0, 1)], [(0.65, 0), (0.65, 1)], [(0, 0.5), (0.65, 0.5)]],
    "K": [[(0, 0), (0, 1)], [(0.6, 0), (0.05, 0.55), (0.65, 1)]],
    "a": [_arc(0.35, 0.5, 0.33, 0.4, 0, 360), [(0.68, 0.1), (0.7, 0.75), (0.85, 0.92)]],
    "e": [[(0.05, 0.5), (0.7, 0.5), *_arc(0.37, 0.5, 0.34, 0.45, -10, -320)]],
    "g": [
        _arc(0.3, 0.3, 0.27, 0.28, 0, 360),
        [(0.57, 0.05), (0.57, 0.8), *_arc(0.3, 0.78, 0.27, 0.2, 0, 150)],
    ],
    "i": [[(0.1, 0.33), (0.1, 1)], [(0.1, 0.02), (0.101, 0.03)]],
    "j": [
        [(0.3, 0.3), (0.3, 0.8), *_arc(0.15, 0.82, 0.15, 0.16, 0, 140)],
        [(0.3, 0.02), (0.301, 0.03)],
    ],
}
GLYPHS = sorted(STROKES)


def draw(character, side, width=3.0):
    """(h, w) float32 coverage; longer side of the ink `side` px, strokes width / 22 of it."""
    fine = max(1, round(400 / side))  # drawn larger and reduced: smooth rims at any size
    size, pen = side * fine, width / 22 * side * fine
    strokes = [np.array(points, float) for points in STROKES[character]]
    points = np.vstack(strokes)
    unit, origin = (size - pen) / np.ptp(points, axis=0).max(), points.min(axis=0)
    pad = int(pen / 2) + 2 * fine
    right, bottom = (np.ptp(points, axis=0) * unit + 2 * pad).astype(int) + 1
    mask = np.zeros((bottom + -bottom % fine, right + -right % fine), np.uint8)
    for stroke in strokes:
        line = np.round(((stroke - origin) * unit + pad) * 16).astype(np.int32)
        cv2.polylines(mask, [line], False, 255, max(1, round(pen)), cv2.LINE_AA, shift=4)
    small = mask.shape[1] // fine, mask.shape[0] // fine
    return cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def place(coverage, height, width, top=None, left=None):
    """`coverage` on an empty (height, width) sheet, in the middle unless told."""
    h, w = coverage.shape
    top = (height - h) // 2 if top is None else top
    left = (width - w) // 2 if left is None else left
    sheet = np.zeros((height, width), np.float32)
    sheet[top : top + h, left : left + w] = coverage
    return sheet


def paint(coverage, ink=(40, 40, 40), paper=(235, 235, 235)):
    """(h, w) coverage -> (h, w, 3) float32, BGR."""
    c = coverage[..., None]
    return np.float32(paper) * (1 - c) + np.float32(ink) * c


def photograph(colours, seed=0, noise=4.0, shade=0.0):
    """(h, w, 3) float32 -> uint8, with grain and light that falls off by `shade`."""
    rng = np.random.default_rng(seed)
    height, width = colours.shape[:2]
    light = 1 - shade * (np.linspace(0, 1, width) + np.linspace(0, 1, height)[:, None]) / 2
    grain = noise * rng.standard_normal((height, width, 1))
    return np.clip(colours * light[..., None] + grain, 0, 255).astype(np.uint8)


def flat(colours):
    return np.clip(np.round(colours), 0, 255).astype(np.uint8)


@functools.cache  # nearly every test compares with one, and most with the same
def reference(character, width=3.0):
    """The image of the glyph in the clear: 400 px, dark on white, room all round."""
    coverage = draw(character, 400, width)
    image = to_emnist(flat(paint(place(coverage, 560, 560))))
    image.flags.writeable = False
    return image


def difference(image, other):
    """Sum of the absolute differences in units of the glyph's ink: 0 equal, 2 nothing in common.

    A shift by half a pixel gives 0.2 to 0.3 for a stroke of 3 px, another character 0.7 or more.
    """
    return float(np.abs(image - other).sum() / other.sum())


def sides(image, level=0.5):
    """Left, top, right, bottom margins and the longer side of what is above `level`."""
    y, x = np.nonzero(image > level)
    last = len(image) - 1
    return x.min(), y.min(), last - x.max(), last - y.max(), max(np.ptp(x), np.ptp(y)) + 1


# ---------------------------------------------------------------------------------- the framing


@pytest.mark.parametrize("character", GLYPHS)
def test_the_image_has_emnists_framing(character):
    image = reference(character)
    assert image.shape == (28, 28) and image.dtype == np.float32
    assert image.min() == 0 and image.max() == 1
    left, top, right, bottom, side = sides(image)
    assert abs(side - 22) <= 1
    assert abs(left - right) <= 1 and abs(top - bottom) <= 1
    assert 23 <= sides(image, 0.004)[4] <= 26


def test_rims_lie_on_pixels_edges_and_are_as_soft_as_emnists():
    """A square's, drawn 3 px wide: half of a Gaussian of 0.4 px is 0.16 of the pixel beside it."""
    page = np.full((560, 560, 3), 255, np.uint8)
    page[80:480, 80:480] = 0
    page[135:425, 135:425] = 255
    image = to_emnist(page)
    for rim in (image[14], image[14, ::-1], image[:, 14], image[::-1, 14]):
        assert rim[1:5] == pytest.approx([0, 0.16, 0.84, 1], abs=0.035)


def test_the_aspect_ratio_is_kept():
    image = reference("i")
    y, x = np.nonzero(image > 0.5)
    assert np.ptp(x) + 1 <= 4 and np.ptp(y) + 1 >= 21


def test_strokes_outside_emnists_range_are_brought_into_it():
    means = [reference("2", width).mean() for width in (0.4, 3.0, 7.5)]
    assert 0.6 * means[1] < means[0] < means[1] < means[2] < 2 * means[1]
    assert np.allclose(reference("2", 0.2), reference("2", 0.4), atol=0.35)
    holes, _ = cv2.findContours(
        (reference("8", 6.5) > 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    assert len(holes) == 3  # the outline and both loops


# --------------------------------------------------------------- one glyph, however it is shown

# 0.15 of the ink: at 16 px a pixel is 1.4 px of the image, so the rims of the same glyph, sampled
# elsewhere, move by up to a sixth of a pixel; from 60 px up the differences are below 0.06.
TOLERANCE_SMALL, TOLERANCE = 0.2, 0.1
examples = settings(max_examples=15, deadline=None, derandomize=True, database=None)


@examples
@given(st.sampled_from(GLYPHS), st.integers(16, 600))
def test_the_same_glyph_at_any_size(character, side):
    coverage = draw(character, side)
    picture = flat(paint(np.pad(coverage, side // 8)))
    tolerance = TOLERANCE_SMALL if side < 60 else TOLERANCE
    assert difference(to_emnist(picture), reference(character)) < tolerance


@examples
@given(st.sampled_from(GLYPHS), st.integers(0, 290), st.integers(0, 290))
def test_the_same_glyph_at_any_place(character, top, left):
    picture = flat(paint(place(draw(character, 90), 400, 400, top, left)))
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


colour = st.tuples(*[st.integers(0, 255)] * 3)


@examples
@given(
    st.sampled_from(GLYPHS),
    st.tuples(colour, colour).filter(lambda p: np.abs(np.subtract(*p)).max() >= 80),
)
def test_the_same_glyph_in_any_pair_of_colours(character, pair):
    picture = flat(paint(place(draw(character, 150), 220, 220), *pair))
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


@pytest.mark.parametrize(
    ("ink", "paper"),
    [((0, 255, 255), (255, 255, 255)), ((255, 255, 255), (0, 0, 0)), ((200,) * 3, (225,) * 3)],
    ids=["yellow on white", "white on black", "pale"],
)
def test_colours_that_grey_or_polarity_would_lose(ink, paper):
    picture = flat(paint(place(draw("a", 150), 220, 220), ink, paper))
    assert difference(to_emnist(picture), reference("a")) < TOLERANCE


@pytest.mark.parametrize("faintness", [12, 18, 30])
def test_faint_ink_of_a_colour_beside_a_dark_edge(faintness):
    """Only blue tells of it, and the edge is much deeper there."""
    page = paint(place(draw("a", 200), 400, 500), (235 - faintness, 235, 235), (235,) * 3)
    page[:, -20:] = 30
    image = to_emnist(photograph(page, noise=1))
    assert difference(image, reference("a")) < TOLERANCE


def test_strokes_of_several_colours_of_which_no_channel_shows_all():
    ink = np.repeat([[(0, 255, 255)], [(255, 0, 255)], [(255, 255, 0)]], (75, 70, 75), axis=0)
    picture = flat(paint(place(draw("8", 150), 220, 220), ink, (255, 255, 255)))
    assert difference(to_emnist(picture), reference("8")) < TOLERANCE


@examples
@given(st.sampled_from(GLYPHS), colour, st.booleans())
def test_the_same_glyph_with_or_without_transparency(character, ink, premultiplied):
    coverage = place(draw(character, 150), 220, 220)
    bgra = np.full((220, 220, 4), 0, np.uint8)
    bgra[..., :3] = ink
    if premultiplied:  # colour only where there is ink, as paint programs leave it
        bgra[coverage == 0] = 0
    bgra[..., 3] = np.round(coverage * 255)
    picture = _decode(bgra)
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


def _decode(array):
    """Through a real PNG file and `read_picture`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        path.write_bytes(cv2.imencode(".png", array)[1].tobytes())
        return read_picture(path)


@pytest.mark.parametrize("outline", [3, 10, 24])
@pytest.mark.parametrize("character", "258Kj")
def test_a_sticker_with_a_white_outline(character, outline):
    """Transparent beyond it: filled with white, not with black that makes the outline the ink."""
    coverage = place(draw(character, 150), 220, 220)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * outline + 1,) * 2)
    alpha = cv2.dilate(coverage, around) * 255
    sticker = flat(np.dstack([paint(coverage, (30, 30, 200), (255, 255, 255)), alpha]))
    image = to_emnist(decode(cv2.imencode(".png", sticker)[1].ravel()))
    assert difference(image, reference(character)) < 0.1


@pytest.mark.parametrize("share", [0.45, 0.65, 0.75, 0.85])
@pytest.mark.parametrize("note", [(180, 140, 250), (230, 180, 120), (60, 150, 255), (150,) * 3])
@pytest.mark.parametrize("character", "2EHg")
def test_a_dark_character_on_a_coloured_note(character, note, share):
    """The note on something white; its sharp edge is no shadow's."""
    side = round(600 * share)
    ground = place(np.ones((side, side), np.float32), 600, 600)
    page = paint(ground, note, (245, 245, 245))
    coverage = place(draw(character, side // 2), 600, 600)[..., None]
    image = to_emnist(photograph(page * (1 - coverage) + 40 * coverage, noise=2))
    assert difference(image, reference(character)) < 0.15


@pytest.mark.parametrize("side", [130, 220])
@pytest.mark.parametrize("place_of_it", [(150, 100), (270, 190)])
@pytest.mark.parametrize(
    ("note", "desk"),
    [
        ((230, 200, 140), (145, 150, 155)),
        ((150, 235, 190), (145, 135, 185)),
        ((110, 220, 235), (110, 90, 140)),
    ],
)
@pytest.mark.parametrize("character", "5e")
def test_a_note_on_a_desk_of_another_colour(character, note, desk, place_of_it, side):
    """It is hardly lighter, or small; it casts a shadow."""
    ground = place(np.ones((side, side), np.float32), 500, 420, *place_of_it)
    shadow = 1 - 0.3 * cv2.GaussianBlur(np.roll(ground, 4, (0, 1)), (0, 0), 3)[..., None]
    page = paint(ground, note, desk) * np.where(ground[..., None] > 0, 1, shadow)
    glyph = np.pad(draw(character, side // 2), side // 5)
    coverage = place(glyph, 500, 420, *place_of_it)[..., None]
    image, notes = convert(photograph(page * (1 - coverage) + 40 * coverage, noise=2))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("width", [1.5, 3.0])
@pytest.mark.parametrize(("panel", "noise"), [((0, 0, 0), 0), ((70, 40, 30), 0), ((30, 30, 30), 2)])
def test_a_light_character_in_a_dark_panel_on_a_light_page(character, width, panel, noise):
    """A canvas in a browser, a figure of matplotlib's, a blackboard's card on a white desk."""
    page = np.full((500, 600, 3), 245, np.float32)
    page[70:430, 120:480] = paint(
        place(draw(character, 270, width), 360, 360), (240, 240, 240), panel
    )
    image = to_emnist(photograph(page, noise=noise))
    assert difference(image, reference(character, width)) < TOLERANCE_SMALL


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("left", [170, 540])
def test_a_sheet_beside_another_on_a_dark_desk(character, left):
    desk = np.full((560, 800, 3), (70, 80, 95), np.float32)
    desk[60:500, 40:400] = desk[60:440, 440:760] = (215, 220, 225)
    if left > 400:  # the larger one is written on
        desk = desk[:, ::-1]
        left -= 100
    coverage = place(draw(character, 200, 1.5), 560, 800, 150, left)
    desk += (np.float32((60, 50, 40)) - desk) * coverage[..., None]
    image = to_emnist(photograph(desk, noise=2))
    assert difference(image, reference(character, 1.5)) < 0.25


@pytest.mark.parametrize("character", [c for c in GLYPHS if c != "i"])  # which may lie along it
@pytest.mark.parametrize("line", [(150, 150, 150), (128, 128, 255)])
@pytest.mark.parametrize("upright", [True, False])
def test_one_pale_line_across_a_clean_picture_is_no_stroke(character, line, upright):
    """A guide, an axis, a scanner's streak; as pale as a brush's weak coat."""
    coverage = place(draw(character, 280, 1.5), 400, 400)
    page = paint(coverage, (0, 0, 0), (255, 255, 255))
    band = page[:, 205:207] if upright else page[205:207]
    np.minimum(band, line, out=band)
    assert difference(to_emnist(flat(page)), reference(character, 1.5)) < TOLERANCE_SMALL


@pytest.mark.parametrize("character", "8aeg")
@pytest.mark.parametrize("pen", [3, 5])
def test_an_outlined_letter_whose_hole_is_large_is_filled(character, pen):
    solid = place(draw(character, 300, 2.0), 420, 420)
    outline = cv2.morphologyEx(solid, cv2.MORPH_GRADIENT, np.ones((pen, pen)))
    image = to_emnist(flat(paint(outline)))
    assert difference(image, reference(character, 2.0)) < 0.35


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("slip", [210, 225, 240])
@pytest.mark.parametrize("character", "2ij8")
def test_the_shadow_along_a_slip_on_a_scanners_glass_is_no_ink(character, slip, side):
    """The slip hardly darker than the lid around it; the dot of the i is near the slip's edge."""
    coverage = place(draw(character, 110), 400, 400, top=100)[..., None]
    ground = place(np.ones((240, 230), np.float32), 400, 400, top=90)
    shadow = cv2.warpAffine(ground, np.float32([[1, 0, 4 * side], [0, 1, 4]]), (400, 400))
    lid = 252 - 160 * cv2.GaussianBlur(shadow, (0, 0), 2.5)[..., None]
    page = np.where(ground[..., None] > 0, slip * (1 - coverage) + 90 * coverage, lid)
    image, notes = convert(photograph(page * np.ones(3), noise=1.5))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", ["2", "a", "K"])
def test_half_transparent_overlaps_are_all_ink(character):
    coverage = 0.5 * place(draw(character, 150), 220, 220)
    coverage[100:130] *= 1.5
    picture = flat(paint(coverage, ink=(0, 0, 200), paper=(255, 255, 255)))
    assert difference(to_emnist(picture), reference(character)) < 0.15


@pytest.mark.parametrize("character", ["2", "a", "K"])
@pytest.mark.parametrize("weak", [0.3, 0.4])
def test_a_weak_stroke_beside_a_deep_one_is_ink_too(character, weak):
    """A brush of which three coats lie over one, or a second, paler colour."""
    coverage = place(draw(character, 150), 220, 220)
    coverage[60:110] *= weak
    image = to_emnist(flat(paint(coverage, ink=(0, 0, 200), paper=(255, 255, 255))))
    assert difference(image, reference(character)) < 0.15


@pytest.mark.parametrize("character", "2aKEg")
@pytest.mark.parametrize("weak", [0.35, 0.45, 0.5, 0.6])
@pytest.mark.parametrize(("size", "page"), [(40, 150), (150, 400)])
def test_a_brush_s_weak_coats_are_ink_however_deep_and_small(character, weak, size, page):
    """Half as deep as full ink, too, where some pixels of a coat are above that and some below."""
    coverage = draw(character, size)
    coverage[len(coverage) // 3 :] *= weak
    coverage = place(coverage, page, page, page // 5, page // 6)
    image = to_emnist(flat(paint(coverage, ink=(0, 0, 200), paper=(255, 255, 255))))
    assert difference(image, reference(character)) < 0.18


@pytest.mark.parametrize("character", sorted({*GLYPHS} - {"i", "j"}))
@pytest.mark.parametrize("gap", [120, 200])
def test_a_clock_or_a_number_above_a_character_is_no_dot(character, gap):
    """As on a telephone's screen, or printed on a worksheet: all that is there, and small."""
    page = place(draw(character, 170, 1.5), 600, 400, top=300)
    page[280 - gap : 292 - gap, 150:180] = 0.9
    picture = flat(paint(page))
    assert difference(to_emnist(picture), reference(character, 1.5)) < TOLERANCE_SMALL


@pytest.mark.parametrize("character", "ij")
@pytest.mark.parametrize("weak", [0.3, 0.5])
def test_a_dot_in_a_weak_coat_is_ink(character, weak):
    coverage = draw(character, 150)
    coverage[: len(coverage) // 6] *= weak
    picture = flat(paint(place(coverage, 400, 400), ink=(0, 0, 200), paper=(255, 255, 255)))
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", "2HK")
@pytest.mark.parametrize("size", [40, 150])
def test_a_deep_spot_in_a_weak_coat_is_not_all_of_the_ink(character, size):
    coverage = 0.35 * draw(character, size)
    coverage[: size // 10] /= 0.35  # some ends of strokes, a twentieth of the ink
    picture = flat(paint(place(coverage, 400, 400), ink=(0, 0, 200), paper=(255, 255, 255)))
    assert difference(to_emnist(picture), reference(character)) < 0.15


@pytest.mark.parametrize("character", ["2", "5", "H"])
@pytest.mark.parametrize("rows", [slice(0, 12), slice(60, 75), slice(130, 150)])
def test_a_short_thin_weak_stroke_is_ink_too(character, rows):
    """A paint program's paper is so clean that it hides none."""
    coverage = draw(character, 150, 1.5)
    coverage[rows] *= 0.3
    picture = flat(paint(place(coverage, 400, 400), ink=(0, 0, 200), paper=(255, 255, 255)))
    assert difference(to_emnist(picture), reference(character, 1.5)) < 0.3


@pytest.mark.parametrize("character", ["2", "a", "K"])
def test_a_soft_shadow_beside_a_character_is_no_weak_ink(character):
    coverage = place(draw(character, 150), 300, 300)
    across = np.arange(300) - 235.0
    shadow = 0.4 * np.exp(-((np.hypot(across, across[:, None]) / 25) ** 2))
    image = to_emnist(flat(paint(np.maximum(coverage, shadow))))
    assert difference(image, reference(character)) < 0.15


@pytest.mark.parametrize("character", ["2", "K", "8", "a", "g"])
@pytest.mark.parametrize("width", [4, 5])
@pytest.mark.parametrize("size", [60, 200])
@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("rim", [0.05, 0.5])
def test_a_fat_character_cut_out_flush(character, width, size, light, rim):
    """There is more ink than paper."""
    coverage = draw(character, size, width)
    across, down = (np.flatnonzero((coverage > rim).any(axis=axis)) for axis in (0, 1))
    coverage = coverage[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    colours = [(30,) * 3, (240,) * 3][:: -1 if light else 1]
    image = to_emnist(flat(paint(coverage, *colours)))
    assert difference(image, reference(character, width)) < TOLERANCE_SMALL


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("width", [3, 4, 5])
@pytest.mark.parametrize("degrees", [-8, 8])
@pytest.mark.parametrize(("enlarged", "light"), [(1, False), (4, True)])
def test_a_soft_character_cut_out_flush(character, width, degrees, enlarged, light):
    """A small one, cut where it is half as deep, then enlarged: its rims stay wide and grey."""
    coverage = np.pad(draw(character, 22, width), 8)
    size = coverage.shape[::-1]
    matrix = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1)
    coverage = cv2.warpAffine(coverage, matrix, size)
    coverage = cv2.resize(
        coverage, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC
    ).clip(0, 1)
    across, down = (np.flatnonzero((coverage > 0.5).any(axis=axis)) for axis in (0, 1))
    cut_out = coverage[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    colours = [(30,) * 3, (240,) * 3][:: -1 if light else 1]
    image, in_the_clear = (
        to_emnist(flat(paint(c, *colours))) for c in (cut_out, np.pad(coverage, 10 * enlarged))
    )
    assert difference(image, in_the_clear) < TOLERANCE_SMALL


@pytest.mark.parametrize("width", [7, 9])
@pytest.mark.parametrize("character", ["2", "E", "K", "5", "8"])
def test_a_brush_so_fat_that_it_fills_the_loops(character, width):
    """Nothing of it is taken for paper: the solid blot is thinned as one in the clear is."""
    coverage = draw(character, 200, width)
    page = place(coverage, *(n + 40 for n in coverage.shape))
    image = to_emnist(flat(paint(page)))
    assert difference(image, reference(character, width)) < 0.25  # of narrow gaps some close


@pytest.mark.parametrize("character", GLYPHS)
def test_the_grains_of_chalk(character):
    """Called blank where they were many; they are seen as they are, so with a wide tolerance."""
    rng = np.random.default_rng(0)
    coverage = place(draw(character, 250), 380, 380)
    grain = cv2.GaussianBlur(rng.standard_normal(coverage.shape), (0, 0), 2.5)
    coverage *= np.clip(0.6 + 0.6 * grain / grain.std(), 0, 1)
    board = photograph(paint(coverage, (200,) * 3, (45,) * 3), noise=4)
    assert difference(to_emnist(board), reference(character)) < 0.35


# ------------------------------------------------------------------------- what photographs add


@pytest.mark.parametrize("character", ["5", "e", "K", "i"])
def test_a_small_soft_pale_photograph(character):
    coverage = np.pad(draw(character, 30), 3)
    colours = cv2.GaussianBlur(paint(coverage, (110,) * 3, (170, 175, 180)), (0, 0), 0.7)
    image = to_emnist(photograph(colours, noise=2, shade=0.25))
    assert difference(image, reference(character)) < TOLERANCE_SMALL


@pytest.mark.parametrize("character", ["2", "H", "K", "8"])
def test_four_dark_corners_are_no_ink_that_the_edges_cut_off(character):
    """As of an album's page; the character is whole, unlike a glyph cut out flush."""
    page = paint(place(draw(character, 180), 300, 300), (60,) * 3, (230,) * 3)
    for x, y in ((0, 0), (299, 0), (0, 299), (299, 299)):
        corner = [(x, y), (abs(x - 60), y), (x, abs(y - 60))]
        cv2.fillConvexPoly(page, np.int32(corner), (60,) * 3)
    assert difference(to_emnist(photograph(page, noise=2)), reference(character)) < TOLERANCE


@pytest.mark.parametrize("seed", range(4))
def test_shadow_grain_and_a_dark_edge(seed):
    colours = paint(place(draw("5", 200), 500, 600), (100,) * 3, (200, 205, 210))
    corner = [[0, 0], [40 + 5 * seed, 0], [60 - 5 * seed, 500], [0, 500]]
    cv2.fillPoly(colours, [np.array(corner)], (30, 30, 30))
    picture = np.rot90(photograph(colours, seed, noise=6, shade=0.5), seed)
    image = np.rot90(to_emnist(np.ascontiguousarray(picture)), -seed)
    assert difference(image, reference("5")) < TOLERANCE


@pytest.mark.parametrize("depth", [40, 100])
@pytest.mark.parametrize("shape", [(24, 70), (90, 24), (8, 160), (45, 45)])
@pytest.mark.parametrize("triangle", [True, False])
def test_a_dark_corner_beside_pencil(depth, shape, triangle):
    """A thumb, or what a scanner sees beside a page that lies askew; much deeper than the ink."""
    colours = paint(place(draw("a", 150), 300, 300), (230 - depth,) * 3, (230,) * 3)
    height, width = shape
    corner = [(0, 0), (width, 0), (0, height)] + [(width, height)] * (not triangle)
    cv2.fillConvexPoly(colours, cv2.convexHull(np.array(corner)), (15,) * 3)
    assert difference(to_emnist(photograph(colours, noise=2)), reference("a")) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "a", "K", "i"])
@pytest.mark.parametrize("seed", range(3))
def test_smudges_of_an_eraser_beside_faint_pencil(character, seed):
    """A little deeper than half of the pencil's strokes, and as large as a dot or larger."""
    rng = np.random.default_rng(seed)
    smudges = np.zeros((500, 500), np.float32)
    for place_of in ((80, 90), (420, 100), (90, 410), (400, 400)):
        x, y = (int(v) for v in place_of + rng.integers(-20, 21, 2))
        cv2.circle(smudges, (x, y), 12, 1, -1)
    smudges = cv2.GaussianBlur(smudges, (0, 0), 5)
    smudges *= 0.62 / smudges.max()
    coverage = np.maximum(place(draw(character, 200), 500, 500), smudges)
    image = to_emnist(photograph(paint(coverage, (160,) * 3, (230,) * 3), seed, noise=3))
    assert difference(image, reference(character)) < TOLERANCE


def test_a_flush_letter_is_no_dark_corner_of_what_shines_through():
    letter = np.zeros((200, 160), np.float32)
    letter[15:, :20] = letter[-20:, :145] = 1
    ghost = 0.2 * place(draw("a", 90), 200, 160, top=40, left=45)
    image, alone = (to_emnist(flat(paint(c))) for c in (np.maximum(letter, ghost), letter))
    assert difference(image, alone) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "8"])
def test_a_soft_shadow_across_the_page(character):
    colours = paint(place(draw(character, 200), 500, 500), (70,) * 3, (220,) * 3)
    light = 1 - 0.4 / (1 + np.exp((250 - np.arange(500)) / 25))
    picture = photograph(colours * light[:, None, None])
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a"])
@pytest.mark.parametrize("side", [130, 500])
@pytest.mark.parametrize("dark", [True, False])
def test_a_lamps_spot_behind_the_character(character, side, dark):
    colours = (80, 140) if dark else (140, 60)
    coverage = place(draw(character, 2 * side // 5, 2), side, side)
    across = np.linspace(-0.5, 0.5, side)
    light = 1 + 0.6 * np.exp(-((np.hypot(across, across[:, None]) / 0.35) ** 2))
    picture = photograph(paint(coverage, *([level] * 3 for level in colours)) * light[..., None])
    assert difference(to_emnist(picture), reference(character, 2)) < 0.15


def lamplight(side, at, radius):
    """(side, side, 1): a lamp's spot at (x, y), up to 0.5 each, and a lens's dark corners."""
    across = np.linspace(-0.5, 0.5, side)
    far, spot = (np.hypot(across - x, across[:, None] - y) for x, y in ((0, 0), at))
    light = (1 + 0.6 * np.exp(-((spot / radius) ** 2))) * (1 - 0.6 * far**2)
    return light[..., None] / light.max()


@pytest.mark.parametrize("character", ["2", "H", "a", "K", "E", "5", "g"])
@pytest.mark.parametrize("share", [0.25, 0.45])
def test_a_lamps_spot_and_dark_corners(character, share):
    """Of which neither is ink: the one is lighter than most of the paper, the other darker."""
    coverage = place(draw(character, int(share * 500)), 500, 500)
    colours = paint(coverage, (100,) * 3, (190,) * 3) * lamplight(500, (0.12, 0.05), 0.5)
    assert difference(to_emnist(photograph(colours)), reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "K"])
@pytest.mark.parametrize("soft", [4, 8])
def test_a_fat_character_in_a_lamps_light(character, soft):
    """Wider than a pen's stroke, somewhat out of focus, in light that is uneven everywhere."""
    coverage = cv2.GaussianBlur(place(draw(character, 250, 5), 500, 500), (0, 0), soft)
    colours = paint(coverage, (60,) * 3, (200,) * 3) * lamplight(500, (0, 0), 0.3)
    assert difference(to_emnist(photograph(colours)), reference(character, 5)) < 0.15


@pytest.mark.parametrize("character", ["2", "H", "a"])
@pytest.mark.parametrize("lean", [0, 6])
def test_ruled_lines_are_dropped(character, lean):
    colours = np.full((500, 600, 3), 230, np.float32)
    for y in range(20, 500, 75):
        cv2.line(colours, (0, y), (599, y + lean), (200, 140, 110), 2, cv2.LINE_AA)
    coverage = place(draw(character, 200), 500, 600)[..., None]
    picture = photograph(colours * (1 - coverage) + 40 * coverage)
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "i"])
@pytest.mark.parametrize("foot", [0, 0.3])
@pytest.mark.parametrize("thick", [2, 4])
def test_a_small_character_that_touches_a_line_of_a_ruled_page(character, foot, thick):
    """The line is so much of the character's height above its foot."""
    colours = np.full((600, 440, 3), 235, np.float32)
    coverage = place(draw(character, 40, 4), 600, 440, 250, 300)
    base = np.flatnonzero(coverage.any(axis=1))[-1] - round(40 * foot)
    for y in range(base % 90, 600, 90):
        cv2.line(colours, (0, y), (439, y + 2), (200, 150, 110), thick, cv2.LINE_AA)
    picture = photograph(colours * (1 - coverage[..., None]) + 40 * coverage[..., None], noise=1)
    assert difference(to_emnist(picture), reference(character, 4)) < 0.3


@pytest.mark.parametrize("size", [0, 2, 3])
def test_a_thin_l_cut_out_closely_is_no_ruled_line_beside_specks(size):
    coverage = np.zeros((90, 40), np.float32)
    coverage[:, 18:21] = 1
    for y, x in ((20, 30), (60, 6)):
        coverage[y : y + size, x : x + size] = 1
    close, apart = (to_emnist(flat(paint(c))) for c in (coverage, np.pad(coverage, 40)))
    assert difference(close, apart) < TOLERANCE


def test_strokes_of_an_n_that_do_not_touch_are_no_comb_s_teeth():
    coverage = np.zeros((400, 500), np.float32)
    for ends in (((100, 100), (100, 300)), ((145, 100), (220, 300)), ((265, 100), (265, 300))):
        cv2.line(coverage, *ends, 1, 14, cv2.LINE_AA)
    left, _, right, _, _ = sides(to_emnist(flat(paint(coverage))))
    assert max(left, right) <= 5  # its diagonal alone leaves 9


@pytest.mark.parametrize("character", ["2", "H", "a", "E"])
@pytest.mark.parametrize("pitch", [36, 60])
@pytest.mark.parametrize("first", [21, 31])
def test_ruled_lines_of_a_note_app_are_no_bars(character, pitch, first):
    """A line of 2 px takes up three rows of the picture made smaller."""
    page = np.full((384, 626, 3), (184, 247, 247), np.float32)
    page[first::pitch] = page[first + 1 :: pitch] = (164, 215, 204)
    coverage = place(draw(character, 140, 2), 384, 626, 50, 380)[..., None]
    image = to_emnist(flat(page * (1 - coverage) + 30 * coverage))
    assert difference(image, reference(character, 2)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "5", "8", "E", "K", "a", "g"])
@pytest.mark.parametrize(("thick", "higher"), [(2, 0), (4, 3)])
def test_the_three_lines_of_a_worksheet_are_left_out(character, thick, higher):
    """The middle one is dashed; they end 80 px beyond the character, which stands on the lowest."""
    coverage = place(draw(character, 150, 2.2), 300, 400)
    x, y, w, h = cv2.boundingRect(np.uint8(coverage > 0.5))
    page, left, right = np.full((300, 400, 3), 235, np.float32), x - 80, x + w + 80
    for row in (y, y + h - higher):
        page[row : row + thick, left:right] = 70
    for start in range(left, right, 16):
        page[y + h // 2 :, start : start + 8][:thick] = 70
    page = page * (1 - coverage[..., None]) + 40 * coverage[..., None]
    assert difference(to_emnist(photograph(page, noise=1)), reference(character, 2.2)) < 0.25


@pytest.mark.parametrize("character", ["2", "H", "a", "E"])
@pytest.mark.parametrize("above", [10, 25, 45])
@pytest.mark.parametrize("squared", [False, True])
def test_a_small_character_on_a_whole_ruled_page(character, above, squared):
    """All lines together are far larger than it is; near it they no longer reach the edges."""
    colours = np.full((1200, 900, 3), 240, np.float32)
    colours[above % 60 :: 60] = colours[above % 60 + 1 :: 60] = (210, 170, 120)
    if squared:
        colours[:, 20::60] = colours[:, 21::60] = (210, 170, 120)
    coverage = place(draw(character, 50), 1200, 900, 594, 400)[..., None]
    picture = photograph(colours * (1 - coverage) + 40 * coverage, noise=3)
    assert difference(to_emnist(picture), reference(character)) < 0.25


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("depth", [0.25, 0.7])
@pytest.mark.parametrize("spacing", [34, 60])
def test_printed_dots_are_dropped(character, depth, spacing):
    """As a journal's paper has them, or a note app's; those that strokes touch stay, as bumps."""
    coverage = place(draw(character, 170, 2), 420, 380)
    ground = np.zeros_like(coverage)
    for y in range(20, 420, spacing):
        for x in range(15, 380, spacing):
            cv2.circle(ground, (x, y), spacing // 11, depth, -1, cv2.LINE_AA)
    image, notes = convert(flat(paint(np.maximum(coverage, ground), paper=(255, 255, 255))))
    assert difference(image, reference(character, 2)) < 0.45 and notes == []


def test_a_dotted_letter_is_no_dotted_paper():
    coverage = np.zeros((400, 400), np.float32)
    for angle in np.linspace(0, 2 * np.pi, 13)[:-1]:
        middle = 200 + 110 * np.array([np.cos(angle), np.sin(angle)])
        cv2.circle(coverage, middle.astype(int).tolist(), 12, 1, -1, cv2.LINE_AA)
    image = to_emnist(flat(paint(coverage)))
    assert cv2.connectedComponents((image > 0.5).astype(np.uint8))[0] - 1 == 12


@pytest.mark.parametrize("end", [180, 230, 300])
def test_an_e_whose_bar_does_not_touch_it_is_no_frame(end):
    page = np.full((420, 380, 3), 235, np.uint8)
    cv2.polylines(page, [np.int32([(270, 100), (110, 100), (110, 320), (270, 320)])], False, 0, 20)
    cv2.line(page, (150, 210), (end, 210), 0, 20)
    image = to_emnist(page)
    assert image[4, 14] > 0.5 and image[14, 6:10].max() > 0.5 and image[23, 14] > 0.5


@pytest.mark.parametrize("character", [c for c in GLYPHS if c not in "ij"])  # these have dots
@pytest.mark.parametrize("slant", [-15, 10])
def test_a_staple_is_no_dot(character, slant):
    page = paint(place(draw(character, 200, 2), 560, 520))
    cv2.line(page, (70, 80), (120, 80 + slant), (60, 60, 60), 5, cv2.LINE_AA)
    assert difference(to_emnist(flat(page)), reference(character, 2)) < TOLERANCE


def test_a_forms_cell_is_dropped():
    coverage = place(draw("a", 120), 200, 200)
    coverage[:, :4] = coverage[-5:] = 1
    assert difference(to_emnist(flat(paint(coverage))), reference("a")) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "e"])
@pytest.mark.parametrize("line", [(225, 200, 185), (190, 140, 110)])
@pytest.mark.parametrize(("width", "tolerance"), [(2.0, 0.15), (3.0, TOLERANCE)])
def test_squared_paper(character, line, width, tolerance):
    """A line runs along the first stroke from the left, the stem of the H."""
    coverage = place(draw(character, 200, width), 500, 600)
    stem = int(np.argmax(coverage.max(axis=0))) + 8
    colours = np.full((500, 600, 3), 235, np.float32)
    for at in range(15, 500, 50):
        cv2.line(colours, (0, at), (599, at), line, 2)
    for at in range(stem % 50, 600, 50):
        cv2.line(colours, (at, 0), (at, 499), line, 2)
    picture = photograph(colours * (1 - coverage[..., None]) + 40 * coverage[..., None], noise=2)
    assert difference(to_emnist(picture), reference(character, width)) < tolerance


@pytest.mark.parametrize("character", ["a", "i", "8"])
@pytest.mark.parametrize("side", [70, 200, 600])
@pytest.mark.parametrize("depth", [0.45, 1])
def test_a_forms_cell_is_dropped_with_all_its_frame(character, side, depth):
    coverage = place(draw(character, side // 2), side, side)
    inset = side // 16
    ends = (inset, inset), (side - inset, side - inset)
    cv2.rectangle(coverage, *ends, depth, max(1, side // 80))
    image, notes = convert(photograph(paint(coverage), noise=1))
    assert difference(image, reference(character)) < TOLERANCE_SMALL and not notes


@pytest.mark.parametrize("character", ["2", "K", "a"])
@pytest.mark.parametrize("bar", [np.s_[:, 60:95], np.s_[60:110]], ids=["upright", "level"])
def test_a_bar_across_the_whole_page_is_dropped(character, bar):
    """A pen or a ruler, thicker than a line; too near the character for another one's part."""
    page = paint(place(draw(character, 150), 400, 400))
    page[bar] = 30
    image, notes = convert(photograph(page, noise=1))
    assert difference(image, reference(character)) < TOLERANCE and not notes


def test_a_round_letter_is_no_frame():
    coverage = place(draw("8", 60), 300, 300)
    cv2.circle(coverage, (150, 150), 110, 1, 14, cv2.LINE_AA)
    image = to_emnist(flat(paint(coverage)))
    assert image[2:6, 10:18].max() > 0.9  # the ring's top


@pytest.mark.parametrize("character", ["2", "K", "a", "i"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_screenshot_of_a_drawing_app(character, dark):
    """Its bars, with what is in them, and a line where they end."""
    canvas, bar, ink, line = (20, 45, 230, 70) if dark else (255, 246, 40, 210)
    page = flat(paint(place(draw(character, 220), 900, 440), (ink,) * 3, (canvas,) * 3))
    page[:110] = page[820:] = bar
    page[110:112] = line
    cv2.putText(page, "9:41", (30, 40), 0, 0.9, (ink,) * 3, 2, cv2.LINE_AA)
    cv2.putText(page, "< Notes", (20, 90), 0, 1, (220, 120, 20), 2, cv2.LINE_AA)
    cv2.rectangle(page, (370, 20), (405, 42), (ink,) * 3, -1)
    cv2.rectangle(page, (150, 840), (300, 880), (40, 40, 220), -1)
    image, notes = convert(page)
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", GLYPHS)
def test_a_toolbar_full_of_icons(character):
    """Their outlines leave no part of it that is as thick as a bar; with a window's frame."""
    page = flat(paint(place(draw(character, 220), 480, 440)))
    page[:44], page[43] = 205, 165
    for k in range(9):
        colour = [(60, 90, 40), (150, 40, 60), (130, 130, 120)][k % 3]
        cv2.rectangle(page, (8 + 32 * k, 10), (32 + 32 * k, 34), colour, 2)
    page = cv2.copyMakeBorder(page, 2, 2, 2, 2, cv2.BORDER_CONSTANT, None, (150, 120, 70))
    image, notes = convert(page)
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize(
    ("character", "side", "size", "place_at", "ink", "paper"),
    [
        ("H", 463, (521, 1084), (1, 743), (241, 111, 204), (220, 149, 130)),
        ("i", 105, (156, 367), (13, 100), (239, 207, 60), (112, 194, 40)),
    ],
)
def test_a_straight_stroke_near_the_edge_is_no_bar(character, side, size, place_at, ink, paper):
    """Of an app's window, beyond which all would be left out."""
    coverage = place(draw(character, side, 4.5), *size, *place_at)
    image = to_emnist(flat(paint(coverage, ink, paper)))
    assert difference(image, reference(character, 4.5)) < TOLERANCE


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("at", [(60, 170), (330, 250), (170, 350)])
def test_something_small_that_is_far_from_the_character_is_dropped(character, at):
    """As a list's bullet, a hole, what is left of the next line: larger than a speck."""
    coverage = place(draw(character, 140, 2), 400, 400)
    cv2.circle(coverage, at, 9, 1, 4, cv2.LINE_AA)
    image = to_emnist(photograph(paint(coverage), noise=2))
    assert difference(image, reference(character, 2)) < TOLERANCE


@pytest.mark.parametrize("character", GLYPHS)
def test_a_paper_clip_over_the_character_is_no_dot(character):
    page = paint(place(draw(character, 130), 460, 400, top=150))
    for x, y, end in ((190, -20, 80), (200, -20, 60), (214, -20, 80)):
        cv2.line(page, (x, y), (x, end), (110,) * 3, 4, cv2.LINE_AA)
    cv2.ellipse(page, (202, 80), (12, 12), 0, 0, 180, (110,) * 3, 4, cv2.LINE_AA)
    image = to_emnist(photograph(page, noise=1))
    assert difference(image, reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "E", "K", "a", "i"])
@pytest.mark.parametrize("width", [1.0, 1.25])
def test_a_ring_around_a_character_is_dropped(character, width):
    coverage = place(draw(character, 130), 400, 400)
    axes = round(110 * width), 110
    cv2.ellipse(coverage, (200, 200), axes, 0, 4, 360, 0.9, 6, cv2.LINE_AA)  # hardly closed
    image, notes = convert(photograph(paint(coverage), noise=1))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("edge", range(4))
@pytest.mark.parametrize("row", ["two holes", "three holes", "a spiral's"])
def test_a_row_along_the_edge_is_dropped(character, edge, row):
    """Punched holes, what holds a pad's sheets, an app's buttons; none of it is a dot."""
    holes = np.zeros((440, 440), np.float32)
    if row == "a spiral's":
        for y in range(20, 440, 40):
            holes[y : y + 12, 12:36] = 0.9
    else:
        for y in (90, 350) if row == "two holes" else (50, 220, 390):
            cv2.circle(holes, (40, y), 16, 0.9, -1, cv2.LINE_AA)
    coverage = np.maximum(place(draw(character, 170), 440, 440), np.rot90(holes, edge))
    image, notes = convert(photograph(paint(coverage), noise=1))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", [c for c in GLYPHS if c != "i"])  # its dot is in their row
def test_punched_holes_beside_a_character_in_the_margin_are_dropped(character):
    coverage = place(draw(character, 170), 520, 440, left=30)
    for y in (120, 430):
        cv2.circle(coverage, (40, y), 12, 0.9, -1, cv2.LINE_AA)
    image, notes = convert(photograph(paint(coverage), noise=1))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", [c for c in GLYPHS if c not in "ij"])  # a dot may get lost
@pytest.mark.parametrize("colour", [(90, 90, 220), (80, 160, 80)])
@pytest.mark.parametrize("upright", [True, False])
def test_the_lines_within_a_practice_cell_are_no_ink(character, colour, upright):
    """Through the middle of a cell to write in, as schools in China have them."""
    coverage = place(draw(character, 240, 1.0), 400, 400, left=90)
    page = np.full((400, 400, 3), 248, np.float32)
    cv2.rectangle(page, (15, 15), (384, 384), colour, 4)
    page[199:202, 15:385] = colour
    if upright:
        page[15:385, 199:202] = colour
    page += (np.float32((30, 30, 30)) - page) * coverage[..., None]
    image = to_emnist(photograph(page, noise=2, shade=0.3))
    assert difference(image, reference(character, 1.0)) < 0.25


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("size", [1.0, 0.6])
def test_a_line_of_print_is_dropped(character, size):
    """Above, as on a worksheet, and below, as a scanning app leaves its name."""
    page = flat(paint(place(draw(character, 170), 460, 420)))
    cv2.putText(page, "1. Write the letter", (20, 50), 0, size, (60,) * 3, 2, cv2.LINE_AA)
    cv2.putText(page, "Made with a scanner", (100, 440), 0, 0.7 * size, (150,) * 3, 1, cv2.LINE_AA)
    image, notes = convert(page)
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", [c for c in GLYPHS if c not in "ij"])  # as a 0 is outlined
@pytest.mark.parametrize("pen", [5, 9])
def test_an_outlined_letter_is_filled(character, pen):
    """In bubble writing; or a marker's fat strokes, in what a scanning app makes of them."""
    coverage = place(draw(character, 260, 3.5), 400, 400)
    outline = cv2.morphologyEx(coverage, cv2.MORPH_GRADIENT, np.ones((pen, pen)))
    image = to_emnist(photograph(paint(outline), noise=1))
    solid = to_emnist(photograph(paint(cv2.dilate(coverage, np.ones((pen, pen)))), noise=1))
    assert difference(image, solid) < TOLERANCE


def test_an_outlined_8_is_no_ring_around_its_loops():
    coverage = place(draw("8", 260, 3.5), 400, 400)
    outline = cv2.morphologyEx(coverage, cv2.MORPH_GRADIENT, np.ones((5, 5)))
    image = to_emnist(photograph(paint(outline), noise=1))
    assert image[14, 14] > 0.9 and image[8, 14] < 0.5 and image[20, 14] < 0.5


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("stripe", [(60, 250, 250), (200, 120, 255), (150, 255, 120)])
@pytest.mark.parametrize("ink", [(40, 40, 40), (120, 60, 30)])
def test_a_highlighters_stripe_is_dropped(character, stripe, ink):
    coverage = place(draw(character, 170), 400, 440)
    page = np.full((400, 440, 3), 230, np.float32)
    cv2.line(page, (100, 205), (350, 195), [0.9 * level for level in stripe], 150)
    page = page * (1 - coverage[..., None]) + np.minimum(page, ink) * coverage[..., None]
    image = to_emnist(photograph(page, noise=1))
    assert difference(image, reference(character)) < 2 * TOLERANCE


@pytest.mark.parametrize(
    ("character", "ink", "paper"),
    [
        ("e", (197, 100, 5), (135, 52, 189)),
        ("E", (75, 15, 137), (34, 141, 48)),
        ("8", (89, 78, 236), (189, 226, 190)),
    ],
)
def test_a_fat_brush_on_coloured_paper_is_no_highlighter(character, ink, paper):
    """As light as the paper, in another channel, and its rims are darker than both."""
    image = to_emnist(flat(paint(place(draw(character, 220, 5), 400, 400), ink, paper)))
    assert difference(image, reference(character, 5)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "8", "K", "a"])
def test_strokes_in_two_colours_are_no_highlighters(character):
    coverage = place(draw(character, 260, 4.5), 400, 400)
    across = 0.5 + 0.5 * np.sin(np.arange(400) / 25)[None, :, None]
    ink = np.float32((200, 60, 180)) * across + np.float32((40, 150, 240)) * (1 - across)
    image = to_emnist(photograph(paint(coverage, ink, (230,) * 3), noise=1))
    assert difference(image, reference(character, 4.5)) < 2 * TOLERANCE


def _dashed(ends, count=6):
    """Line ends (x, y, x, y) -> those of `count` dashes on it."""
    x, y, dx, dy = *ends[:2], ends[2] - ends[0], ends[3] - ends[1]
    starts = [(x + dx * k / count, y + dy * k / count) for k in range(count)]
    return [(u, v, u + 0.5 * dx / count, v + 0.5 * dy / count) for u, v in starts]


BASE = (0.1, 0.9, 0.9, 0.9)
TEETH = [(0.1, 0.55, 0.1, 0.9), (0.9, 0.55, 0.9, 0.9)]
BOX = [(0.1, 0.1, 0.9, 0.1), (0.9, 0.1, 0.9, 0.9), (0.9, 0.9, 0.1, 0.9), (0.1, 0.9, 0.1, 0.1)]
PRINTED = {  # lines on a form, (x, y, x, y) in units of the picture's side
    "a comb's cell": [BASE, *TEETH],
    "a row of a comb": [(0, 0.9, 1, 0.9), *TEETH],
    "a comb's teeth": TEETH,
    "a dashed frame": [dash for side in BOX for dash in _dashed(side)],
    "a frame with gaps": [
        BOX[0],
        (0.9, 0.1, 0.9, 0.4),
        (0.9, 0.5, 0.9, 0.9),
        BOX[2],
        BOX[3][:3] + (0.2,),
    ],
    "cells in a row": [  # beside it one that is whole, and a part of one that the edge cuts off
        (x + dx, y, u + dx, v)
        for dx in (0, -0.7, 0.7)
        for x, y, u, v in (
            (0.2, 0.1, 0.8, 0.1),
            (0.8, 0.1, 0.8, 0.9),
            (0.8, 0.9, 0.2, 0.9),
            (0.2, 0.9, 0.2, 0.1),
        )
    ],
    "its four corners": [
        (x, y, x + dx, y + dy)
        for x in (0.1, 0.9)
        for y in (0.1, 0.9)
        for dx, dy in ((0.3 * (0.5 - x), 0), (0, 0.3 * (0.5 - y)))
    ],
    "a line to write on": [BASE],
    "dashes to write on": _dashed((0.02, 0.9, 0.98, 0.9), 4),
}


@pytest.mark.parametrize("character", ["2", "E", "H", "i", "a"])
@pytest.mark.parametrize("lines", PRINTED.values(), ids=PRINTED)
@pytest.mark.parametrize("turn", [0, 2])
def test_what_a_form_prints_around_a_character_is_dropped(character, lines, turn):
    side = 400
    printed = np.zeros((side, side), np.float32)
    for line in lines:
        ends = np.int32(np.round(np.multiply(line, side - 1))).reshape(2, 2).tolist()
        cv2.line(printed, *ends, 0.7, 4, cv2.LINE_AA)
    turning = cv2.getRotationMatrix2D((side / 2, side / 2), turn, 1)
    printed = cv2.warpAffine(printed, turning, (side, side), borderMode=cv2.BORDER_REPLICATE)
    coverage = np.maximum(place(draw(character, 220), side, side), printed)
    image, notes = convert(photograph(paint(coverage), noise=1))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", ["2", "a", "i", "j"])
@pytest.mark.parametrize("number", ["7", "24"])
def test_a_cells_printed_number_is_dropped(character, number):
    page = flat(paint(place(draw(character, 240), 420, 400, 130)))
    cv2.rectangle(page, (20, 20), (380, 400), (110, 110, 110), 4)
    cv2.putText(page, number, (34, 76), 0, 1.6, (110, 110, 110), 4, cv2.LINE_AA)
    image, notes = convert(page)
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", ["5", "K", "a", "g", "i"])
@pytest.mark.parametrize("teeth", [False, True])
@pytest.mark.parametrize("foot", [0, 0.1, 0.2])
def test_a_line_to_write_on_is_dropped_where_the_character_touches_it(character, teeth, foot):
    """The line is so much of the character's height above its foot."""
    coverage = place(draw(character, 200), 420, 460)
    base = 310 - round(200 * foot)
    lines = np.zeros_like(coverage)
    cv2.line(lines, (70, base), (390, base), 0.8, 4)
    for x in (70, 390) if teeth else ():
        cv2.line(lines, (x, base), (x, base - 70), 0.8, 4)
    image = to_emnist(photograph(paint(np.maximum(coverage, lines)), noise=1))
    assert difference(image, reference(character)) < 2 * TOLERANCE


@pytest.mark.parametrize(("character", "wide"), [("5", 220), ("K", 180)])
@pytest.mark.parametrize("high", [50, 70])
def test_the_base_of_a_narrow_combs_cell_is_dropped_where_the_character_touches_it(
    character, wide, high
):
    """It is no longer than the character is high: its teeth tell of it."""
    left, right = 230 - wide // 2, 230 + wide // 2
    lines = np.zeros((420, 460), np.float32)
    ends = np.int32([(left, 310 - high), (left, 310), (right, 310), (right, 310 - high)])
    cv2.polylines(lines, [ends], False, 0.8, 4)
    coverage = np.maximum(place(draw(character, 200), 420, 460), lines)
    assert difference(to_emnist(photograph(paint(coverage), noise=1)), reference(character)) < 0.1


@pytest.mark.parametrize(
    ("strokes", "aspect"),
    [
        ([[(0.1, 0), (1.7, 0)], [(0.9, 0), (0.9, 1)]], 1.6),
        ([[(0.2, 0), (0.2, 1), (1.8, 1)]], 1.6),
        ([[(0, 0.5), (1.7, 0.5)]], None),
    ],
    ids=["T", "L", "-"],
)
def test_a_long_stroke_is_no_line_to_write_on(strokes, aspect):
    """The bar of a T is above the rest, the foot of an L begins there; a line alone is all ink."""
    page = np.full((440, 640, 3), 235, np.uint8)
    for stroke in strokes:
        cv2.polylines(page, [np.int32(np.multiply(stroke, 200) + 120)], False, (40,) * 3, 6, 16)
    left, top, right, bottom, side = sides(to_emnist(page), 0.4)
    assert abs(side - 22) <= 1
    assert aspect is None or (28 - left - right) / (28 - top - bottom) > aspect - 0.2


def test_the_thin_base_of_a_1_is_no_line_to_write_on():
    page = np.full((250, 200, 3), 240, np.uint8)
    cv2.polylines(page, [np.int32([(75, 60), (100, 30), (100, 215)])], False, (30,) * 3, 6)
    cv2.line(page, (50, 215), (150, 215), (30,) * 3, 2)
    left, _, right, _, _ = sides(to_emnist(page), 0.5)
    assert 28 - left - right >= 11


@pytest.mark.parametrize("character", ["2", "E", "K", "a", "g"])
@pytest.mark.parametrize(
    "over", [(0.1, 0, 0, 0), (0, 0.1, 0, 0), (0, 0, 0.1, 0.1), (0.02, 0, 0, 0.1)]
)
@pytest.mark.parametrize("turn", [0, 1.5])
def test_a_cells_frame_is_dropped_where_the_character_crosses_it(character, over, turn):
    """By so much of its height it goes over the left, upper, right and lower side."""
    coverage = place(draw(character, 160), 400, 400)
    x, y, w, h = cv2.boundingRect(np.uint8(coverage > 0.5))
    left, top, right, bottom = (round(160 * share) if share else -50 for share in over)
    frame = np.zeros_like(coverage)
    cv2.rectangle(frame, (x + left, y + top), (x + w - right, y + h - bottom), 0.8, 3)
    turning = cv2.getRotationMatrix2D((200, 200), turn, 1)
    frame = cv2.warpAffine(frame, turning, (400, 400))
    image = to_emnist(photograph(paint(np.maximum(coverage, frame)), noise=1))
    assert difference(image, reference(character)) < 0.3


@pytest.mark.parametrize("character", ["2", "E", "K", "a", "g"])
@pytest.mark.parametrize("over", [(0.1, 0, 0), (0, 0.1, 0), (0, 0, 0.1)])
@pytest.mark.parametrize("radius", [15, 35])
def test_a_crossed_frame_may_have_round_corners(character, over, radius):
    """By so much of its height the character goes over the left, upper and lower side."""
    coverage = place(draw(character, 160), 400, 400)
    x, y, w, h = cv2.boundingRect(np.uint8(coverage > 0.5))
    left, top, bottom = (round(160 * share) if share else -50 for share in over)
    frame = np.zeros_like(coverage)
    inner = x + left + radius, y + top + radius, x + w + 50 - radius, y + h - bottom - radius
    cv2.rectangle(frame, inner[:2], inner[2:], 1, -1)
    depth = cv2.distanceTransform(np.uint8(frame == 0), cv2.DIST_L2, 5)
    frame = 0.8 * np.clip(2 - abs(depth - radius), 0, 1)
    image = to_emnist(photograph(paint(np.maximum(coverage, frame)), noise=1))
    assert difference(image, reference(character)) < 0.3


@pytest.mark.parametrize("character", ["2", "E", "K"])
@pytest.mark.parametrize("over", [(0.1, 0), (0, 0.1)])
@pytest.mark.parametrize("teeth", [0.6, 1.2])
def test_a_combs_cell_is_dropped_where_the_character_crosses_it(character, over, teeth):
    """By so much of its height it goes over the right and lower side; so high are the teeth."""
    coverage = place(draw(character, 160), 400, 400)
    x, y, w, h = cv2.boundingRect(np.uint8(coverage > 0.5))
    right, bottom = (round(160 * share) if share else -30 for share in over)
    left, right, base = x - 30, x + w - right, y + h - bottom
    top = base - round(160 * teeth)
    lines = np.zeros_like(coverage)
    ends = np.int32([(left, top), (left, base), (right, base), (right, top)])
    cv2.polylines(lines, [ends], False, 0.8, 3)
    image = to_emnist(photograph(paint(np.maximum(coverage, lines)), noise=1))
    assert difference(image, reference(character)) < 0.3


@pytest.mark.parametrize("character", ["2", "E", "H", "K", "a"])
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("colour", [(150, 170, 150), (200, 160, 110)])
def test_the_lines_between_a_row_s_or_a_column_s_cells_are_dropped(character, column, colour):
    """They are paler than a character that is near one of them, and would count as weak ink."""
    side = 400
    lines = np.zeros((side, side), np.float32)
    for at in (70, 290):
        lines[at : at + 3] = 1
    for at in (130, 270):
        lines[70:293, at : at + 3] = 1
    lines = lines.T if column else lines
    ink = place(draw(character, 100), side, side, *((138, 150) if column else (150, 138)))
    page = paint(lines, ink=colour, paper=(240, 245, 240)) * (1 - ink[..., None])
    image, notes = convert(flat(page + np.float32((40, 40, 40)) * ink[..., None]))
    assert difference(image, reference(character)) < TOLERANCE and not notes


def test_an_h_from_line_to_line_is_no_cell_between_two_strokes():
    """Its bar touches neither of them; it is lower than what is written in a cell."""
    page = np.full((400, 400, 3), 235, np.float32)
    page[100:102] = page[300:302] = (200, 150, 110)
    for ends in (((150, 100), (150, 300)), ((250, 100), (250, 300)), ((170, 200), (230, 200))):
        cv2.line(page, *ends, (40,) * 3, 6, cv2.LINE_AA)
    _, top, _, bottom, _ = sides(to_emnist(photograph(page, noise=1)))
    assert max(top, bottom) <= 4  # its bar alone leaves 13


@pytest.mark.parametrize("character", ["2", "E", "H", "K", "a"])
@pytest.mark.parametrize("teeth", [0.4, 0.6, 0.8])
def test_a_combs_cell_leaves_no_cut_in_a_character_that_is_taller(character, teeth):
    """Between the ends of its teeth, which are so high, nothing is printed."""
    coverage = place(draw(character, 200), 400, 400)
    x, y, w, h = cv2.boundingRect(np.uint8(coverage > 0.5))
    left, right, base = x - 40, x + w + 40, y + h + 25
    top = base - round(200 * teeth)
    lines = np.zeros_like(coverage)
    ends = np.int32([(left, top), (left, base), (right, base), (right, top)])
    cv2.polylines(lines, [ends], False, 0.8, 4)
    in_a_cell, alone = (
        to_emnist(photograph(paint(some), noise=1))
        for some in (np.maximum(coverage, lines), coverage)
    )
    assert difference(in_a_cell, alone) < 0.01


@pytest.mark.parametrize(
    "strokes",
    [
        [[(0, 0), (0, 1)], [(0.12, 0.02), (0.4, 0.65), (0.68, 0.02)], [(0.8, 0), (0.8, 1)]],  # M
        [[(0, 0), (0, 1)], [(0.13, 0), (0.57, 1)], [(0.7, 0), (0.7, 1)]],  # N
        [[(0, 0), (0, 1)], [(0.15, 0.5), (0.5, 0.5)], [(0.65, 0), (0.65, 1)]],  # H
        [[(0.1, 0.2), (0.4, 0), (0.4, 0.85)], [(0, 1), (0.8, 1)]],  # 1
        [[(0.5, 0), (0, 0), (0, 1), (0.5, 1)], [(0.65, 0), (0.65, 1)], [(0.15, 0.5), (0.5, 0.5)]],
    ],
    ids=["M", "N", "H", "1", "B"],
)
@pytest.mark.parametrize("pen", [8, 20])
def test_strokes_of_one_character_that_do_not_touch_are_all_kept(strokes, pen):
    page = np.full((440, 440, 3), 235, np.uint8)
    for stroke in strokes:
        places = np.int32(np.multiply(stroke, 240) + (120, 100))
        cv2.polylines(page, [places], False, (40, 40, 40), pen, cv2.LINE_AA)
    _, _, width, height = cv2.boundingRect(np.uint8(page[..., 0] < 130))
    left, top, right, bottom, _ = sides(to_emnist(page), 0.4)
    assert (28 - left - right) / (28 - top - bottom) == pytest.approx(width / height, abs=0.08)


SHEETS = {  # corners, in units of the picture's side
    "whole": [(0.1, 0.15), (0.85, 0.05), (0.95, 0.9), (0.05, 0.8)],
    "cut off at two sides": [(0.3, -0.1), (1.2, 0.1), (1.1, 0.9), (0.1, 0.8)],
    "small": [(0.25, 0.2), (0.8, 0.25), (0.75, 0.8), (0.2, 0.75)],
}


def on_a_desk(page, corners, desk=(20, 50, 90)):
    """A page, (h, w, 3), seen within the corners of `SHEETS` alone."""
    sheet = np.zeros(page.shape[:2], np.float32)
    places = np.array(corners) * page.shape[1::-1]
    cv2.fillPoly(sheet, [places.astype(np.int32)], 1, cv2.LINE_AA)
    return page * sheet[..., None] + np.float32(desk) * (1 - sheet[..., None])


@pytest.mark.parametrize("corners", SHEETS.values(), ids=SHEETS)
@pytest.mark.parametrize("desk", [(20, 50, 90), (110, 90, 60)])
@pytest.mark.parametrize("character", ["5", "e"])
def test_a_sheet_on_a_desk(corners, desk, character):
    page = paint(place(draw(character, 110), 500, 500), (70,) * 3, (225, 230, 235))
    picture = photograph(on_a_desk(page, corners, desk))
    assert difference(to_emnist(picture), reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "8"])
@pytest.mark.parametrize("corners", [SHEETS["whole"], SHEETS["small"]], ids=["whole", "small"])
def test_pencil_on_a_squared_sheet_on_a_desk(character, corners):
    """The lines are as dark, and end at the sheet's edges, askew, not at the picture's."""
    page = np.full((600, 600, 3), 230, np.float32)
    page[7::70] = page[8::70] = page[:, 9::70] = page[:, 10::70] = (130, 100, 80)
    coverage = place(draw(character, 130), 600, 600)[..., None]
    page = on_a_desk(page * (1 - coverage) + 120 * coverage, corners)
    image, notes = convert(photograph(page, noise=2))
    assert difference(image, reference(character)) < 0.15 and not notes


@pytest.mark.parametrize("character", ["2", "H", "a", "8"])
@pytest.mark.parametrize(("thick", "soft"), [(120, 12), (220, 6)])
def test_a_shadow_across_a_sheet_on_a_desk(character, thick, soft):
    """Nearer to the desk in its grey than to the rest of the sheet, it divides that."""
    page = paint(place(draw(character, 100), 600, 600), (70,) * 3, (230,) * 3)
    shadow = np.zeros((600, 600), np.float32)
    cv2.line(shadow, (-100, 100), (300, 400), 1, thick)
    light = 1 - 0.45 * cv2.GaussianBlur(shadow, (0, 0), soft)[..., None]
    image, notes = convert(photograph(on_a_desk(page, SHEETS["whole"]) * light, noise=2))
    assert difference(image, reference(character)) < TOLERANCE and not notes


def test_a_sheet_is_found_where_little_of_the_desk_is_seen():
    grey = np.full((64, 64), 225, np.float32)
    cv2.fillPoly(grey, [np.int32([(0, 0), (0, 63), (4, 0)])], 40)
    assert find_sheet(grey).mean() > 0.8


@pytest.mark.parametrize("character", ["2", "H", "a", "8"])
@pytest.mark.parametrize("at", [(0.12, 0.45), (0.5, 0.1)])
def test_what_lies_on_the_edge_of_a_sheet_on_a_desk_is_no_ink(character, at):
    """A clip, a finger's tip."""
    coverage = place(draw(character, 120), 600, 600)
    page = on_a_desk(paint(coverage, (80,) * 3, (230,) * 3), SHEETS["whole"])
    cv2.circle(page, [int(600 * share) for share in at], 25, (60, 60, 60), cv2.FILLED, cv2.LINE_AA)
    image, _ = convert(photograph(page, noise=2))
    assert difference(image, reference(character)) < TOLERANCE


@pytest.mark.parametrize("gap", [10, 14])
@pytest.mark.parametrize("character", ["5", "e"])
def test_a_character_near_the_edge_of_a_sheet_on_a_desk(character, gap):
    ground = place(np.ones((200, 200), np.float32), 500, 500)
    coverage = place(draw(character, 110), 500, 500, 150 + gap, 200)[..., None]
    page = paint(ground, (225, 230, 235), (20, 50, 90)) * (1 - coverage) + 70 * coverage
    image, notes = convert(photograph(page, noise=2))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("fingers", [1, 3])
@pytest.mark.parametrize("soft", [4, 7])
def test_a_shadow_from_an_edge_is_no_ink_that_it_cuts_off(character, fingers, soft):
    """In light that falls off, the other edges differ from the paper too, though less than ink."""
    shadow = np.zeros((360, 440), np.float32)
    for k in range(fingers):
        ends = (60 + k * 34, -60), (150 + k * 34, 190 - k * 10)
        cv2.line(shadow, *ends, 1, 80 if fingers == 1 else 30)
    shadow = cv2.GaussianBlur(shadow, (0, 0), soft)[..., None]
    page = paint(place(draw(character, 90), 360, 440, 250, 200), (50,) * 3, (200,) * 3)
    image = to_emnist(photograph(page * (1 - 0.35 * shadow), noise=3, shade=0.15))
    assert difference(image, reference(character)) < 0.3


@pytest.mark.parametrize("character", ["2", "H", "a", "8"])
@pytest.mark.parametrize("noise", [4, 6])
def test_a_shadow_from_edge_to_edge_is_no_sheet(character, noise):
    """Around which, in a picture with noise, there would be less of that than on it."""
    page = paint(place(draw(character, 90), 400, 400, 250, 230), (60,) * 3, (180,) * 3)
    shadow = np.zeros((400, 400), np.float32)
    cv2.line(shadow, (-100, 100), (500, 140), 1, 90)
    light = 1 - 0.25 * cv2.GaussianBlur(shadow, (0, 0), 9)[..., None]
    image = to_emnist(photograph(page * light, noise=noise, shade=0.1))
    assert difference(image, reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize(("place_of_it", "depth"), [((130, 130), 0.35), ((300, 100), 0.5)])
def test_a_shadow_that_ends_within_the_picture_is_no_ink(character, place_of_it, depth):
    """Or seems to: what lies along the edge may have passed for paper."""
    shadow = np.zeros((360, 440), np.float32)
    cv2.circle(shadow, place_of_it, 55, 1, cv2.FILLED)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 9)[..., None]
    page = paint(place(draw(character, 90), 360, 440, 250, 200), (30,) * 3, (200,) * 3)
    image = to_emnist(photograph(page * (1 - depth * shadow), noise=3))
    assert difference(image, reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize(("paper", "ink", "edge"), [(205, 105, 125), (160, 112, 122)])
@pytest.mark.parametrize("thick", [4, 7])
def test_what_is_as_dark_along_the_edges_is_no_ink_that_they_cut_off(
    character, paper, ink, edge, thick
):
    """A cell cut out along its frame; a sheet, beside which a little of the desk is seen."""
    sheet = np.zeros((380, 380), np.float32)
    sheet[thick:-thick, thick:-thick] = 1
    sheet = cv2.GaussianBlur(sheet, (0, 0), 1)[..., None]
    page = paint(place(draw(character, 228, 4), 380, 380), (ink,) * 3, (paper,) * 3)
    image = to_emnist(photograph(page * sheet + edge * (1 - sheet), noise=3))
    assert difference(image, reference(character, 4)) < TOLERANCE


@pytest.mark.parametrize("colour", [(160, 220, 200), (230, 230, 150), (200, 150, 235)])
@pytest.mark.parametrize("character", ["5", "e"])
def test_a_forms_white_cell_in_a_pale_colour(colour, character):
    ink = place(draw(character, 150, 5), 500, 400)[..., None]
    cell = np.zeros((500, 400, 1), np.float32)
    cell[150:350, 110:290] = 1
    page = (245 * cell + np.float32(colour) * (1 - cell)) * (1 - ink) + 60 * ink
    image, notes = convert(photograph(page, noise=2))
    assert difference(image, reference(character, 5)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", GLYPHS)
def test_light_ink_is_no_sheet(character):
    coverage = np.pad(draw(character, 400, 6), 30)
    picture = photograph(paint(coverage, ink=(240,) * 3, paper=(20,) * 3))
    assert difference(to_emnist(picture), reference(character, 6)) < TOLERANCE


@pytest.mark.parametrize("pen", [44, 54])
@pytest.mark.parametrize(
    ("ink", "paper"), [((220,) * 3, (30,) * 3), ((230, 110, 225), (60, 20, 220))]
)
def test_a_light_d_is_no_sheet(pen, ink, paper):
    """It is as convex as one, and its hole as large as a character on it."""
    coverage = np.zeros((400, 500), np.float32)
    corners = np.int32([(140, 90), *_arc(190, 200, 100, 110, -90, 90), (140, 310)])
    cv2.polylines(coverage, [corners], True, 1, pen, cv2.LINE_AA)
    light, dark = (to_emnist(flat(paint(coverage, *pair))) for pair in ((ink, paper), ()))
    assert difference(light, dark) < TOLERANCE


@pytest.mark.parametrize("ink", [(40, 40, 40), (25, 45, 110), (150, 110, 30)])
@pytest.mark.parametrize("paper", [235, 115])
def test_a_fat_letter_with_a_hole_is_no_note(ink, paper):
    coverage = place(np.ones((300, 220), np.float32), 400, 400)
    coverage[140:260, 150:250] = 0
    image = to_emnist(photograph(paint(coverage, ink, (paper,) * 3)))
    assert image[14, 7] > 0.9 and image[14, 14] < 0.1


def test_specks_are_dropped_and_dots_are_kept():
    rng = np.random.default_rng(0)
    for character in "aij":
        coverage = place(draw(character, 200), 300, 300)
        for x, y in rng.integers(5, 295, (12, 2)):
            if coverage[max(0, y - 9) : y + 10, max(0, x - 9) : x + 10].max() == 0:
                cv2.circle(coverage, (int(x), int(y)), 1, 1, -1)
        image = to_emnist(flat(paint(coverage)))
        assert difference(image, reference(character)) < TOLERANCE


def test_a_small_dot_high_over_its_stem_is_kept():
    coverage = np.zeros((300, 300), np.float32)
    cv2.line(coverage, (150, 180), (150, 260), 1, 12)
    cv2.circle(coverage, (180, 110), 4, 1, -1)  # a twentieth of the stem's area, its height away
    image = to_emnist(flat(paint(coverage)))
    assert cv2.connectedComponents((image > 0.3).astype(np.uint8))[0] - 1 == 2


@pytest.mark.parametrize("character", "aij8")
def test_larger_specks_far_from_the_character_are_dropped(character):
    """As a phone's picture of a small character in bad light has them."""
    coverage = place(draw(character, 120), 500, 500)
    size = int(np.sqrt(0.05 * (coverage > 0.5).sum()))
    for x, y in ((40, 40), (440, 250), (250, 450)):
        coverage[y : y + size, x : x + size] = 1
    assert difference(to_emnist(flat(paint(coverage))), reference(character)) < TOLERANCE


def test_the_dot_of_a_hair_thin_i_is_kept():
    image = to_emnist(flat(paint(place(draw("i", 700, 0.25), 900, 900))))
    pieces = cv2.connectedComponents((image > 0.5).astype(np.uint8))[0] - 1
    assert pieces == 2


def test_a_broken_glyph_is_kept_whole():
    coverage = draw("8", 200)
    coverage[95:101] = 0
    coverage[:, 60:65] = 0
    image = to_emnist(flat(paint(np.pad(coverage, 40))))
    assert difference(image, reference("8")) < 0.2


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("edge", range(4))
def test_a_glyph_that_touches_the_border_survives(character, edge):
    coverage = draw(character, 150)  # 2 px of paper around it: none is left on one side
    cut = np.rot90(np.rot90(np.pad(coverage, 15), edge)[18:], -edge)
    picture = flat(paint(np.ascontiguousarray(cut)))
    assert difference(to_emnist(picture), reference(character)) < 0.15


@pytest.mark.parametrize("character", ["2", "K"])
def test_a_hair_thin_line_in_a_6000_px_scan_survives(character):
    coverage = place(draw(character, 5000, 0.011), 6000, 6000)  # 2 to 3 px wide
    image = to_emnist(flat(paint(coverage)))
    assert image.dtype == np.float32  # thickened strokes go a way of their own
    assert difference(image, reference(character, 2.0)) < 0.2


@pytest.mark.parametrize("character", ["2", "K", "i"])
def test_12_px_are_enough_to_find_it(character):
    picture = flat(paint(draw(character, 12)))
    assert difference(to_emnist(picture), reference(character)) < 0.5


# --------------------------------------------------------------------------- blank, and several


@pytest.mark.parametrize("size", [(1, 1), (30, 30), (200, 300), (900, 700), (1, 3000), (3000, 1)])
@pytest.mark.parametrize(
    ("noise", "shade", "level"), [(0, 0, 255), (0, 0, 0), (3, 0, 220), (15, 0, 128), (4, 0.6, 200)]
)
def test_a_blank_picture_is_said_to_be_blank(size, noise, shade, level):
    picture = photograph(np.full((*size, 3), level, np.float32), 1, noise, shade)
    with pytest.raises(PictureError, match="^blank: no ink found$"):
        to_emnist(picture)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 40, 3), (40, 0), (30, 0, 4)])
def test_a_picture_without_a_pixel_is_blank(shape):  # cut out of another, beyond its edge
    with pytest.raises(PictureError, match="^blank: no ink found$"):
        to_emnist(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("side", [80, 200, 700])
def test_a_blank_page_with_a_dark_edge_is_blank(side):
    colours = np.full((side, side, 3), 220, np.float32)
    colours[:, : side // 15] = 30
    with pytest.raises(PictureError, match="blank"):
        to_emnist(photograph(colours))


def test_several_characters_give_a_note_and_one_does_not():
    both = np.hstack([np.pad(draw("K", 120), 20), np.pad(draw("2", 120), 20)])
    image, notes = convert(flat(paint(both)))
    assert notes == ["several characters?"]
    assert sides(image)[4] in (21, 22, 23)  # the whole is read
    small = np.pad(draw("a", 80), ((60, 20), (0, 20)))
    assert convert(flat(paint(np.hstack([np.pad(draw("K", 120), 20), small]))))[1] == notes
    for character in GLYPHS:
        assert convert(flat(paint(np.pad(draw(character, 120), 20))))[1] == []


@pytest.mark.parametrize("character", sorted({*GLYPHS} - {*"ij"}))  # theirs are two pieces
def test_what_the_edge_cuts_off_is_left_out_beside_a_whole_character(character):
    """The letters before and after it in a word."""
    coverage = draw(character, 150)
    word = place(coverage, 300, coverage.shape[1] + 90)
    word[75:225, :30] = np.fliplr(draw("K", 150))[2:152, -32:-2]
    word[75:225, -25:] = draw("8", 150)[2:152, 2:27]
    image, notes = convert(photograph(paint(word), noise=2))
    assert difference(image, reference(character)) < TOLERANCE
    assert notes == ["left out what the edge cuts off"]


@pytest.mark.parametrize("character", GLYPHS)
def test_a_fax_in_black_dots_is_seen_as_the_grey_that_they_stand_for(character):
    """Floyd and Steinberg's dots: of a small character's paper they would make one large piece."""
    page = paint(place(draw(character, 50, 4), 220, 220), (60, 60, 60), (214, 214, 214))
    grey = np.pad(page[..., 0].astype(float), [(0, 1), (1, 1)])
    for y, x in np.ndindex(220, 220):
        level = 255 * (grey[y, x + 1] > 127)
        error = grey[y, x + 1] - level
        grey[y, x + 1] = level
        grey[y, x + 2] += error * 7 / 16
        grey[y + 1, x : x + 3] += error * np.array([3, 5, 1]) / 16
    fax = np.uint8(grey[:-1, 1:-1])
    image = to_emnist(cv2.cvtColor(fax, cv2.COLOR_GRAY2BGR))
    assert difference(image, reference(character, 4)) < TOLERANCE_SMALL


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("thing", ["pen", "finger"])
def test_a_pen_or_a_finger_on_the_page_is_left_out(character, thing):
    """Both in from the edge; the pen is longer than the character is high, and has more ink."""
    page = paint(place(draw(character, 200), 520, 560), paper=(225, 225, 225))
    if thing == "pen":
        cv2.line(page, (50, 200), (30, 540), (30, 40, 120), 20, cv2.LINE_AA)
    else:
        cv2.ellipse(page, (470, 519), (30, 70), 0, 0, 360, (60, 90, 150), -1, cv2.LINE_AA)
    image = to_emnist(photograph(page, noise=2))
    assert difference(image, reference(character)) < TOLERANCE


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("away", [40, 90])
@pytest.mark.parametrize("angle", [25, 40, 55])
def test_a_slanting_pen_is_left_out_though_its_box_overlaps_the_character_s(character, angle, away):
    """It crosses the page, is hardly thicker than the strokes, and has more ink, or is near."""
    page = paint(place(draw(character, 200), 520, 560), paper=(225, 225, 225))
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    across = np.array([-along[1], along[0]])  # to the lower left
    ink = np.argwhere(page.min(axis=2) < 128)[:, ::-1]
    nearest = (ink @ across).max() + away + 12
    middle = nearest * across + (np.array([280, 260]) @ along) * along
    ends = [tuple(map(int, middle + k * 800 * along)) for k in (-1, 1)]
    cv2.line(page, *ends, (120, 60, 30), 24, cv2.LINE_AA)
    image, notes = convert(photograph(page, noise=2))
    assert difference(image, reference(character)) < TOLERANCE
    assert notes == ["left out what the edge cuts off"]


@pytest.mark.parametrize("character", sorted({*GLYPHS} - {*"ij"}))  # their dots are as near
@pytest.mark.parametrize("thick", [60, 120])
@pytest.mark.parametrize("edge", ["left", "above", "right", "below"])
def test_a_finger_near_the_character_is_left_out(character, thick, edge):
    """The sheet is held by it: it is thicker than the strokes, and may have far more ink."""
    coverage = draw(character, 130, 2)
    page = paint(place(coverage, 420, 420), (40, 90, 30), (215, 215, 215))
    across, down = {"left": (-1, 0), "above": (0, -1), "right": (1, 0), "below": (0, 1)}[edge]
    ink = np.array(cv2.boundingRect((coverage > 0.5).astype(np.uint8))[2:]) // 2
    far = 30 + thick // 2 + ink[0 if across else 1]  # a fifth of its height from its box
    tip = 210 + across * far, 210 + down * far
    end = tip[0] + 400 * across, tip[1] + 400 * down
    cv2.line(page, tip, end, (90, 120, 170), thick, cv2.LINE_AA)
    image = to_emnist(photograph(page, noise=2))
    assert difference(image, reference(character, 2)) < TOLERANCE


def test_a_fat_part_of_a_character_that_the_edge_cuts_is_no_finger():
    """An E whose middle bar is thinner than the rest, and does not touch it."""
    page = np.full((200, 200, 3), 230, np.uint8)
    for first, last in (((0, 30), (36, 170)), ((0, 30), (120, 60)), ((0, 140), (120, 170))):
        cv2.rectangle(page, first, last, (40, 40, 40), -1)
    cv2.rectangle(page, (60, 93), (115, 107), (40, 40, 40), -1)
    image, notes = convert(page)
    assert cv2.connectedComponents((image > 0.5).astype(np.uint8))[0] - 1 == 2 and notes == []


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("shade", ["phone", "fingers"])
@pytest.mark.parametrize("softness", [7, 14])
def test_the_shadow_of_a_hand_or_a_phone(character, shade, softness):
    """Across the character, and beside it."""
    page = paint(
        place(draw(character, 200, 2.5), 420, 380), ink=(70, 60, 60), paper=(220, 220, 220)
    )
    shadow = np.zeros(page.shape[:2], np.float32)
    if shade == "phone":
        cv2.fillPoly(shadow, [np.int32([(150, 190), (290, 160), (370, 460), (230, 490)])], 1)
    else:
        for x in (170, 290):
            cv2.line(shadow, (x, 440), (x - 60, 200), 1, 34)
    shadow = cv2.GaussianBlur(shadow, (0, 0), softness)
    picture = photograph(page * (1 - 0.4 * shadow[..., None]), noise=2)
    assert difference(to_emnist(picture), reference(character, 2.5)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "8", "i"])
@pytest.mark.parametrize("sun", ["blinds", "leaves", "many leaves"])
def test_the_sun_through_blinds_or_leaves(character, sun):
    """Bands or patches of shade all over the page, as wide as strokes or wider, paler than ink."""
    page = paint(place(draw(character, 200, 2.5), 420, 380), (60, 50, 45), (215, 220, 225))
    if sun == "blinds":
        shade = np.indices(page.shape[:2])[0] % 70 < 32
    else:
        size = 9 if "many" in sun else 20
        noise = np.random.default_rng(4).standard_normal(page.shape[:2])
        shade = cv2.GaussianBlur(noise, (0, 0), size) > 0
    shade = cv2.GaussianBlur(np.float32(shade), (0, 0), 3)
    picture = photograph(page * (1 - 0.45 * shade[..., None]), noise=2)
    assert difference(to_emnist(picture), reference(character, 2.5)) < 0.2


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("shade", [0.05, 0.3])
def test_a_photographed_character_at_the_picture_s_edge_is_whole(character, turns, shade):
    """No sun's patch, of which a part of the stroke would be the character."""
    coverage = place(draw(character, 300, 2.5), 420, 420)
    left = np.rot90(coverage, turns)
    left = np.roll(left, -np.argmax(left.max(axis=0) > 0.5) - 3, axis=1)
    left[:, 417:] = 0
    page = paint(np.rot90(left, -turns), ink=(60, 50, 40), paper=(205, 210, 212))
    picture = photograph(page, noise=3, shade=shade)
    assert difference(to_emnist(picture), reference(character, 2.5)) < 0.3


@pytest.mark.parametrize(
    ("character", "strokes"),
    [
        ("E", STROKES["E"]),
        ("T", [[(0, 0), (0.7, 0)], [(0.35, 0), (0.36, 1)]]),
        ("L", [[(0, 0), (0, 1), (0.6, 1)]]),
        ("4", [[(0.1, 0), (0, 0.6), (0.65, 0.6)], [(0.55, 0), (0.6, 1)]]),
        ("7", [[(0, 0), (0.65, 0), (0.2, 1)]]),
    ],
)
@pytest.mark.parametrize("margin", [0, 2])
@pytest.mark.parametrize("grain", [0, 3])
def test_straight_strokes_of_a_character_cut_out_flush_are_no_ruled_lines(
    character, strokes, margin, grain, monkeypatch
):
    monkeypatch.setitem(STROKES, character, strokes)
    whole = draw(character, 300, 0.8)
    x, y, w, h = cv2.boundingRect((whole > 0.5).astype(np.uint8))
    coverage = np.pad(whole[y : y + h, x : x + w], margin)
    image = to_emnist(photograph(paint(coverage), noise=grain, shade=0.02 * grain))
    clear = to_emnist(flat(paint(np.pad(whole, 80))))
    assert difference(image, clear) < TOLERANCE


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize("gap", [10, 14])
def test_all_pieces_of_a_photographed_character_are_kept(character, gap):
    coverage = place(draw(character, 300, 2.5), 420, 420)
    rng = np.random.default_rng(2)
    for _ in range(5):
        y, x = rng.choice(np.argwhere(coverage > 0.5))
        cv2.circle(coverage, (int(x), int(y)), gap, 0, -1)
    colours = paint(coverage, (60, 50, 40), (205, 210, 212))
    even, uneven = (to_emnist(photograph(colours, noise=3, shade=s)) for s in (0, 0.3))
    assert difference(uneven, even) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "8"])
def test_the_ring_of_a_cup_is_no_ink(character):
    page = paint(place(draw(character, 130, 2.5), 420, 420), (60, 50, 45), (215, 220, 225))
    ring = np.zeros(page.shape[:2], np.float32)
    cv2.circle(ring, (150, 330), 190, 1, 9)
    ring = cv2.GaussianBlur(ring, (0, 0), 2)[..., None] * (0.35, 0.25, 0.15)
    picture = photograph(page * (1 - ring), noise=2)
    assert difference(to_emnist(picture), reference(character, 2.5)) < 0.2


@pytest.mark.parametrize("character", GLYPHS)
def test_the_flecks_in_mottled_ink_are_no_shadow(character):
    """A felt pen's on skin: beside each fleck the ink rises as steeply as at its rims."""
    coverage = place(draw(character, 230, 5), 330, 330)
    flecks = cv2.GaussianBlur(np.random.default_rng(1).standard_normal(coverage.shape), (0, 0), 1.2)
    coverage *= np.clip(0.9 + 0.2 * flecks / flecks.std(), 0, 1)
    page = photograph(paint(coverage, (90, 50, 45), (120, 150, 190)), noise=2)
    assert difference(to_emnist(page), reference(character, 5)) < TOLERANCE


@pytest.mark.parametrize("character", ["2", "H", "a", "8"])
@pytest.mark.parametrize(("line", "depth"), [((190, 160, 120), 0.3), ((160, 130, 100), 0.4)])
@pytest.mark.parametrize("soft", [9, 14])
def test_a_shadow_on_squared_paper(character, line, depth, soft):
    """Whose lines cross the shadow's soft rims, and are sharp there."""
    page = np.full((500, 600, 3), 225, np.float32)
    page[7::45] = page[8::45] = page[:, 9::45] = page[:, 10::45] = line
    coverage = place(draw(character, 110), 500, 600, 230, 330)[..., None]
    shadow = np.zeros((500, 600), np.float32)
    cv2.line(shadow, (-100, 60), (240, 280), 1, 120)
    light = 1 - depth * cv2.GaussianBlur(shadow, (0, 0), soft)[..., None]
    image, notes = convert(photograph((page * (1 - coverage) + 50 * coverage) * light, noise=2))
    assert difference(image, reference(character)) < TOLERANCE and not notes


@pytest.mark.parametrize("character", GLYPHS)
@pytest.mark.parametrize(("thick", "tip"), [(90, (170, 190)), (120, (120, 150))])
@pytest.mark.parametrize(("noise", "shade"), [(3, 0), (0, 0.1)])  # a camera may smooth all noise
def test_a_hand_s_shadow_that_reaches_the_character_is_no_part_of_it(
    character, thick, tip, noise, shade
):
    shadow = np.zeros((420, 420), np.float32)
    cv2.line(shadow, (-150, -100), tip, 1, thick)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 5)[..., None]
    page = paint(place(draw(character, 130), 420, 420), (50,) * 3, (215,) * 3)
    image = to_emnist(photograph(page * (1 - 0.4 * shadow), noise=noise, shade=shade))
    assert difference(image, reference(character)) < TOLERANCE_SMALL


def test_a_character_in_pieces_that_is_cut_out_flush_is_read_whole():
    page = np.full((200, 200, 3), 230, np.uint8)
    for start, end in ((25, 65), (85, 175), (195, 300)):  # of a C, of which no edge cuts the first
        cv2.ellipse(page, (100, 100), (90, 90), 0, start, end, (40, 40, 40), 20)
    image, notes = convert(page)
    assert cv2.connectedComponents((image > 0.5).astype(np.uint8))[0] - 1 == 3 and notes == []


@pytest.mark.parametrize("character", ["2", "8", "e"])
def test_a_character_in_pieces_is_read_whole_where_the_edge_cuts_one_of_them(character):
    coverage = draw(character, 150)
    coverage[62:77] = 0
    cut, whole = (np.pad(coverage[5:], ((above, 30), (30, 30))) for above in (0, 30))
    image, notes = convert(flat(paint(cut)))
    assert difference(image, convert(flat(paint(whole)))[0]) < 0.15 and notes == []


# ------------------------------------------------------------------------------------ the files


def png(width, height, depth, kind, rows, extra=b""):
    """A PNG file, chunk by chunk; `rows` is the raw data with its filter bytes."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + extra + body + chunk(b"IEND", b"")


def encode(kind, array, options=()):
    return cv2.imencode(kind, array, options)[1].tobytes()


PAGE = flat(paint(place(draw("2", 60), 90, 90)))


def line_of(path):
    """The one line of the PictureError that reading `path` raises."""
    with pytest.raises(PictureError) as error:
        read_picture(path)
    line = str(error.value)
    assert "\n" not in line and 3 < len(line) < 100
    return line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "is empty (0 bytes)"),
        (b"hello, world\n", "not a picture that OpenCV can read"),
        (b"\x00", "not a picture that OpenCV can read"),
        (
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100),
            "a HEIC picture, which OpenCV cannot read: save it as JPEG or PNG",
        ),
        (b"%PDF-1.4\n", "a PDF, which OpenCV cannot read: save it as JPEG or PNG"),
        (
            b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
            "an SVG drawing, which OpenCV cannot read: save it as JPEG or PNG",
        ),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "not a picture that OpenCV can read"),
        (encode(".png", PAGE)[:200], "not a picture that OpenCV can read"),
        (encode(".jpg", PAGE)[:200], "not a picture that OpenCV can read"),
        (png(8, 8, 8, 2, bytes(100)), "not a picture that OpenCV can read"),
    ],
    ids=[
        "empty",
        "text",
        "one byte",
        "heic",
        "pdf",
        "svg",
        "avif cut",
        "png cut",
        "jpeg cut",
        "png short",
    ],
)
def test_a_file_that_is_no_picture_gives_one_line(tmp_path, capfd, data, line):
    path = tmp_path / "x.png"
    path.write_bytes(data)
    assert line_of(path) == line
    assert capfd.readouterr() == ("", "")  # neither OpenCV nor libpng adds its own


@pytest.mark.parametrize("brand", "heic heix heim heis hevc hevx".split())
def test_each_brand_of_heic_is_named_so(tmp_path, brand):
    (tmp_path / "x").write_bytes(b"\0\0\0\x18ftyp" + brand.encode() + bytes(100))
    assert line_of(tmp_path / "x").startswith("a HEIC picture, ")


def test_a_grey_tiff_whose_transparency_opencv_loses_is_named_so(tmp_path):
    ink = Image.merge("LA", [Image.new("L", (90, 90)), Image.fromarray(255 - PAGE[..., 0])])
    ink.save(tmp_path / "x.tif", compression="tiff_lzw")
    line = "a grey TIFF with transparency, which OpenCV loses: save it as PNG"
    assert line_of(tmp_path / "x.tif") == line
    opaque = Image.merge("LA", [Image.fromarray(PAGE[..., 0]), Image.new("L", (90, 90), 255)])
    opaque.save(tmp_path / "x.tif")
    assert difference(to_emnist(read_picture(tmp_path / "x.tif")), to_emnist(PAGE)) < TOLERANCE


def test_what_is_no_regular_file_gives_one_line(tmp_path):
    assert line_of(tmp_path / "none.png") == "no such file"
    assert line_of(tmp_path) == "is a directory"
    assert "null" in line_of("a\0b")
    assert line_of(os.devnull) == "not a regular file"
    if os.name != "nt":  # there these need rights, are not there or are no such file
        os.mkfifo(tmp_path / "fifo.png")
        assert line_of(tmp_path / "fifo.png") == "not a regular file"
        (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
        assert line_of(tmp_path / "loop.png") == "a loop of symbolic links"
        assert "too long" in line_of(tmp_path / ("x" * 300)).lower()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named_so(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(encode(".png", PAGE))
    path.chmod(0)
    assert line_of(path) == "no permission to read it"


def test_a_huge_sparse_file_is_not_loaded(tmp_path):
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(2**31)
    assert line_of(tmp_path / "x.png") == "too large: more than 256 MiB"


TIFF = [(256, 30000), (257, 30000), (258, 8), (259, 1), (262, 1), (273, 120), (277, 1), (279, 9)]
BOMBS = {
    "png": png(30000, 30000, 8, 2, bytes(99)),
    "ppm": b"P6\n30000 30000\n255\n" + bytes(99),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 99, 0, 0, 54, 40, 30000, 30000, 1, 24, *[0] * 6),
    "gif": b"GIF89a"
    + struct.pack("<HHBBB", 30000, 30000, 0x80, 0, 0)
    + bytes(6)
    + b","
    + struct.pack("<HHHHB", 0, 0, 30000, 30000, 0)
    + b"\2\2\x44\1\0;",
    "pgm": b"P5 1100000 1 255 ",
    "tiff": b"II*\0\x08\0\0\0\x08\0"
    + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in TIFF)
    + bytes(99),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no module `resource`")
def test_a_decompression_bomb_is_refused_before_memory_goes_up(tmp_path):
    for kind, data in BOMBS.items():
        (tmp_path / f"x.{kind}").write_bytes(data)
    code = """if True:
        import resource, sys, picture
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for path in sys.argv[1:]:
            try:
                picture.read_picture(path)
            except picture.PictureError as error:
                print(error)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    paths = [str(tmp_path / f"x.{kind}") for kind in BOMBS]
    run = subprocess.run(  # its own process, where picture comes before cv2
        [sys.executable, "-c", code, *paths],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    *lines, kilobytes = run.stdout.splitlines()
    reasons = dict.fromkeys(BOMBS, "64 megapixels") | {"pgm": "a million pixels wide or high"}
    assert lines == [f"too large: more than {reason}" for reason in reasons.values()]
    assert run.stderr == ""
    assert int(kilobytes) < 20_000  # each of the pictures would have 0.9 to 2.7 GB


def test_too_many_pixels_are_refused_also_where_opencv_came_first(monkeypatch):
    monkeypatch.setattr(picture, "MAX_MEGAPIXELS", 0.008)  # of which OpenCV was not told
    with pytest.raises(PictureError, match="^too large: more than 0.008 megapixels$"):
        decode(np.frombuffer(encode(".png", PAGE), np.uint8))


def test_names_with_newlines_and_other_scripts(tmp_path):
    lines = [] if os.name == "nt" else ["two\nlines.png"]
    for name in ("héé 手書き.png", " .png", "-x.png", *lines):
        (tmp_path / name).write_bytes(encode(".png", PAGE))
        assert np.array_equal(read_picture(tmp_path / name), PAGE)
        assert np.array_equal(read_picture(str(tmp_path / name)), PAGE)


GREY = PAGE[..., 0]
WHITE = np.full_like(PAGE, 255)
NAN = PAGE.astype(np.float32) / 255
NAN[:5, :5] = np.nan
NAN[5, 5] = np.inf
BELOW = PAGE.astype(np.float32) / 255 - 0.3
WILD = PAGE.astype(np.float32)
WILD[5, 5] = 1e38
KINDS = {
    "grey": encode(".png", GREY),
    "16 bits": encode(".png", PAGE.astype(np.uint16) * 257),
    "opaque": encode(".png", np.dstack([PAGE, WHITE[..., 0]])),
    "alpha only": encode(".png", np.dstack([WHITE * 0, 255 - GREY])),
    "alpha only, below a half": encode(".png", np.dstack([WHITE * 0, (255 - GREY) // 5 * 2])),
    "alpha only, white": encode(".png", np.dstack([WHITE, 255 - GREY])),
    "alpha only, inverted": encode(".png", np.dstack([WHITE, GREY])),
    "grey and alpha": png(
        90, 90, 8, 4, b"".join(b"\0" + np.dstack([r * 0, 255 - r]).tobytes() for r in GREY)
    ),
    "palette": png(
        90, 90, 8, 3, b"".join(b"\0" + (r < 128).tobytes() for r in GREY),
        struct.pack(">I", 6) + b"PLTE" + b"\xff\xff\xff\0\0\xff"
        + struct.pack(">I", zlib.crc32(b"PLTE\xff\xff\xff\0\0\xff")),
    ),
    "jpeg": encode(".jpg", PAGE),
    "webp": encode(".webp", PAGE),
    "bmp": encode(".bmp", PAGE),
    "bmp with a byte unused": encode(".bmp", np.dstack([PAGE, 0 * GREY])),
    "gif": encode(".gif", PAGE),
    "float tiff below 0": encode(".tiff", BELOW),
    "float tiff with NaN": encode(".tiff", NAN),
    "float tiff with a wild value": encode(".tiff", WILD),
    "double tiff": encode(".tiff", GREY / 255.0),
    "pfm": encode(".pfm", PAGE.astype(np.float32)),
    "cut-out": encode(".png", np.dstack([PAGE, np.pad(WHITE[5:-5, 5:-5, 0], 5)])),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_is_read(tmp_path, kind):
    path = tmp_path / "x"
    path.write_bytes(KINDS[kind])
    picture = read_picture(path)
    assert picture.shape == (90, 90, 3) and picture.dtype == np.uint8
    assert difference(to_emnist(picture), to_emnist(PAGE)) < TOLERANCE


def test_a_picture_of_no_pixels_is_blank():
    with pytest.raises(PictureError, match="^blank: no ink found$"):
        convert(np.zeros((0, 9, 3), np.uint8))


def test_whatever_cv2_imread_gives_is_converted():
    grey, alpha = PAGE[..., 0], np.full_like(PAGE[..., 0], 255)
    for read in (grey, grey[..., None], np.dstack([PAGE, alpha]), PAGE.astype(np.uint16) << 8):
        assert (to_emnist(read) == to_emnist(PAGE)).all()
    grey_and_alpha = np.dstack([0 * grey, 255 - grey])
    assert difference(to_emnist(grey_and_alpha), to_emnist(PAGE)) < TOLERANCE


@pytest.mark.skipif(not cv2.haveImageWriter("x.avif"), reason="this OpenCV has no AVIF")
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_avif_of_any_depth_is_read(tmp_path, bits):
    dim = (90 + PAGE * 0.4).astype(np.uint8)  # where 10 bits are taken for 16, all of it is black
    deep = dim if bits == 8 else dim.astype(np.uint16) << (bits - 8)
    (tmp_path / "x").write_bytes(encode(".avif", deep, [cv2.IMWRITE_AVIF_DEPTH, bits]))
    assert difference(to_emnist(read_picture(tmp_path / "x")), to_emnist(dim)) < TOLERANCE
    assert np.abs(read_picture(tmp_path / "x").astype(int) - dim).mean() < 3  # as it is shown


def test_an_animation_gives_its_first_frame(tmp_path):
    animation = cv2.Animation()
    animation.frames = [np.dstack([p, WHITE[..., 0]]) for p in (PAGE, WHITE, PAGE[::-1])]
    animation.durations = [100] * 3
    for kind in (".png", ".webp", ".gif"):
        (tmp_path / "x").write_bytes(cv2.imencodeanimation(kind, animation)[1].tobytes())
        image = to_emnist(read_picture(tmp_path / "x"))
        assert difference(image, to_emnist(PAGE)) < TOLERANCE


def test_an_animation_that_begins_empty_gives_its_last_frame_that_is_not(tmp_path):
    half = PAGE.copy()
    half[45:] = 255
    opaque = [np.dstack([p, WHITE[..., 0]]) for p in (WHITE, half, PAGE, WHITE)]
    clear = [0 * opaque[0], opaque[2]]
    for frames in (opaque, clear):
        animation = cv2.Animation()
        animation.frames, animation.durations = frames, [100] * len(frames)
        for kind in (".png", ".webp", ".gif"):
            (tmp_path / "x").write_bytes(cv2.imencodeanimation(kind, animation)[1].tobytes())
            image = to_emnist(read_picture(tmp_path / "x"))
            assert difference(image, to_emnist(PAGE)) < TOLERANCE
    cv2.imwritemulti(str(tmp_path / "x.tiff"), [WHITE, PAGE])
    assert difference(to_emnist(read_picture(tmp_path / "x.tiff")), to_emnist(PAGE)) < TOLERANCE


def test_exif_turns_the_picture_upright(tmp_path):
    shown = PAGE[:, :80]
    turn = {  # how a camera stores what was seen, for each of EXIF's orientations
        1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2), 6: lambda p: np.rot90(p, 1),
        7: lambda p: np.rot90(p, 2).transpose(1, 0, 2), 8: lambda p: np.rot90(p, -1),
    }  # fmt: skip
    for orientation, stored in turn.items():
        for order, letters in (("<", b"II*\0"), (">", b"MM\0*")):
            entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
            exif = letters + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
            jpeg = encode(".jpg", np.ascontiguousarray(stored(shown)))
            marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
            (tmp_path / "x.jpg").write_bytes(jpeg[:2] + marker + jpeg[2:])
            picture = read_picture(tmp_path / "x.jpg")
            assert picture.shape == shown.shape
            assert np.abs(picture.astype(int) - shown).mean() < 3, orientation


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(sorted(KINDS)), st.randoms(use_true_random=False))
def test_a_damaged_picture_is_read_or_named(kind, random):
    import tempfile

    data = bytearray(KINDS[kind])
    for _ in range(random.randint(1, 8)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data[: random.randint(1, len(data))] if random.random() < 0.3 else data)
        try:
            image = to_emnist(read_picture(path))
        except PictureError as error:
            assert "\n" not in str(error)
        else:
            assert image.shape == (28, 28) and np.isfinite(image).all() and image.max() == 1


def test_reading_in_threads_gives_the_console_back(tmp_path):
    """Decoders are silenced for the whole process: the last reader must undo it."""
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    before, free = os.fstat(2), next_handle()

    def read(_):
        with pytest.raises(PictureError):
            read_picture(tmp_path / "broken.png")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(400)))
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino) == (before.st_dev, before.st_ino)
    assert next_handle() <= free, "files are left open"


def next_handle():
    """The number that the next file gets which is opened."""
    number = os.dup(0)
    os.close(number)
    return number


def test_a_float_picture_may_shine():
    page = np.full((60, 60), 0.9, np.float32)
    page[15:45, 26:34] = 0.1
    page[2, 2] = 1.3
    done, data = cv2.imencode(".pfm", page)
    assert done
    image = to_emnist(decode(data.ravel()))
    page[2, 2] = 1
    plain = to_emnist(decode(cv2.imencode(".pfm", page)[1].ravel()))
    assert np.abs(image - plain).mean() < 0.05 and image.max() > 0.9


@pytest.mark.parametrize("pencil", [60, 120, 150])
@pytest.mark.parametrize("character", GLYPHS)
def test_lines_that_cross_a_double_margin_leave_nothing(character, pencil):
    """A yellow legal pad: where lines cross they are deep both ways, as a stroke is."""
    page = np.full((500, 600, 3), (150, 235, 250), np.float32)
    for y in range(30, 500, 55):
        page[y : y + 2] = (200, 190, 140)
    page[:, 70:72] = page[:, 76:78] = (120, 110, 230)
    grain = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(500, 600)), (0, 0), 0.9)
    coverage = place(draw(character, 180, 2.2), 500, 600)
    coverage = (coverage * np.clip(0.75 + 0.3 * grain / grain.std(), 0.2, 1))[..., None]
    page = page * (1 - coverage) + pencil * coverage
    image = to_emnist(photograph(page.astype(np.float32), noise=3, shade=0.2))
    assert difference(image, reference(character, 2.2)) < 0.25


def test_a_deep_end_of_a_pale_stroke_is_no_line_of_print():
    """A half-transparent brush that went twice over the upper part and the foot of a 2."""
    picture = np.full((300, 300, 3), 255, np.uint8)
    points = [(100, 110), (125, 75), (170, 75), (190, 110), (170, 150), (100, 225), (200, 225)]
    for part, colour in ((points, (200, 225, 245)), (points[:5], (90, 160, 200))):
        cv2.polylines(picture, [np.int32(part)], False, colour, 20, cv2.LINE_AA)
    cv2.line(picture, points[-2], points[-1], (90, 160, 200), 20, cv2.LINE_AA)
    foot = to_emnist(picture)[20:] > 0.3
    assert np.count_nonzero(foot.any(axis=0)) > 14
