"""Draws assets/: eleven characters painted with a brush on white, three written on paper.

    python tests/draw_assets.py      # rewrites assets/1.png ... assets/14.png, always the same

Each glyph is a few strokes, each stroke a smooth curve through points placed by hand, with a
little wobble and a pen pressed more in the middle than at the ends. No font has a part in it.
"""

from pathlib import Path

import cv2
import numpy as np

ASSETS = Path(__file__).resolve().parent.parent / "assets"
SEED = 62
OVERSAMPLING = 3  # strokes are stamped this much larger, then reduced: smooth edges

# Strokes in a box of height 1, y downwards, in the order in which a hand draws them.
GLYPHS = {
    "2": [
        [(0.06, 0.27), (0.16, 0.08), (0.4, 0.0), (0.62, 0.12), (0.6, 0.36), (0.36, 0.66),
         (0.02, 0.96), (0.03, 0.97), (0.3, 0.94), (0.5, 0.96), (0.74, 0.95)],
    ],
    "3": [
        [(0.04, 0.14), (0.24, 0.0), (0.5, 0.04), (0.57, 0.22), (0.42, 0.4), (0.22, 0.46),
         (0.23, 0.47), (0.5, 0.52), (0.64, 0.72), (0.48, 0.95), (0.2, 1.0), (0.0, 0.88)],
    ],
    "7": [
        [(0.0, 0.08), (0.06, 0.05), (0.34, 0.05), (0.66, 0.02), (0.67, 0.03), (0.5, 0.34),
         (0.35, 0.66), (0.25, 1.0)],
    ],
    "8": [
        [(0.54, 0.13), (0.34, 0.0), (0.1, 0.16), (0.2, 0.38), (0.46, 0.54), (0.6, 0.76),
         (0.34, 1.0), (0.04, 0.8), (0.14, 0.57), (0.42, 0.38), (0.57, 0.19), (0.5, 0.07)],
    ],
    "A": [
        [(0.0, 1.0), (0.13, 0.68), (0.28, 0.32), (0.4, 0.0)],
        [(0.4, 0.01), (0.52, 0.34), (0.64, 0.68), (0.8, 1.0)],
        [(0.1, 0.66), (0.36, 0.63), (0.7, 0.65)],
    ],
    "B": [
        [(0.1, 0.02), (0.08, 0.36), (0.1, 0.7), (0.08, 1.0)],
        [(0.0, 0.05), (0.28, 0.0), (0.52, 0.09), (0.55, 0.27), (0.38, 0.42), (0.1, 0.48)],
        [(0.26, 0.46), (0.5, 0.54), (0.64, 0.72), (0.54, 0.92), (0.28, 1.0), (0.0, 0.98)],
    ],
    "E": [
        [(0.52, 0.03), (0.28, 0.02), (0.07, 0.04), (0.06, 0.05), (0.04, 0.4), (0.05, 0.75),
         (0.04, 0.97), (0.05, 0.98), (0.3, 0.98), (0.58, 0.96)],
        [(0.05, 0.5), (0.26, 0.49), (0.46, 0.47)],
    ],
    "G": [
        [(0.72, 0.2), (0.56, 0.03), (0.32, 0.02), (0.1, 0.2), (0.0, 0.52), (0.1, 0.84), (0.36, 1.0),
         (0.62, 0.93), (0.74, 0.74), (0.75, 0.57), (0.74, 0.56), (0.6, 0.56), (0.44, 0.57)],
    ],
    "R": [
        [(0.1, 0.02), (0.11, 0.36), (0.09, 0.7), (0.1, 1.0)],
        [(0.0, 0.06), (0.26, 0.0), (0.54, 0.06), (0.6, 0.26), (0.44, 0.44), (0.13, 0.52),
         (0.14, 0.53), (0.36, 0.68), (0.52, 0.86), (0.7, 1.0)],
    ],
    "a": [
        [(0.66, 0.14), (0.46, 0.0), (0.2, 0.1), (0.02, 0.42), (0.06, 0.8), (0.28, 0.94),
         (0.52, 0.74), (0.68, 0.34), (0.71, 0.06), (0.7, 0.07), (0.66, 0.5), (0.7, 0.86),
         (0.82, 0.98), (0.96, 0.88)],
    ],
    "d": [
        [(0.5, 0.5), (0.34, 0.4), (0.12, 0.5), (0.0, 0.74), (0.1, 0.96), (0.3, 0.98), (0.46, 0.8),
         (0.55, 0.5)],
        [(0.6, 0.0), (0.56, 0.34), (0.54, 0.7), (0.58, 0.94), (0.7, 0.98)],
    ],
    "e": [
        [(0.06, 0.5), (0.36, 0.52), (0.68, 0.44), (0.76, 0.26), (0.6, 0.04), (0.34, 0.02),
         (0.1, 0.22), (0.02, 0.56), (0.14, 0.88), (0.42, 1.0), (0.68, 0.92), (0.84, 0.76)],
    ],
    "h": [
        [(0.08, 0.0), (0.06, 0.34), (0.07, 0.68), (0.04, 1.0)],
        [(0.05, 0.76), (0.16, 0.54), (0.34, 0.44), (0.48, 0.56), (0.48, 0.8), (0.54, 1.0)],
    ],
    "n": [
        [(0.04, 0.04), (0.08, 0.34), (0.07, 0.7), (0.06, 1.0), (0.07, 0.98), (0.1, 0.56),
         (0.3, 0.16), (0.54, 0.04), (0.72, 0.22), (0.74, 0.58), (0.76, 0.86), (0.9, 1.0)],
    ],
}  # fmt: skip

