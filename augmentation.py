"""Augmentation: a batch of characters in, the same characters written a little otherwise out.

Only TensorFlow operations on whole batches, so that it runs in a tf.data pipeline without slowing
the training.
"""

import numpy as np
import tensorflow as tf

ELASTIC_GRID = (5, 5)  # points at which an image is bent its own way
COARSE_GRAIN = (12, 12)  # points at which coarse grain is drawn; fine grain has one a pixel


def augment(
    images,
    seed,
    part_of=None,
    rotation=0,
    shear=0,
    scale=0,
    shift=0,
    elastic=0,
    stroke=0,
    blur=0,
    contrast=0,
    grain=0,
):
    """Turns, slants, stretches, moves and bends each image, and draws its strokes otherwise.

    Every image has its own random amounts, and is never mirrored. Bending is the elastic
    distortion of Simard, Steinkraus, Platt, "Best practices for convolutional neural networks
    applied to visual document analysis", ICDAR 2003; departure: its field is a coarse random grid
    interpolated smoothly, in place of a fine one blurred. The whole batch is resampled at once.

    Args:
        images: float32 (n, height, width, 1) in [0, 1].
        seed: int (2,); the same seed gives the same images.
        part_of: (first, total) where these are only some of a batch's `total` images, from number
            `first` on: each is changed as in the whole batch, but for rounding (TensorFlow's order
            of summing depends on shapes).
        rotation: largest angle, in degrees, either way.
        shear: largest horizontal displacement a row, in columns.
        scale: largest change of each side, as a share; the two sides change independently.
        shift: largest displacement along each axis, in pixels.
        elastic: standard deviation of the bending along each axis, in pixels.
        stroke: largest change at each edge of a stroke, in pixels, to 1.
        blur: largest share, to 1, that the mean of a pixel and its neighbours has in it.
        contrast: largest part of the range, below 0.5, that becomes black at the dark end, and
            white at the bright end; the two change independently.
        grain: largest depth of the gaps that chalk, or a pencil on rough paper, leaves in its
            strokes: the share of a pixel lost for each standard deviation of a noise, which is
            fine, coarse or between. Half of the images have none.

    Returns:
        float32, the same shape and range; what comes from outside is black.
    """
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]
    first, total = part_of or (0, count)
    draws = tf.random.stateless_uniform([10, total, 1, 1], seed, -1.0, 1.0)
    bend = elastic * tf.random.stateless_normal([total, *ELASTIC_GRID, 2], seed)
    if part_of:
        draws, bend = draws[:, first : first + count], bend[first : first + count]
    angle = draws[0] * (rotation * np.pi / 180)  # (n, 1, 1), as all amounts
    slant = draws[1] * shear
    across, down = 1 + draws[2] * scale, 1 + draws[3] * scale
    # Output pixel (x, y), counted from the centre, is read at A (x, y) + a shift + a bend, with
    # A = rotation . shear . scale.
    cos, sin = tf.cos(angle), tf.sin(angle)
    middle_x, middle_y = (tf.cast(size - 1, tf.float32) / 2 for size in (width, height))
    x = tf.range(tf.cast(width, tf.float32))[None, None, :] - middle_x
    y = tf.range(tf.cast(height, tf.float32))[None, :, None] - middle_y
    bend = tf.image.resize(bend, [height, width], "bicubic")  # (n, height, width, 2)
    images = _sample(
        images,
        cos * across * x
        + (cos * slant - sin) * down * y
        + draws[4] * shift
        + bend[..., 0]
        + middle_x,
        sin * across * x
        + (sin * slant + cos) * down * y
        + draws[5] * shift
        + bend[..., 1]
        + middle_y,
    )
    # A pixel's brightest neighbours make a stroke thicker by one pixel at each edge, its darkest
    # thinner; what lies between is a mixture.
    thicker = tf.nn.max_pool2d(images, 3, 1, "SAME")
    thinner = -tf.nn.max_pool2d(-images, 3, 1, "SAME")
    change = draws[6][..., None] * stroke
    images += tf.nn.relu(change) * (thicker - images) - tf.nn.relu(-change) * (images - thinner)
    if grain:
        images *= _grain(seed, total, first, count, height, width, grain)
    # A coarse scan is blurred; finding the ink in it turns greys black or white.
    shared, black, white = tf.unstack((1 + draws[7:, ..., None]) / 2)  # each in [0, 1]
    images += blur * shared * (tf.nn.avg_pool2d(images, 3, 1, "SAME") - images)
    black, white = contrast * black, 1 - contrast * white
    return tf.clip_by_value((images - black) / (white - black), 0.0, 1.0)


def _grain(seed, total, first, count, height, width, largest):
    """The share of each pixel that rough paper leaves: float32 (n, height, width, 1) in [0, 1]."""
    seed = tf.convert_to_tensor(seed)
    share, coarse = tf.unstack(tf.random.stateless_uniform([2, total, 1, 1, 1], seed + 1))
    points = tf.random.stateless_normal([total, *COARSE_GRAIN, 1], seed + 2)
    pixels = tf.random.stateless_normal([total, height, width, 1], seed + 3)
    share, coarse, points, pixels = (
        drawn[first : first + count] for drawn in (share, coarse, points, pixels)
    )
    noise = coarse * tf.image.resize(points, [height, width], "bicubic") + (1 - coarse) * pixels
    depth = largest * tf.nn.relu(2 * share - 1)  # 0 for half of them
    return tf.clip_by_value(1 - depth * tf.nn.relu(noise + 0.3), 0.0, 1.0)


def _sample(images, x, y):
    """Images (n, height, width, 1) sampled at x, y, each (n, height, width), bilinearly."""
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]
    # A black frame of one pixel: whatever lies outside is read there.
    flat = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]]), [count, -1])
    x = tf.clip_by_value(x + 1, 0.0, tf.cast(width, tf.float32) + 0.999)
    y = tf.clip_by_value(y + 1, 0.0, tf.cast(height, tf.float32) + 0.999)
    left, top = tf.floor(x), tf.floor(y)
    right_share, lower_share = x - left, y - top
    corner = tf.cast(top, tf.int32) * (width + 2) + tf.cast(left, tf.int32)

    def pixels(offset):
        return tf.gather(flat, corner + offset, batch_dims=1)

    upper = pixels(0) + right_share * (pixels(1) - pixels(0))
    lower = pixels(width + 2) + right_share * (pixels(width + 3) - pixels(width + 2))
    return (upper + lower_share * (lower - upper))[..., None]
