"""What the way from a picture to 28x28 costs: validation images drawn on paper and converted back.

    python tests/benchmarks/round_trip.py WEIGHTS ... --dataset handwritten62 --data_dir DATA

Each image becomes eleven simulated pictures: one painted on a computer, in coats of a half-
transparent brush; one drawn with a crayon or chalk, the paper's tooth in its strokes, half of them
light on dark; a small one, cut out close to the ink, 15 to 85 px wide; a photograph of 120 to 900
px, somewhere on which the character stands, in uneven light, of a fifth of them light on dark; one
in the light of a flash; one with the shadow of a phone or of fingers; one in the sun through blinds
or leaves; one of a sheet on a desk; one with ruled lines or squares, a shadow, a desk, each or not
as it comes; a form's cell; and what else forms print: a comb, its teeth alone, a cell in dashes,
its corners, a line to write on. On the last ten ink and paper have colours, texture, noise and
JPEG's traces.
The table says how well weights read the images themselves, and the pictures by way of
`picture.convert`: what is lost between them is the conversion's, or the network's that does not
know its images. All is seeded and of validation images, so that recipes and conversions can be
chosen by it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import picture  # isort: skip  before cv2

import cv2
import numpy as np
from measuring import run_main
from validate import outputs_of

import data
import scores
import weights
from calibration import fit_temperature, log_likelihood, with_temperature
from mytrain import DATA_DIR, ERRORS

INK = 40  # of 255: the image's ink, when its box is looked for


# ------------------------------------------------------------------------------------ the pictures
def painted(image, random):
    """(28, 28) uint8 -> (h, w, 3) uint8 BGR: of one colour on white, in coats of two strengths."""
    ink = _enlarged(image, random)[0]
    coats = cv2.GaussianBlur(random.normal(size=ink.shape), (0, 0), max(ink.shape) / 30)
    ink = ink * np.where(coats > 0, random.uniform(0.3, 0.6), random.uniform(0.7, 1))
    colour = random.uniform(0, 200, 3)
    return (255 + (colour - 255) * ink[..., None]).round().astype(np.uint8)


def rough(image, random):
    """(28, 28) uint8 -> (h, w, 3) uint8 BGR: strokes of crayon or chalk, with gaps."""
    ink, _ = _page(image, random)
    side = max(cv2.boundingRect((ink > 0.5).astype(np.uint8))[2:])
    size = max(0.6, side * random.uniform(0.005, 0.03))
    tooth = cv2.GaussianBlur(random.normal(size=ink.shape), (0, 0), size)
    ink *= np.clip(0.5 + 1.5 * (tooth / tooth.std() + random.uniform(0.3, 1.2)), 0, 1)
    return _printed(ink, np.ones(ink.shape), random, dark=random.random() < 0.5)


def small(image, random):
    """(28, 28) uint8 -> (h, w, 3) uint8 BGR: cut out close to the ink, as from a form."""
    x, y, w, h = cv2.boundingRect((image > INK).astype(np.uint8))
    side = np.clip(np.exp(random.normal(np.log(32), 0.35)), 15, 85)
    scale = side / (max(w, h) + 4)
    left, above, right, below = random.uniform(0.5, 5, 4)  # margins, px of the 28x28 image
    size = [max(4, round(n * scale)) for n in (w + left + right, h + above + below)]
    ink = _placed(image, scale, (left - x) * scale, (above - y) * scale, size, finer=4)
    light = 1 + _slope(size, random.normal(0, 0.04, 2))
    return _printed(ink, light, random, dark=True)


def photograph(image, random):
    """(28, 28) uint8 -> (h, w, 3) uint8 BGR: a page in a lamp's light, with a character on it."""
    ink, _ = _page(image, random)
    size = ink.shape[::-1]
    light = 1 + _slope(size, random.uniform(-0.3, 0.3, 2))
    across, down = _places(size)
    if random.random() < 0.5:  # a lamp, or a soft shadow
        far = np.hypot(across - random.uniform(-0.5, 0.5), down - random.uniform(-0.5, 0.5))
        light *= 1 + random.uniform(-0.3, 0.35) * np.exp(-((far / random.uniform(0.2, 0.8)) ** 2))
    if random.random() < 0.3:  # a lens's dark corners
        light *= 1 - random.uniform(0, 0.7) * (across**2 + down**2)
    if random.random() < 0.2:  # the shadow of something straight
        angle = random.uniform(0, 2 * np.pi)
        beyond = across * np.cos(angle) + down * np.sin(angle) - random.uniform(-0.3, 0.3)
        light *= 1 - random.uniform(0.1, 0.35) / (1 + np.exp(-beyond / random.uniform(0.02, 0.1)))
    return _printed(ink, light, random, dark=random.random() < 0.8)


