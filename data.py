"""The data: a TensorFlow Datasets name in, batches of upright characters out.

A set of 28x28 images is small as a rule (EMNIST ByClass is 547 MB of bytes, QuickDraw, much the
largest, 40 GB), so the training images are held in memory as uint8. That buys two things: a batch
costs one gather, and the order is a plain function of (seed, step), so that a run can go on at any
step without reading what it skips.
"""

import re
import zlib
from dataclasses import dataclass
from json import JSONDecodeError

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError

from augmentation import augment
from model import CHARACTERS, INPUT_SHAPE
from weights import MAX_CLASSES, MAX_NAME, are_class_names

HELD_OUT_PERCENT = 5  # of the training split, for validation, where the data has no such split
READ_BATCH = 4096  # images a step while reading; large, since an image is small
DECODED_TOGETHER = 16  # of them in one turn of the loop; see _decoded
EMNIST_ARCHIVE = "gzip.zip"  # what the builder downloads: 561,753,746 bytes

_MERGED = CHARACTERS[:36] + "abdefghnqrt"  # 47: lower case that looks like its capital is merged
_EMNIST_CHARACTERS = {  # TFDS numbers EMNIST's classes without naming them
    "byclass": [*CHARACTERS],
    "bymerge": [*_MERGED],
    "balanced": [*_MERGED],
    "letters": ["", *CHARACTERS[10:36], *[""] * 10],  # 37 outputs, 1..26 used, cases merged
    "digits": [*CHARACTERS[:10]],
    "mnist": [*CHARACTERS[:10]],
}


class DataError(Exception):
    """The data cannot be had or used; the message says why and what to do."""


@dataclass
class Data:
    """A dataset, ready to train on.

    Attributes:
        name: full TFDS name, such as "emnist/byclass/3.1.0".
        characters: what each class means, one string a class; "" for a class never used.
        train: (images, labels), uint8 (n, 28, 28, 1) upright, white on black, and int64 (n,).
        validation: likewise; never trained on.
        test: likewise, or None where the data has no test split.
        held_out: where the validation images come from, in words.
    """

    name: str
    characters: list
    train: tuple
    validation: tuple
    test: tuple | None
    held_out: str

    def fingerprint(self):
        """CRC-32 of the training images and labels in their order: other data, other number."""
        images, labels = self.train
        return zlib.crc32(labels, zlib.crc32(images))


def load(name, data_dir):
    """Loads a dataset by its TFDS name; downloads and prepares it where that is still to do.

    Args:
        name: TFDS name such as "emnist", "emnist/letters" or "mnist/3.0.1"; images of 28x28x1.
        data_dir: folder where TFDS keeps prepared data.

    Returns:
        `Data`.

    Raises:
        DataError: the name is unknown, its images have another shape or are too few, the download
            fails, or what is prepared is damaged.
    """
    # TFDS's order of the files depends on a seed for all, which an earlier training here has set.
    tf.random.set_seed(None)
    info = _prepare(name, data_dir)
    label = _label(name, info)
    if "train" not in info.splits:
        raise DataError(f"{name}: it has no 'train' split, only {', '.join(info.splits)}")
    if "validation" in info.splits:
        train, validation = "train", "validation"
        held_out = "its own validation split"
    else:
        # The tail of the split: TFDS has shuffled the examples once, when it prepared them.
        train = f"train[:{100 - HELD_OUT_PERCENT}%]"
        validation = f"train[{100 - HELD_OUT_PERCENT}%:]"
        held_out = f"the last {HELD_OUT_PERCENT} % of its training split, held out"
        if info.disable_shuffling:  # the tail may be one class
            raise DataError(
                f"{name}: stored in order (disable_shuffling), so it needs a validation split"
            )
    transposed = info.name == "emnist"  # all six configurations

    def read(split):
        return _read(info, split, transposed)

    return Data(
        name=info.full_name,
        characters=_characters(info, label),
        train=read(train),
        validation=read(validation),
        test=read("test") if "test" in info.splits else None,
        held_out=held_out,
    )


