"""Pictures of a training, for TensorBoard: what is confused, what is wrong, what is seen.

Each is uint8 RGB (height, width, 3). Only OpenCV and numpy.
"""

import cv2
import numpy as np

from panel import BACKGROUND, MUTED, TEXT, grey_to_bgr, put_text

CELL = 14  # pixels a cell of the confusion matrix
CELLS = 4096  # pixels all cells of a row at most: of many classes they are smaller
MARGIN = 26  # for its labels
TILE = 84  # an image in a gallery: three pixels a pixel
GALLERY_COLUMNS = 8


def confusion_matrix(counts, characters):
    """Rows are what it was, columns what it was read as; each row's shares add up to 1.

    Args:
        counts: int (classes, classes).
        characters: what each class means.

    Returns:
        uint8 RGB; dark blue is never, yellow always (cividis, which the colour-blind read alike).
    """
    classes = len(characters)
    cell = max(1, min(CELL, CELLS // classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The square root brings out the few that are confused beside the many that are not.
    colours = cv2.applyColorMap(np.uint8(255 * np.sqrt(shares) + 0.5), cv2.COLORMAP_CIVIDIS)
    side = 2 * MARGIN + classes * cell
    canvas = np.full((side + MARGIN, side, 3), BACKGROUND, np.uint8)
    inside = slice(MARGIN, MARGIN + classes * cell)
    canvas[inside, inside] = cv2.resize(
        colours, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST
    )
    for i in range(1, classes):  # hairlines where digits end and capitals end
        kinds = {_kind(characters[i - 1]), _kind(characters[i])}
        edge = MARGIN + i * cell
        if len(kinds) == 2:
            canvas[edge, inside] = canvas[inside, edge] = (255, 255, 255)
    for i in range(0, classes, -(-CELL // cell)):  # each, or as many as there is room for
        middle = MARGIN + (i + 0.5) * cell
        for near in (MARGIN - 10, side - MARGIN + 10):
            put_text(canvas, characters[i], near, middle + 4, 9, TEXT, align=0.5)
            put_text(canvas, characters[i], middle, near + 4, 9, TEXT, align=0.5)
    words = "rows: what it was; columns: what it was read as; square root of each row's shares"
    put_text(canvas, words, MARGIN, side + MARGIN - 10, 9, MUTED, room=side - 2 * MARGIN)
    return canvas[..., ::-1]


def _kind(character):
    return character[:1].isdigit(), character[:1].isupper()


def gallery(images, labels, answers, confidences, characters):
    """The images with what each was read as, what it should be and how sure the network was.

    Args:
        images: float (n, 28, 28[, 1]) in [0, 1].
        labels, answers: int (n,), what they are and were read as.
        confidences: float (n,) in [0, 1].
        characters: what each class means.

    Returns:
        uint8 RGB.
    """
    words = [
        f"{characters[answer]} for {characters[label]}  {100 * confidence:.0f} %"
        for label, answer, confidence in zip(labels, answers, confidences)
    ]
    return _tiles([_enlarged(image) for image in images], words)


def image_grid(images):
    """Images, float (n, 28, 28[, 1]) in [0, 1], side by side: uint8 RGB."""
    return _tiles([_enlarged(image) for image in images])


def kernels(weights):
    """The kernels of a first layer, float (height, width, 1, filters), each in its own square.

    Returns:
        uint8 RGB; grey is 0, white the largest absolute weight of all, black its negative.
    """
    shades = 0.5 + weights[:, :, 0, :] / (2 * max(np.abs(weights).max(), 1e-30))
    return _tiles([_enlarged(shades[:, :, i]) for i in range(shades.shape[2])])


def _enlarged(image):
    return cv2.resize(grey_to_bgr(image), (TILE, TILE), interpolation=cv2.INTER_NEAREST)


def _tiles(pictures, words=None):
    """Pictures of TILE by TILE in rows, a line of words below each."""
    gap, foot = 6, 18 if words else 0
    columns = max(1, min(GALLERY_COLUMNS, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    size = rows * (TILE + gap + foot) + gap, columns * (TILE + gap) + gap, 3
    canvas = np.full(size, BACKGROUND, np.uint8)
    for i, picture in enumerate(pictures):
        x, y = gap + i % columns * (TILE + gap), gap + i // columns * (TILE + gap + foot)
        canvas[y : y + TILE, x : x + TILE] = picture
        if words:
            put_text(canvas, words[i], x + TILE / 2, y + TILE + 13, 8, TEXT, 0.5, room=TILE + gap)
    return canvas[..., ::-1]