def flash(image, random):
    """The same where a flash or a lamp lights the character, up to 1.8 times as much as around."""
    ink, (x, y) = _page(image, random)
    across, down = _places(ink.shape[::-1])
    far = np.hypot(across - x - random.normal(0, 0.1), down - y - random.normal(0, 0.1))
    light = 1 + random.uniform(0.15, 0.8) * np.exp(-((far / random.uniform(0.12, 0.6)) ** 2))
    light *= 1 - random.uniform(0, 0.6) * (across**2 + down**2)
    return _printed(ink, light / light.max(), random, dark=True)


def shaded(image, random):
    """The same where the soft shadow of a phone, or of three fingers, falls on or near it."""
    ink, middle = _page(image, random)
    shadow = _shadow(ink.shape, middle, random)
    light = 1 + _slope(ink.shape[::-1], random.uniform(-0.2, 0.2, 2))
    return _printed(ink, light * (1 - random.uniform(0.15, 0.45) * shadow), random, dark=True)


def desk(image, random):
    """The page is a sheet that lies askew on something darker, which the picture shows too."""
    ink, _ = _page(image, random)
    light = 1 + _slope(ink.shape[::-1], random.uniform(-0.1, 0.1, 2))
    return _on_a_desk(_printed(ink, light, random, dark=True), ink, random)


def together(image, random):
    """Ruled or squared paper, a shadow, a desk: one, two or all three of them, or none."""
    ink, middle = _page(image, random)
    light = 1 + _slope(ink.shape[::-1], random.uniform(-0.3, 0.3, 2))
    marks = np.maximum(ink, _ruled(ink.shape, random)) if random.random() < 0.6 else ink
    if random.random() < 0.5:
        light *= 1 - random.uniform(0.15, 0.45) * _shadow(ink.shape, middle, random)
    page = _printed(marks, light, random, dark=True)
    return _on_a_desk(page, ink, random) if random.random() < 0.5 else page


def sunlit(image, random):
    """In the sun, through blinds or leaves: bands or patches of shade all over the page."""
    ink, _ = _page(image, random)
    side, (across, down) = max(ink.shape), _places(ink.shape[::-1])
    if random.random() < 0.5:
        angle = random.choice([0, np.pi / 2]) + random.normal(0, 0.25)
        height, width = np.array(ink.shape) / side
        along = across * width * np.cos(angle) + down * height * np.sin(angle)
        bands = along / random.uniform(0.06, 0.25) + random.uniform()
        shade = bands % 1 < random.uniform(0.3, 0.7)
    else:
        size = side * random.uniform(0.02, 0.08)
        leaves = cv2.GaussianBlur(random.normal(size=ink.shape), (0, 0), size)
        shade = leaves > leaves.std() * random.uniform(-0.5, 0.5)
    shade = cv2.GaussianBlur(np.float32(shade), (0, 0), side * random.uniform(0.004, 0.02))
    light = 1 + _slope(ink.shape[::-1], random.uniform(-0.2, 0.2, 2))
    return _printed(ink, light * (1 - random.uniform(0.25, 0.6) * shade), random, dark=True)