# Painted: glyph, picture (width, height), glyph's height, its upper left corner, brush, colour RGB,
# how much one stroke covers, tilt in degrees.
PAINTED = [
    ("A", (420, 400), 270, (100, 62), 26, (214, 62, 44), 0.74, -3),
    ("3", (300, 360), 236, (76, 60), 20, (24, 110, 190), 0.80, 4),
    ("e", (360, 320), 190, (110, 66), 24, (122, 64, 168), 0.72, -4),
    ("G", (520, 480), 300, (150, 92), 34, (22, 138, 92), 0.70, 3),
    ("7", (260, 300), 196, (72, 50), 15, (222, 112, 16), 0.90, 2),
    ("a", (400, 400), 180, (84, 150), 19, (196, 36, 108), 0.76, -5),
    ("8", (460, 540), 360, (120, 86), 30, (18, 132, 158), 0.66, 6),
    ("R", (320, 320), 206, (90, 54), 17, (52, 62, 74), 0.82, -2),
    ("d", (600, 560), 250, (300, 226), 22, (48, 84, 196), 0.78, 3),
    ("n", (240, 220), 116, (44, 34), 13, (138, 84, 44), 0.86, -3),
    ("B", (380, 440), 280, (96, 78), 24, (104, 140, 22), 0.74, 4),
]

# On paper: glyph, picture (width, height), glyph's height, its upper left corner, pen, ink RGB,
# paper RGB, tilt, shadow's direction in degrees, ruled lines, pencil or pen.
WRITTEN = [
    ("2", (208, 224), 120, (62, 52), 5.5, (72, 74, 80), (232, 228, 218), 5, 40, False, True),
    ("h", (200, 216), 122, (70, 40), 4.6, (28, 46, 122), (226, 230, 232), -4, 160, True, False),
    ("E", (216, 208), 106, (74, 50), 6.2, (34, 32, 36), (238, 230, 210), 3, 285, False, False),
]


def curve(points, step=0.004):
    """A smooth curve (Catmull-Rom, centripetal) through points -> float (n, 2), evenly spaced."""
    points = np.array(points, float)
    ends = 2 * points[[0, -1]] - points[[1, -2]]
    p = np.vstack([ends[:1], points, ends[1:]])
    times = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(p, axis=0), axis=1) ** 0.5)])
    pieces = []
    for i in range(1, len(p) - 2):
        t = np.linspace(times[i], times[i + 1], 60, endpoint=False)[:, None]
        t0, t1, t2, t3 = times[i - 1 : i + 3]
        a1 = ((t1 - t) * p[i - 1] + (t - t0) * p[i]) / (t1 - t0)
        a2 = ((t2 - t) * p[i] + (t - t1) * p[i + 1]) / (t2 - t1)
        a3 = ((t3 - t) * p[i + 1] + (t - t2) * p[i + 2]) / (t3 - t2)
        b1 = ((t2 - t) * a1 + (t - t0) * a2) / (t2 - t0)
        b2 = ((t3 - t) * a2 + (t - t1) * a3) / (t3 - t1)
        pieces.append(((t2 - t) * b1 + (t - t1) * b2) / (t2 - t1))
    dense = np.vstack([*pieces, p[-2:-1]])
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(dense, axis=0), axis=1))])
    even = np.linspace(0, length[-1], max(2, int(length[-1] / step)))
    return np.stack([np.interp(even, length, dense[:, k]) for k in (0, 1)], axis=1)


