"""Pictures of a training, for TensorBoard: what is confused, what is wrong, what is seen.

Each is uint8 RGB (height, width, 3). Only OpenCV and numpy.
"""

import cv2
import numpy as np

from panel import BACKGROUND, MUTED, TEXT, grey_to_bgr, put_text

CELL = 14  # pixels a cell of the confusion matrix
CELLS = 868, 4096  # pixels all cells of a row, at least and at most: their size follows
MARGIN = 26  # for its labels; where they are names, more beside it
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
    cell = max(1, min(max(CELL, CELLS[0] // classes), CELLS[1] // classes))
    beside = max(MARGIN, 8 * max(map(len, characters)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The square root brings out the few that are confused beside the many that are not.
    colours = cv2.applyColorMap(np.uint8(255 * np.sqrt(shares) + 0.5), cv2.COLORMAP_CIVIDIS)
    size = height, width = 3 * MARGIN + classes * cell, 2 * beside + classes * cell
    canvas = np.full((*size, 3), BACKGROUND, np.uint8)
    rows, columns = (slice(edge, edge + classes * cell) for edge in (MARGIN, beside))
    canvas[rows, columns] = cv2.resize(
        colours, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST
    )
    for i in range(1, classes):  # hairlines where digits end and capitals end
        kinds = {_kind(characters[i - 1]), _kind(characters[i])}
        if len(kinds) == 2:
            canvas[MARGIN + i * cell, columns] = canvas[rows, beside + i * cell] = (255, 255, 255)
    step = -(-CELL // cell)  # each, or as many as there is room for
    for i in range(0, classes, step):
        x, y = beside + (i + 0.5) * cell, MARGIN + (i + 0.5) * cell + 4
        for near in (beside / 2 + 3, width - beside / 2 - 3):
            put_text(canvas, characters[i], near, y, 9, TEXT, align=0.5, room=beside - 6)
        for near in (MARGIN - 6, height - 2 * MARGIN + 14):
            put_text(canvas, characters[i], x, near, 9, TEXT, align=0.5, room=step * cell - 4)
    words = "rows: what it was; columns: what it was read as; square root of each row's shares"
    put_text(canvas, words, beside, height - 10, 9, MUTED, room=classes * cell)
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
    """Pictures of TILE by TILE in rows, a line of words below each; as far apart as these need."""
    gap, foot = 6, 18 if words else 0
    wide = max([TILE, *(6 * len(text) for text in words or ())])
    columns = max(1, min(GALLERY_COLUMNS, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    size = rows * (TILE + gap + foot) + gap, columns * (wide + gap) + gap, 3
    canvas = np.full(size, BACKGROUND, np.uint8)
    for i, picture in enumerate(pictures):
        x, y = gap + i % columns * (wide + gap), gap + i // columns * (TILE + gap + foot)
        left = x + (wide - TILE) // 2
        canvas[y : y + TILE, left : left + TILE] = picture
        if words:
            put_text(canvas, words[i], x + wide / 2, y + TILE + 13, 8, TEXT, 0.5, room=wide + gap)
    return canvas[..., ::-1]
