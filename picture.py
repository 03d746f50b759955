"""A file to a picture, and a picture to the 28x28 image that EMNIST would have made of it.

    image = to_emnist(read_picture("mine.png"))     # (28, 28) float32, white ink on black

`read_picture` trusts no file; `convert` finds the ink against the local background, keeps what
belongs to the character and repeats EMNIST's own steps: Cohen, Afshar, Tapson, van Schaik, "EMNIST:
an extension of MNIST to handwritten letters", 2017, arXiv:1702.05373, section II-B. Everything that
goes wrong is a PictureError of one line, without the file's name. Keras is not imported, so that a
picture can be looked at without loading a network.

Import this module before cv2: OpenCV reads its limit on a picture's size when it is loaded.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

MAX_MEGAPIXELS = 64  # a scan of 6,000 x 8,500 px has 51; checked on the header, before any memory
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_MEGAPIXELS * 10**6))

import cv2
import numpy as np

from character import NoInk, filled
from ink import find_ink, resized
from pieces import box, cut_off, grown, label_pieces, of_pieces, stroke_width
from quiet import stderr_to

# Reading
HEIC = b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"  # brands in its first box
INVALID_NAME = 123  # of Windows: no file's name can be so, such as *.png
MAX_BYTES = 256 * 2**20  # 64 megapixels of uncompressed BGR are 192 MB
SUBFILE, WIDTH, ORIENTATION, SAMPLES_PER_PIXEL = 0xFE, 0x100, 0x112, 0x115  # of EXIF 2.3, TIFF 6.0
MOVING = b"GIF8", b"ANIM", b"acTL", b"avis"  # one is near the start of a file that may be animated
MAX_FRAMES = 1000  # of an animation that begins empty

# EMNIST's framing, measured on 10,000 of its digits; px of the 28x28 image
EMNIST_SIZE = 28  # model.INPUT_SHAPE, which this module may not import
INK_SIDE = 22.0  # longer side of the ink at half maximum
BLUR_SIGMA = 0.4  # Gaussian before the reduction
STROKE_MIN, STROKE_MAX = 2.0, 5.0  # stroke widths that the network knows
OVERSAMPLING = 4  # EMNIST's steps are done at 112x112 and reduced by this (the paper: 128x128)


class PictureError(ValueError):
    """Why a file or a picture cannot be read: one line, without the file's name."""


# ---------------------------------------------------------------------------------- file -> BGR


def read_picture(path):
    """Reads one picture file of any format that OpenCV knows.

    Args:
        path: str or Path of a regular file; any name that the file system allows.

    Returns:
        (height, width, 3) uint8, BGR, turned upright by EXIF, transparency composited; the first
        frame of an animation or page of a TIFF, or the last that is not empty where that one is.

    Raises:
        PictureError: one line that says what is wrong with it.
    """
    return decode(read_bytes(path))


