"""Batches: images in memory in, what a network is fed out, in an order that a run can go on in.

That the images are in memory buys two things: a batch costs one gather, and the order is a plain
function of (seed, step), so that a run can go on at any step without reading what it skips.
"""

import numpy as np
import tensorflow as tf

from augmentation import augment

COPIED_AT_ONCE = 4096  # images


def training_batches(train, batch_size, seed, first_step, augmentation=None, share=(0, 1)):
    """The batches of a run from a step on, without end, shuffled and augmented.

    Each pass over the data takes every image once, in an order drawn from (seed, pass); passes
    follow each other without a seam, so a batch may end one and begin the next. What step k holds
    depends on (seed, k) alone, not on where the run started, nor on how many processes share it.

    Args:
        train: (images, labels), uint8 (n, 28, 28, 1) and int (n,).
        batch_size: images a step, over all processes.
        seed: int, 0 to 2**31 - 1.
        first_step: counted from the start of the run; an int, or an int64 `tf.Variable` that is
            looked at anew whenever an iteration begins.
        augmentation: keyword arguments for `augmentation.augment`; None for none.
        share: (k, n): of n processes this is number k, which has the k-th part of every batch.

    Returns:
        `tf.data.Dataset` of (float32 (rows, 28, 28, 1) in [0, 1], int64 (rows,)), where rows is
        batch_size / n.
    """
    images, labels = map(_as_variable, train)
    count = len(train[1])
    rows = _rows(batch_size, share)

    def batch(step):
        position = step * batch_size + tf.range(rows.start, rows.stop, dtype=tf.int64)
        # One seed an image: (seed, 1 for this purpose, pass). The operation permutes 0..max_index
        # without holding the permutation in memory.
        seeds = tf.stack(
            [tf.fill([len(rows)], tf.cast(part, tf.int64)) for part in (seed, 1)]
            + [position // count],
            axis=-1,
        )
        index = tf.raw_ops.RandomIndexShuffle(
            index=position % count,
            seed=seeds,
            max_index=tf.constant(count - 1, tf.int64),
            rounds=8,
        )
        chosen = _scaled(tf.gather(images, index))
        if augmentation:
            seed_of_step = tf.stack([tf.cast(seed, tf.int64), step])
            part_of = None if len(rows) == batch_size else (rows.start, batch_size)
            chosen = augment(chosen, seed_of_step, part_of, **augmentation)
        return chosen, tf.gather(labels, index)

    steps = tf.data.Dataset.from_tensors(0).flat_map(
        lambda _: tf.data.Dataset.range(first_step, tf.int64.max)
    )
    # In order, though mapped in parallel: step k's batch must reach step k.
    return steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(
        tf.data.AUTOTUNE
    )


def _as_variable(array):
    """A TensorFlow variable with an array's values, on the processor.

    As a constant, a training set would be in memory three times more, not once more: twice when it
    is made and again in the graph of the pipeline.
    """
    with tf.device("CPU"):
        variable = tf.Variable(tf.zeros(array.shape, array.dtype))
    for start in range(0, len(array), COPIED_AT_ONCE):
        part = array[start : start + COPIED_AT_ONCE]
        variable.scatter_update(tf.IndexedSlices(part, start + np.arange(len(part))))
    return variable


def evaluation_batches(part, batch_size):
    """Every image of a part once, in its order, the last batch as small as it comes.

    Args:
        part: (images, labels), uint8 (n, 28, 28, 1) and int (n,).
        batch_size: images a step.

    Returns:
        `tf.data.Dataset` of (float32 (<= batch_size, 28, 28, 1) in [0, 1], int64).
    """
    batches = tf.data.Dataset.from_tensor_slices(part).batch(batch_size)
    return batches.map(lambda images, labels: (_scaled(images), labels)).prefetch(tf.data.AUTOTUNE)


def validation_batches(part, batch_size, device_count=1, share=(0, 1)):
    """As `evaluation_batches`; where several devices share each, full batches with weights.

    The last batch is then filled up with images of weight 0. The others weigh a little more than 1,
    so that Keras's mean loss, which counts all rows, is that of the real images; accuracy needs
    only that these weigh the same.

    Args:
        part: (images, labels), uint8 (n, 28, 28, 1) and int (n,).
        batch_size: images a step, over all processes.
        device_count: how many devices share a batch.
        share: as for `training_batches`.

    Returns:
        `tf.data.Dataset` of (float32 (rows, 28, 28, 1) in [0, 1], int64 (rows,)) and, with several
        devices, float32 weights (rows,).
    """
    if device_count == 1:
        return evaluation_batches(part, batch_size)
    images, labels = map(_as_variable, part)
    count, rows = len(part[1]), _rows(batch_size, share)
    steps = -(-count // batch_size)
    weight = steps * batch_size / count

    def batch(step):
        position = step * batch_size + tf.range(rows.start, rows.stop, dtype=tf.int64)
        index = tf.minimum(position, count - 1)
        weights = tf.where(position < count, weight, 0.0)
        return _scaled(tf.gather(images, index)), tf.gather(labels, index), weights

    return tf.data.Dataset.range(steps).map(batch).prefetch(tf.data.AUTOTUNE)


def _rows(batch_size, share):
    """A process's rows of a batch, as a range."""
    number, processes = share
    return range(number * batch_size // processes, (number + 1) * batch_size // processes)


def _scaled(images):
    """uint8 0..255 -> float32 0..1, the range that every network here is fed."""
    return tf.cast(images, tf.float32) / 255.0