def _shadow(shape, middle, random):
    """Of a phone or three fingers, beside a middle as from `_page`: float32 (h, w) in [0, 1]."""
    side, shadow = max(shape), np.zeros(shape, np.float32)
    tip = (np.array(middle) + 0.5 + random.normal(0, 0.15, 2)) * shape[::-1]
    angle, fingers = random.uniform(0, 2 * np.pi), random.choice([1, 3])
    along = np.array([np.cos(angle), np.sin(angle)])
    thick = round(side * (random.uniform(0.15, 0.5) if fingers == 1 else random.uniform(0.05, 0.1)))
    for k in range(fingers):
        start = tip + k * 1.2 * thick * along[::-1] * [-1, 1]
        end = start + 2 * side * along
        cv2.line(shadow, start.astype(int).tolist(), end.astype(int).tolist(), 1, thick)
    return cv2.GaussianBlur(shadow, (0, 0), side * random.uniform(0.012, 0.05))


def _ruled(shape, random):
    """Ruled lines, or squares, turned by a degree or so: float32 (h, w), weaker than ink."""
    height, width = shape
    lines, side = np.zeros(shape, np.float32), min(shape)
    pitch, thick = side * random.uniform(0.05, 0.25), max(1, round(side * random.uniform(0, 0.006)))
    depth, squared = random.uniform(0.15, 0.5), random.random() < 0.4
    for y in np.arange(random.uniform(0, pitch), height, pitch):
        cv2.line(lines, (0, round(y)), (width, round(y)), depth, thick)
    for x in np.arange(random.uniform(0, pitch), width * squared, pitch):
        cv2.line(lines, (round(x), 0), (round(x), height), depth, thick)
    return _turned(lines, random.normal(0, 1))


def _turned(lines, degrees):
    """Lines, float32 (h, w), turned about the middle; at the edges they go on."""
    height, width = lines.shape
    turning = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(lines, turning, (width, height), borderMode=cv2.BORDER_REPLICATE)


def _on_a_desk(page, ink, random):
    """A page, (h, w, 3) uint8, cut to a sheet around its ink, (h, w), on something darker."""
    height, width = ink.shape
    x, y, w, h = cv2.boundingRect((ink > 0.1).astype(np.uint8))
    margin = 0.04 * max(ink.shape)
    ends = ((0, max(0, x - margin), width, min(width, x + w + margin)),
            (0, max(0, y - margin), height, min(height, y + h + margin)))  # fmt: skip
    (low_x, left, high_x, right), (low_y, top, high_y, bottom) = ends
    corners = [
        [edge + random.uniform(-0.2, 0.8) * (near - edge) for edge, near in corner]
        for corner in (
            ((low_x, left), (low_y, top)),
            ((high_x, right), (low_y, top)),
            ((high_x, right), (high_y, bottom)),
            ((low_x, left), (high_y, bottom)),
        )
    ]
    sheet = np.zeros(ink.shape, np.float32)
    cv2.fillPoly(sheet, [np.array(corners, np.int32)], 1, cv2.LINE_AA)
    sheet = cv2.GaussianBlur(sheet, (0, 0), 1)[..., None]
    wood = random.uniform(20, 110, 3) + random.normal(0, random.uniform(1, 6), (*ink.shape, 1))
    return (page * sheet + wood * (1 - sheet)).clip(0, 255).astype(np.uint8)


def cell(image, random):
    """A form's cell, its printed frame a little within the picture's edges."""
    ink, size = _in_a_cell(image, random)
    inset, thick = (round(random.uniform(*ends) * min(size)) for ends in ((0, 0.08), (0.005, 0.02)))
    opposite = size[0] - 1 - inset, size[1] - 1 - inset
    cv2.rectangle(ink, (inset, inset), opposite, random.uniform(0.4, 1), max(1, thick))
    return _printed(ink, 1 + _slope(size, random.normal(0, 0.04, 2)), random, dark=True)