def decode(data):
    """`read_picture` from the file's bytes, (n,) uint8."""
    try:
        with _quiet_stderr():
            picture, kinds, blobs = cv2.imdecodeWithMetadata(data, flags=cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_PIXELS" in str(error):
            raise PictureError(f"too large: more than {MAX_MEGAPIXELS} megapixels") from None
        if "CV_IO_MAX_IMAGE" in str(error):
            raise PictureError("too large: more than a million pixels wide or high") from None
        raise PictureError(_not_readable(data)) from None
    except MemoryError:
        raise PictureError("too large: not enough memory") from None
    if picture is None or picture.size == 0:
        raise PictureError(_not_readable(data))
    height, width = picture.shape[:2]
    if height * width > MAX_MEGAPIXELS * 10**6:  # cv2 was imported first, without the limit
        raise PictureError(f"too large: more than {MAX_MEGAPIXELS} megapixels")
    picture = _bgr(picture)
    if (picture[::8, ::8] == picture[0, 0]).all() and (picture == picture[0, 0]).all():
        picture = _last_frame(data, picture)
        if not np.ptp(picture) and _tags(data).get(SAMPLES_PER_PIXEL) == 2:
            raise PictureError("a grey TIFF with transparency, which OpenCV loses: save it as PNG")
    exif = [blob.ravel() for k, blob in zip(kinds, blobs) if k == cv2.IMAGE_METADATA_EXIF]
    return _turned(picture, _tags(exif[0]).get(ORIENTATION) if exif else 1)


def _last_frame(data, first):
    """The last frame in a file's bytes that has more than one colour; `first` where none has.

    A drawing that is played back begins with an empty page.
    """
    pixels = first.shape[0] * first.shape[1]
    count = min(MAX_FRAMES, MAX_MEGAPIXELS * 10**6 // pixels)  # no more than one picture's memory
    try:
        with _quiet_stderr():
            frames = cv2.imdecodeanimation(data, 0, count)[1].frames
    except (cv2.error, MemoryError):
        return first
    for frame in reversed(frames):
        frame = _bgr(frame)
        if (frame != frame[0, 0]).any():
            return frame
    return first


def holds_several(data):
    """Whether a file's bytes, (n,) uint8, hold several pages or frames; a TIFF's thumbnail is none.

    Only of one the picture is made.
    """
    first = data[:4096].tobytes()
    if first[:4] in (b"II*\0", b"MM\0*"):
        second = _tags(data, page=1)
        is_thumbnail = second.get(SUBFILE, 0) & 1
        return WIDTH in second and not is_thumbnail
    if not any(mark in first for mark in MOVING):
        return False
    try:
        with _quiet_stderr():
            return len(cv2.imdecodeanimation(data, 0, 2)[1].frames) > 1
    except (cv2.error, MemoryError):
        return False


def _not_readable(data):
    """Why OpenCV cannot read these bytes: phones and scanners write formats that it lacks."""
    first = data[:1024].tobytes()
    if first[4:8] == b"ftyp" and any(brand in first[:64] for brand in HEIC):
        kind = "a HEIC picture"
    elif first.startswith(b"%PDF-"):
        kind = "a PDF"
    elif b"<svg" in first:
        kind = "an SVG drawing"
    else:
        return "not a picture that OpenCV can read"
    return f"{kind}, which OpenCV cannot read: save it as JPEG or PNG"


def read_bytes(path):
    """(n,) uint8: the bytes of a regular file; a fifo or a device is never opened.

    Raises:
        PictureError: there are none, or too many.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise PictureError("is a directory")
        if not stat.S_ISREG(status.st_mode):
            raise PictureError("not a regular file")
        if status.st_size == 0:
            raise PictureError("is empty (0 bytes)")
        if status.st_size > MAX_BYTES:
            raise PictureError(f"too large: more than {MAX_BYTES >> 20} MiB")
        data = np.fromfile(Path(path), np.uint8)  # imread fails on non-ASCII names on Windows
    except FileNotFoundError:
        raise PictureError("no such file") from None
    except PermissionError:
        raise PictureError("no permission to read it") from None
    except PictureError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        if getattr(error, "errno", None) == errno.ELOOP:
            raise PictureError("a loop of symbolic links") from None
        if getattr(error, "winerror", None) == INVALID_NAME:
            raise PictureError("no such file") from None
        reason = getattr(error, "strerror", None) or error
        raise PictureError(f"cannot be read: {reason}") from None
    if data.size == 0:
        raise PictureError("is empty (0 bytes)")
    return data


@contextlib.contextmanager
def _quiet_stderr():
    """Keeps what libpng, libjpeg and OpenCV write to file 2 themselves from the console."""
    with open(os.devnull, "wb") as sink, stderr_to(sink):
        yield


def _bgr(picture):
    """What OpenCV reads, of any depth, grey or with alpha -> (height, width, 3) uint8 BGR."""
    return _composited(_eight_bits(picture))


def _eight_bits(picture):
    """Any depth -> uint8 of the same shape; what is not a number becomes the median."""
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype == np.uint16:  # OpenCV leaves 10 and 12 bits of an AVIF file as they are
        bits = next(bits for bits in (10, 12, 16) if picture.max() < 1 << bits)
        return (picture >> (bits - 8)).astype(np.uint8)
    with np.errstate(over="ignore"):
        values = picture.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise PictureError("blank: no ink found")
    values = np.where(finite, values, np.median(values[finite])).clip(0)
    # Floats are in [0, 1] except for highlights; one wild value must not darken all others.
    top = max(np.quantile(values, 0.999), 1)
    return (np.minimum(values, top) * (255 / top)).astype(np.uint8)


def _composited(picture):
    """(h, w), (h, w, 1..4) uint8 -> (h, w, 3) uint8 BGR, transparent parts filled.

    The fill contrasts with the visible colour: white, or black under light ink. A picture that is
    mostly visible and has a drawing of its own (a cut-out photograph) is filled with its median
    colour, one with an outline all around (a sticker) with that of the outline.
    """
    if picture.ndim == 2 or picture.shape[2] == 1:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] == 3:
        return picture
    if picture.shape[2] == 2:
        picture = picture[..., [0, 0, 0, 1]]
    colour, alpha = picture[..., :3], picture[..., 3]
    if alpha.min() == 255 or alpha.max() == 0:  # 32-bit BMP: alpha 0 everywhere means no alpha
        return np.ascontiguousarray(colour)
    visible = colour[alpha > 127] if (alpha > 127).any() else colour[alpha > 0]  # (n, 3)
    fill = np.full(3, 255 if np.median(visible.mean(axis=1)) < 128 else 0)
    if (edge := _outline(colour, alpha, visible)) is not None:
        fill = edge
    elif len(visible) > 0.5 * alpha.size and np.ptp(visible, axis=0).max() > 64:
        fill = np.median(visible, axis=0)
    result = np.empty_like(colour)
    for c in range(3):  # one channel at a time, for the memory that 64 megapixels take
        mixed = colour[..., c].astype(np.uint16) * alpha
        mixed += (255 - alpha).astype(np.uint16) * np.uint16(fill[c])
        result[..., c] = mixed // 255
    return result


def _outline(colour, alpha, visible):
    """The colour, (3,) BGR, of an outline around all that is visible, as on a sticker; or None.

    Args:
        colour: (h, w, 3) uint8.
        alpha: (h, w) uint8.
        visible: (n, 3) uint8, the colours of the visible pixels.
    """
    solid = alpha > 127
    rim = colour[solid & grown(~solid, 2)]
    if len(rim) == 0 or np.ptp(visible, axis=0).max() <= 64:
        return None
    edge = np.median(rim, axis=0)
    some = visible[:: 1 + len(visible) // 100_000]  # not all of 64 megapixels
    alike = [(np.abs(part - edge).max(axis=1) < 32).mean() for part in (rim, some)]
    return edge if alike[0] > 0.9 and alike[1] < 0.95 else None


def _tags(tiff, page=0):
    """{tag: number} of a page of a TIFF file, or of an EXIF block, which is one; {} without it.

    Args:
        tiff: (n,) uint8, the bytes of it.
        page: counted from 0.
    """
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2].tobytes())
    if order is None:
        return {}

    def number(start, n):
        return int.from_bytes(tiff[start : start + n].tobytes(), order)

    directory = number(4, 4)
    for _ in range(page):
        directory = directory and number(directory + 2 + 12 * number(directory, 2), 4)
    tags = {}
    for k in range(directory and number(directory, 2)):
        entry = directory + 2 + 12 * k
        if entry + 12 > len(tiff):
            break
        is_long = number(entry + 2, 2) == 4  # TIFF's type LONG
        tags.setdefault(number(entry, 2), number(entry + 8, 4 if is_long else 2))
    return tags


def _turned(picture, orientation):
    """The picture upright, by EXIF's orientation, 1 to 8; unchanged for any other value."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


# -------------------------------------------------------------------------------- BGR -> EMNIST


def to_emnist(picture):
    """(height, width, 3) uint8 BGR -> (28, 28) float32 in [0, 1]; see `convert`."""
    return convert(picture)[0]


def convert(picture):
    """Converts a picture of one character the way EMNIST was made.

    Args:
        picture: (height, width, 3) uint8, BGR; any size, ink of any colour on any ground. What else
            `cv2.imread` gives is taken too: grey, with alpha, of another depth.

    Returns:
        image: (28, 28) float32 in [0, 1], upright, white ink on black, aspect ratio kept.
        notes: list of str, usually empty: "left out what the edge cuts off", "several characters?".

    Raises:
        PictureError: no ink is found.
        TypeError: not an array, as the name of a file.
    """
    if not isinstance(picture, np.ndarray):
        raise TypeError("a picture is an array: read a file with read_picture")
    if picture.size == 0:
        raise PictureError("blank: no ink found")
    try:
        ink, mask = find_ink(_bgr(picture))
    except NoInk:
        raise PictureError("blank: no ink found") from None
    labels, stats = label_pieces(mask)
    others = cut_off(labels, stats)
    notes = ["left out what the edge cuts off"] if others.any() else []
    mask &= ~of_pieces(labels, others)
    x, y, w, h = box(mask)
    glyph = ink[y : y + h, x : x + w] * mask[y : y + h, x : x + w]
    return _framed(_stroke_in_range(filled(glyph))), notes + _several(stats[1:][~others[1:]])


def _stroke_in_range(ink):
    """Thickens a hair-thin line, thins a fat brush: (h, w) float32 coverage -> (h', w') float32.

    Only where it is outside STROKE_MIN to STROKE_MAX at 28x28; then every rim moves by the same
    distance, but never past the stroke's middle line.
    """
    mask = ink > 0.5
    side, width = max(ink.shape), stroke_width(mask)
    scale = INK_SIDE / side
    wanted = min(max(width * scale, STROKE_MIN), STROKE_MAX)
    if wanted == width * scale:
        return ink
    # The side changes with the width: (width + grow) / (side + grow) = wanted / INK_SIDE.
    ratio = wanted / INK_SIDE
    grow = (ratio * side - width) / (1 - ratio)
    pad = max(1, int(np.ceil(grow / 2)) + 1)
    mask = cv2.copyMakeBorder(mask.astype(np.uint8), pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 5)
    depth = inside - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)  # 1, then -1 across the rim
    depth = depth - np.sign(depth) / 2 + grow / 2
    if grow < 0:  # keep at least a thin line where the brush was thin
        ridge = (inside > 1) & (inside >= cv2.dilate(inside, np.ones((3, 3))))
        return np.maximum(
            np.clip(depth + 0.5, 0, 1),
            grown(ridge, max(1, round(STROKE_MIN / scale / 2))) & (mask > 0),
        )
    return np.clip(depth + 0.5, 0, 1)


def _framed(ink):
    """EMNIST's own steps: (h, w) float32 coverage of the glyph -> (28, 28) float32 in [0, 1].

    Blurred; its box at half maximum centred in a square; reduced. The box is taken twice, because
    the blur moves that of a thin or pointed glyph.
    """
    size = EMNIST_SIZE * OVERSAMPLING  # 112
    shrink = 2 * size / max(ink.shape)
    if shrink < 1:
        ink = resized(ink, shrink)
    pad = max(2, max(ink.shape) // 8)
    ink = cv2.copyMakeBorder(ink, pad, pad, pad, pad, cv2.BORDER_CONSTANT)
    seen = ink
    for _ in range(2):
        x, y, w, h = box(seen > 0.5 * seen.max())
        scale = INK_SIDE * OVERSAMPLING / max(w, h)
        seen = cv2.GaussianBlur(ink, (0, 0), BLUR_SIGMA * OVERSAMPLING / scale)
    # Pixel centres: the middle of the box goes to the middle of the square.
    dx, dy = (size / 2 - scale * (v + n / 2) + (scale - 1) / 2 for v, n in ((x, w), (y, h)))
    matrix = np.float32([[scale, 0, dx], [0, scale, dy]])
    square = cv2.warpAffine(seen, matrix, (size, size), flags=cv2.INTER_LINEAR)
    image = cv2.resize(square, (EMNIST_SIZE, EMNIST_SIZE), interpolation=cv2.INTER_AREA)
    return (image / image.max()).astype(np.float32)


def _several(stats):
    """["several characters?"] where pieces, stats (n, 5), stand side by side and tall; else []."""
    groups = []  # (right, top, bottom) of pieces that overlap from left to right
    h = (stats[:, 1] + stats[:, 3]).max() - stats[:, 1].min()
    for left, top, wide, high, _ in sorted(stats.tolist()):
        right, bottom = left + wide, top + high
        if groups and left < groups[-1][0] + 0.04 * h:
            before = groups.pop()
            right, top, bottom = max(before[0], right), min(before[1], top), max(before[2], bottom)
        groups.append((right, top, bottom))
    tall = [bottom - top > 0.5 * h for _, top, bottom in groups]
    return ["several characters?"] if sum(tall) > 1 else []