def upright(images):
    """EMNIST as it is meant to be seen: TFDS stores it with rows and columns exchanged.

    Args:
        images: (n, height, width, channels), any dtype.

    Returns:
        (n, width, height, channels), the same dtype.
    """
    return tf.transpose(images, [0, 2, 1, 3])


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
    for start in range(0, len(array), READ_BATCH):
        part = array[start : start + READ_BATCH]
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


def _prepare(name, data_dir):
    """Makes sure that the data is there; returns its DatasetInfo."""
    try:
        str(data_dir).encode()
    except UnicodeEncodeError:
        raise DataError(f"{ascii(str(data_dir))}: TensorFlow needs a UTF-8 name") from None
    try:
        # TFDS itself names a set mnist/3.0.1, but takes mnist:3.0.1 alone.
        builder = tfds.builder(re.sub(r"/(\d+\.\d+\.\d+)$", r":\1", name), data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        raise DataError(
            f"{name}: no dataset of this name, neither in TensorFlow Datasets nor prepared in "
            f"{data_dir} (--dataset, --data_dir); a name has small letters, digits and _ alone"
        ) from None
    except (ParseError, JSONDecodeError, OSError) as error:
        reason, folder = str(error).splitlines()[0], re.split("[/:]", name)[0]
        raise DataError(
            f"{name}: the description of the prepared data is damaged: {reason}\n"
            f"  Remove {data_dir / folder} and start again: it is prepared anew; or make it again."
        ) from error
    except ImportError as error:  # another community's datasets
        raise DataError(f"{name}: needs what is not installed: {error}") from error
    except (ValueError, TypeError, AssertionError) as error:
        known = "; there are " + ", ".join(_EMNIST_CHARACTERS) if name[:6] == "emnist" else ""
        raise DataError(f"{name!r}: no such dataset, configuration or version{known}") from error
    if builder.info.features:  # most say so before anything is downloaded
        _label(name, builder.info)
    try:
        builder.download_and_prepare()
    except Exception as error:  # TFDS lets through whatever the network, the disk or pip raised
        reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise DataError(
            f"{name} could not be downloaded and prepared in {data_dir}.\n"
            f"  What failed: {reason}\n" + _by_hand(builder.name, data_dir)
        ) from error
    return builder.info


def _by_hand(name, data_dir):
    """What a user can do where the download does not work."""
    prepared = "  Or name a folder where the data is already prepared: --data_dir FOLDER"
    if name != "emnist":
        return prepared
    place = data_dir / "downloads" / "manual" / EMNIST_ARCHIVE
    url = tfds.builder_cls("emnist").URL
    return (
        f"  Start again to try again, or fetch {EMNIST_ARCHIVE} (561,753,746 bytes) by hand from\n"
        f"    {url}\n"
        f"  put it here and start again:\n    {place}\n{prepared}"
    )


def _keys(info):
    """Names of the image and the label feature; sets of `store_as_tfds_dataset` do not say."""
    return info.supervised_keys or ("image", "label")


def _label(name, info):
    """The label's feature; DataError unless the set has labelled images of the networks' size."""
    image, label = (dict(info.features).get(str(key)) for key in _keys(info)[:2])  # or a dict
    kinds = tfds.features.Image | tfds.features.Tensor
    if not isinstance(image, kinds) or not isinstance(label, tfds.features.ClassLabel):
        wanted = "one class label each: an Image called 'image', a ClassLabel called 'label'"
        raise DataError(f"{name}: not a set of images with {wanted}")
    if label.num_classes == 1:
        raise DataError(f"{name}: it has one class alone, and nothing to tell it from")
    if tuple(image.shape) != INPUT_SHAPE or image.np_dtype != np.uint8:
        images = f"{image.shape} {np.dtype(image.np_dtype)}"
        raise DataError(f"{name}: its images are {images}; these networks take {INPUT_SHAPE} uint8")
    if image.get_serialized_info().tf_dtype != tf.string:  # no file to decode
        raise DataError(f"{name}: its images are stored as numbers: make them tfds.features.Image")
    return label


def _characters(info, label):
    """What each class means, one string a class."""
    if info.name == "emnist":
        return _EMNIST_CHARACTERS[info.config_name]
    # TFDS drops blank names, so that those behind them move up; others the demo would refuse.
    if len({*label.names}) != label.num_classes or not are_class_names(label.names):
        rule = f"different, printable, not blank; up to {MAX_CLASSES}, of up to {MAX_NAME} letters"
        raise DataError(f"{info.full_name}: its classes' names must be {rule}")
    return list(label.names)


def _read(info, split, transposed):
    """One split as arrays, upright: uint8 (n, 28, 28, 1) and int64 (n,)."""
    count = info.splits[split].num_examples
    if count == 0:
        raise DataError(f"{info.full_name}: too few images: none is left for split {split}")
    images, labels = np.empty((count, *INPUT_SHAPE), np.uint8), np.empty(count, np.int64)
    keys = _keys(info)
    stored = {
        keys[0]: tf.io.FixedLenFeature([], tf.string),
        keys[1]: tf.io.FixedLenFeature([], tf.int64),
    }
    decode = info.features[keys[0]].decode_example

    def parse(records):
        some_images, some_labels = (tf.io.parse_example(records, stored)[key] for key in keys)
        some_images = _decoded(some_images, decode)
        return upright(some_images) if transposed else some_images, some_labels

    end = 0
    try:
        batches = _records(info, split).batch(READ_BATCH)
        batches = batches.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        for some_images, some_labels in batches.prefetch(2):
            start, end = end, end + len(some_labels)
            images[start:end], labels[start:end] = some_images, some_labels
    except NotImplementedError:
        kind = info.file_format.value
        raise DataError(f"{info.full_name}: its files are {kind}: prepare it as tfrecord") from None
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise DataError(_damaged(info, split, str(error).strip().splitlines()[0])) from error
    if end != count:
        raise DataError(_damaged(info, split, f"{end} of {count} images"))
    if labels.min() < 0:  # TFDS's way to say that there are none
        part = split.split("[")[0]
        raise DataError(f"{info.full_name}: split {part} has images without labels; leave it out")
    return images, labels


def _decoded(files, decode):
    """Encoded images, string (n,), n > 0 -> uint8 (n, 28, 28, 1).

    A turn of `tf.map_fn`'s loop costs more than decoding an image of this size does: with one image
    a turn this takes twice as long (9.1 in place of 4.5 microseconds an image on 2 cores).
    """
    count = tf.shape(files)[0]
    filled_up = tf.concat([files, tf.repeat(files[-1:], -count % DECODED_TOGETHER)], axis=0)
    images = tf.map_fn(
        lambda some: tf.stack([decode(file) for file in tf.unstack(some)]),
        tf.reshape(filled_up, [-1, DECODED_TOGETHER]),
        fn_output_signature=tf.TensorSpec([DECODED_TOGETHER, *INPUT_SHAPE], tf.uint8),
    )
    return tf.reshape(images, [-1, *INPUT_SHAPE])[:count]


def _records(info, split):
    """A split's examples as they lie on disk, in the order in which `tfds.load` yields them.

    `tfds.load` parses and decodes them one by one, which takes three times as long.
    """
    parts = info.splits[split].file_instructions
    columns = (
        [str(part.filename) for part in parts],
        *(np.array([getattr(part, name) for part in parts], np.int64) for name in ("skip", "take")),
    )
    adapter = tfds.core.file_adapters.ADAPTER_FOR_FORMAT[info.file_format]
    # Files in a random but fixed order: two starts must see the same data in the same order.
    files = tf.data.Dataset.from_tensor_slices(tuple(columns)).shuffle(len(parts), seed=0)
    return files.interleave(
        lambda file, skip, take: adapter.make_tf_data(file).skip(skip).take(take),
        cycle_length=1 if info.disable_shuffling else 16,  # as TFDS does
        block_length=16,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _damaged(info, split, reason):
    return (
        f"{info.full_name}: the prepared data is damaged, split {split}: {reason}\n"
        f"  Remove {info.data_dir} and start again: it is prepared anew; or make it again."
    )