def form(image, random):
    """What else forms print around a character, turned by a degree or so."""
    ink, size = _in_a_cell(image, random)
    lines = np.zeros_like(ink)
    thick = max(1, round(random.uniform(0.005, 0.02) * min(size)))
    depth = random.uniform(0.4, 1)
    for ends in _printed_lines(random):
        ends = np.int32(ends * (np.tile(size, 2) - 1)).reshape(2, 2)
        cv2.line(lines, *ends.tolist(), depth, thick)
    turned = _turned(lines, random.normal(0, 0.7))
    light = 1 + _slope(size, random.normal(0, 0.04, 2))
    return _printed(np.maximum(ink, turned), light, random, dark=True)


def _printed_lines(random):
    """The ends of a form's lines, (n, 4): x, y, x, y in units of the picture's sides."""
    left = top = random.uniform(0.03, 0.08)
    right = base = 1 - left
    tooth, count = random.uniform(0.4, 0.7), 2 * random.integers(5, 10)
    line = np.linspace((left, base), (right, base), count).reshape(-1, 4)  # in dashes
    side = line[:, [1, 0, 3, 2]]
    teeth = [(x, tooth, x, base) for x in (left, right)]
    corners = [
        (x, y, x + across * (0.5 - x), y + down * (0.5 - y))
        for x in (left, right)
        for y in (top, base)
        for across, down in ((0.3, 0), (0, 0.3))
    ]
    forms = [
        [(left, base, right, base), *teeth],  # a cell of a comb
        [(0, base, 1, base), *teeth],  # a row of it
        teeth,
        np.concatenate([line, line - (0, base - top) * 2, side, side - (base - left, 0) * 2]),
        corners,
        [(left, base, right, base)],  # a line to write on
        line,
    ]
    return np.array(forms[random.integers(len(forms))])


def _in_a_cell(image, random):
    """The image in the middle part of a page: ink (h, w); its width and height."""
    long = np.exp(random.uniform(np.log(100), np.log(500)))
    size = [round(long), round(long * random.uniform(0.8, 1))][:: random.choice([1, -1])]
    ink, _, _ = _somewhere(image, size, min(size) * random.uniform(0.4, 0.7), 0.12, random)
    return ink, size


def _page(image, random):
    """`_enlarged` a little out of focus."""
    ink, middle = _enlarged(image, random)
    return cv2.GaussianBlur(ink, (0, 0), random.uniform(0.4, 1.2)), middle


def _enlarged(image, random):
    """The image somewhere on a page: ink (h, w), and its middle, each side of a page being 1."""
    long = np.exp(random.uniform(np.log(120), np.log(900)))
    size = [round(long), round(long * random.uniform(0.7, 1))][:: random.choice([1, -1])]
    side = max(24, min(size) * random.uniform(0.15, 0.8))
    ink, middle, scale = _somewhere(image, size, side, 0.03, random)
    ink = np.clip((ink - 0.3) / 0.4, 0, 1) if scale > 2 else ink  # enlarged, its rims are too soft
    return ink, middle


def _somewhere(image, size, side, margin, random):
    """The image with its ink's longer side `side` px long, off the edges by a share of the sides.

    Returns:
        ink (h, w) as from `_placed`, its middle as from `_enlarged`, and the scale.
    """
    x, y, w, h = cv2.boundingRect((image > INK).astype(np.uint8))
    scale = side / max(w, h)
    at = [random.uniform(margin * n, max(margin, 1 - margin - m * scale / n) * n)
          for n, m in zip(size, (w, h))]  # fmt: skip
    ink = _placed(image, scale, at[0] - x * scale, at[1] - y * scale, size)
    return ink, [(a + m * scale / 2) / n - 0.5 for a, m, n in zip(at, (w, h), size)], scale