def slow_noise(rng, n, every, size):
    """n values of smooth noise of standard deviation about `size`, a new one each `every`."""
    knots = rng.normal(0, size, n // every + 3)
    whole, part = np.divmod(np.arange(n) / every, 1)
    whole, part = whole.astype(int), (1 - np.cos(np.pi * part)) / 2  # no corners at the knots
    return knots[whole] * (1 - part) + knots[whole + 1] * part


def stroke_layers(points, widths, shape):
    """How much each pixel is covered once, and how much twice, where the stroke crosses itself.

    Args:
        points: float (n, 2) in pixels.
        widths: float (n,), the brush's diameter at each point.
        shape: (height, width) of the picture.

    Returns:
        Two float arrays of that shape in [0, 1].
    """
    halves = []
    split = len(points) // 2
    for part in (slice(None, split + 1), slice(split, None)):
        big = np.zeros((shape[0] * OVERSAMPLING, shape[1] * OVERSAMPLING), np.uint8)
        for (x, y), width in zip(points[part], widths[part], strict=True):
            centre = int(x * OVERSAMPLING * 16), int(y * OVERSAMPLING * 16)
            radius = int(width / 2 * OVERSAMPLING * 16)
            cv2.circle(big, centre, radius, 255, -1, cv2.LINE_AA, shift=4)
        halves.append(cv2.resize(big, shape[::-1], interpolation=cv2.INTER_AREA) / 255)
    once, twice = np.maximum(*halves), np.minimum(*halves)
    y, x = np.indices(shape)
    from_seam = np.hypot(x - points[split, 0], y - points[split, 1]) / widths[split]
    return once, twice * np.clip(3 * (from_seam - 1.1), 0, 1)  # the seam itself is no crossing


def ink_density(rng, glyph, shape, height, corner, width, tilt):
    """The glyph's strokes on an empty sheet: float (height, width), 1 for each stroke over it."""
    density = np.zeros(shape)
    turn = np.deg2rad(tilt)
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    for stroke in GLYPHS[glyph]:
        points = cv2.GaussianBlur(curve(stroke), (1, 61), 1, sigmaY=9)  # rounds what is too sharp
        n = len(points)
        points = points + np.stack([slow_noise(rng, n, 40, 0.006) for _ in "xy"], axis=1)
        points = (points - 0.5) @ rotate.T + 0.5
        along = np.linspace(0, 1, n)
        pressed = 0.78 + 0.26 * np.sin(np.pi * along) ** 0.6 - 0.1 * along
        widths = width * (pressed + slow_noise(rng, n, 60, 0.04))
        once, twice = stroke_layers(points * height + corner, widths, shape)
        density += once + twice
    return density


def painted(rng, glyph, size, height, corner, width, colour, cover, tilt):
    """A brush on white: uint8 BGR. Ink filters light, so strokes are darker where they overlap."""
    density = cover * ink_density(rng, glyph, size[::-1], height, corner, width, tilt)
    light = (np.array(colour[::-1]) / 255) ** density[..., None]
    return np.uint8(255 * light + 0.5)


def written(rng, glyph, size, height, corner, width, ink, paper, tilt, shadow, ruled, pencil):
    """A pen on shadowed, grained paper, photographed and saved as a JPEG: uint8 BGR."""
    shape = size[::-1]
    y, x = np.indices(shape) / max(shape)
    grain = cv2.GaussianBlur(rng.normal(0, 1, shape), None, 0.9)
    grain = grain / grain.std()
    density = ink_density(rng, glyph, shape, height, corner, width, tilt)
    if pencil:  # graphite stays on the paper's high spots
        density = density * np.clip(0.78 + 0.3 * grain, 0.25, 1)
    turn = np.deg2rad(shadow)
    across = (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)
    light = 0.9 + 0.16 * across - 0.16 / (1 + np.exp(-(across - 0.27) * 26))  # lamp, then a shadow
    light = light - 0.22 * ((x - 0.45) ** 2 + (y - 0.5) ** 2)  # vignette
    sheet = np.array(paper[::-1]) * (light + 0.012 * grain)[..., None]
    if ruled:
        for start in (0.2, 0.75):
            line = np.exp(-(((y - start - 0.045 * (x - 0.5)) * max(shape) / 1.1) ** 2))
            sheet *= 1 - 0.26 * line[..., None] * np.array([0.2, 0.6, 1.0])
    inked = np.array(ink[::-1]) * light[..., None]
    cover = np.clip(density, 0, 1)[..., None] * (0.82 if pencil else 0.92)
    picture = sheet * (1 - cover) + inked * cover
    picture = cv2.GaussianBlur(picture, None, 0.8)
    jpeg = cv2.imencode(".jpg", np.uint8(np.clip(picture, 0, 255)), [cv2.IMWRITE_JPEG_QUALITY, 72])[
        1
    ]
    return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)


def main():
    """Draws all, the paper ones between the painted ones, and writes them as PNG."""
    pictures = [painted(np.random.default_rng([SEED, k]), *row) for k, row in enumerate(PAINTED)]
    for k, row in enumerate(WRITTEN):
        pictures.insert(4 + 4 * k, written(np.random.default_rng([SEED, 100 + k]), *row))
    ASSETS.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures, start=1):
        path = ASSETS / f"{number}.png"
        data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
        path.write_bytes(data.tobytes())
        print(f"{path}  {picture.shape[1]}x{picture.shape[0]}  {len(data) / 1000:.1f} kB")


if __name__ == "__main__":
    main()