def _places(size):
    """Where the pixels are across and down a page, -0.5 to 0.5: two of (h, w)."""
    return np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in size))


def _placed(image, scale, x, y, size, finer=1):
    """The image enlarged and moved, on an empty sheet: float32 (h, w), 1 for ink."""
    width, height = size
    matrix = np.float32([[scale, 0, x], [0, scale, y]]) * finer
    sheet = (width * finer, height * finer)
    ink = cv2.warpAffine(image.astype(np.float32) / 255, matrix, sheet, flags=cv2.INTER_CUBIC)
    return cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA).clip(0, 1)


def _slope(size, heights):
    across, down = (np.linspace(-0.5, 0.5, n, dtype=np.float32) for n in size)
    return heights[0] * across[None, :] + heights[1] * down[:, None]


def _printed(ink, light, random, dark):
    """Ink (h, w) on a sheet of some colours in some light, with grain, as a JPEG file has it."""
    ground, pen = random.uniform(150, 235), random.uniform(20, 110)
    tint = [random.uniform(1.2, 1.8), 1, random.uniform(0.7, 1)] if random.random() < 0.4 else 1
    if not dark:
        ground, pen = random.uniform(20, 80), random.uniform(150, 235)
    pen = np.minimum(pen * np.ones(3) * tint, 255 if not dark else ground - 40)
    page = (ground * (1 - ink[..., None]) + pen * ink[..., None]) * light[..., None]
    texture = cv2.GaussianBlur(random.normal(size=ink.shape), (0, 0), random.uniform(0.6, 3))
    page += (texture * (random.uniform(0, 3) / max(texture.std(), 1e-6)))[..., None]
    page += random.normal(0, random.uniform(0.5, 4), page.shape)
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(70, 96))]
    page = page.clip(0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", page, quality)[1], cv2.IMREAD_COLOR)


# --------------------------------------------------------------------------------------- the table
def converted(pictures):
    """Float32 (n, 28, 28, 1), and how many were called blank; those are black."""
    images = np.zeros((len(pictures), 28, 28, 1), np.float32)
    blank = 0
    for image, page in zip(images, pictures):
        try:
            image[..., 0] = picture.convert(page)[0]
        except picture.PictureError:
            blank += 1
    return images, blank


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help=".weights.h5 files")
    parser.add_argument("--dataset", default="handwritten62")
    parser.add_argument("--data_dir", type=Path, default=DATA_DIR)
    options = parser.parse_args()
    loaded = data.load(options.dataset, options.data_dir)
    images, classes = loaded.validation
    kinds = {"as they are": (images.astype(np.float32) / 255, 0)}
    every = (painted, rough, small, photograph, flash, shaded, sunlit, desk, together, cell, form)
    for kind in every:
        random = np.random.default_rng(0)
        kinds[kind.__name__] = converted([kind(image[..., 0], random) for image in images])
    for path in options.weights:
        about = weights.read_sidecar(path)
        network = weights.load_network(path, about | {"temperature": 1.0, "logit_adjustment": None})
        labels = outputs_of(loaded, about["characters"])[classes]
        print(f"\n{path}, {len(labels)} validation images")
        print(
            f"{'':<14}{'blank':>8}{'exact %':>10}{'case ignored %':>16}{'top 3 %':>9}{'-log p':>9}"
        )
        for kind, (shown, blank) in kinds.items():
            raw = network.predict(shown, batch_size=256, verbose=0)
            named = scores.figures(raw, labels, about["characters"])
            top, folded, three = (100 * named[name] for name in ("top 1", "case ignored", "top 3"))
            honest = with_temperature(raw, fit_temperature(raw, labels))
            loss = -log_likelihood(honest, labels)
            print(f"{kind:<14}{blank:>8}{top:>10.2f}{folded:>16.2f}{three:>9.2f}{loss:>9.4f}")


if __name__ == "__main__":
    run_main(main, ERRORS)
