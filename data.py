"""The data: a TensorFlow Datasets name in, all its images out, upright, in memory.

A set of 28x28 images is small as a rule: EMNIST ByClass is 638 MB of bytes, QuickDraw, much the
largest, 40 GB. batching.py makes batches of them.
"""

import contextlib
import logging
import os
import re
import shutil
import zlib
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError
from tensorflow_datasets.core.download import downloader

from model import CHARACTERS, INPUT_SHAPE
from quiet import reason
from weights import MAX_CLASSES, MAX_NAME, are_class_names

HELD_OUT_PERCENT = 5  # of the training split, for validation, where the data has no such split
READ_BATCH = 4096  # images a step while reading; large, since an image is small
DECODED_TOGETHER = 16  # of them in one turn of the loop; see _decoded
EMNIST_ARCHIVE = "gzip.zip"  # what the builder downloads
RETRIES = 6  # of a download that does not begin: 13 s; TFDS takes three and a half minutes

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
        data_dir: str or Path, folder where TFDS keeps prepared data.

    Returns:
        `Data`.

    Raises:
        DataError: the name is unknown, its images have another shape or are too few, the download
            fails, or what is prepared is damaged.
    """
    # TFDS's order of the files depends on a seed for all, which an earlier training here has set.
    tf.random.set_seed(None)
    info = _prepare(name, Path(data_dir))
    label = _label(name, info)
    if not info.splits:  # TFDS made do without
        told = "the description of the prepared data is missing"
        raise DataError(_not_read(name, told, info.data_dir, _refusal(info.data_dir)))
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
    return Data(
        name=info.full_name,
        characters=_characters(info, label),
        train=_read(info, train),
        validation=_read(info, validation),
        test=_read(info, "test") if "test" in info.splits else None,
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


def _prepare(name, data_dir):
    """Makes sure that the data is there; returns its DatasetInfo."""
    try:
        str(data_dir).encode()
    except UnicodeEncodeError:
        raise DataError(f"{ascii(str(data_dir))}: TensorFlow needs a UTF-8 name") from None
    folder = data_dir / re.split("[/:]", name)[0]
    try:
        # TFDS itself names a set mnist/3.0.1, but takes mnist:3.0.1 alone.
        builder = tfds.builder(re.sub(r"/(\d+\.\d+\.\d+)$", r":\1", name), data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        if refusal := _refusal(folder):
            raise DataError(_not_read(name, "", folder, refusal)) from None
        raise DataError(
            f"{name}: no dataset of this name, neither in TensorFlow Datasets nor prepared in "
            f"{data_dir} (--dataset, --data_dir); a name has small letters, digits and _ alone"
        ) from None
    except (ParseError, JSONDecodeError, OSError) as error:
        told = f"the description of the prepared data is damaged: {str(error).splitlines()[0]}"
        raise DataError(_not_read(name, told, folder, error)) from error
    except ImportError as error:  # another community's datasets
        raise DataError(f"{name}: needs what is not installed: {error}") from error
    except (ValueError, TypeError, AssertionError) as error:
        known = f"; there are {', '.join(_EMNIST_CHARACTERS)}" if name.startswith("emnist") else ""
        raise DataError(f"{name!r}: no such dataset, configuration or version{known}") from error
    if builder.info.features:  # most say so before anything is downloaded
        _label(name, builder.info)
    try:
        with _few_retries(), _no_remains(data_dir / "downloads"):
            builder.download_and_prepare()
    except Exception as error:  # TFDS lets through whatever the network, the disk or pip raised
        told = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        raise DataError(
            f"{name} could not be downloaded and prepared in {data_dir}.\n"
            f"  What failed: {told}\n" + _by_hand(builder.name, data_dir)
        ) from error
    return builder.info


@contextlib.contextmanager
def _few_retries():
    """Within it TFDS gives up a download sooner; urllib3 does not tell of each retry.

    Nor later: where one of several files fails, threads still try for the others.
    """
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries


@contextlib.contextmanager
def _no_remains(downloads):
    """Within it what fails or is stopped leaves no part of a file, with which TFDS never goes on.

    Of EMNIST that may be half a gigabyte each time, and as much again of what was unpacked.
    """

    def parts():
        # One folder a dataset, and "extracted": what is in an archive is not looked through.
        return {*downloads.glob("*/*.tmp.*"), *downloads.glob("*/incomplete.*")}

    before = parts()
    try:
        yield
    except BaseException:  # Ctrl-C too
        for part in parts() - before:
            shutil.rmtree(part, ignore_errors=True)
        raise


def _by_hand(name, data_dir):
    """What a user can do where the download does not work."""
    again = "  Start again to try again,"
    prepared = "or name a folder where the data is already prepared: --data_dir FOLDER"
    if name != "emnist":
        return f"{again} {prepared}"
    place = data_dir / "downloads" / "manual" / EMNIST_ARCHIVE
    url = tfds.builder_cls("emnist").URL
    return (
        f"{again} or fetch {EMNIST_ARCHIVE} (561,753,746 bytes) by hand from\n"
        f"    {url}\n"
        f"  put it here and start again:\n    {place}\n  {prepared}"
    )


def _keys(info):
    """Names of the image and the label feature; sets of `store_as_tfds_dataset` do not say."""
    return (info.supervised_keys or ("image", "label"))[:2]  # a third would be of weights


def _label(name, info):
    """The label's feature; DataError unless the set has labelled images of the networks' size."""
    image, label = (dict(info.features).get(str(key)) for key in _keys(info))  # or a dict
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


def _read(info, split):
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
    transposed = info.name == "emnist"  # all six configurations

    def parse(records):
        some_images, some_labels = (tf.io.parse_example(records, stored)[key] for key in keys)
        some_images = _decoded(some_images, decode)
        return upright(some_images) if transposed else some_images, some_labels

    end, damaged = 0, f"the prepared data is damaged, split {split}"
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
        # TFDS stores an image that it is given as a file as it is, whatever the description says.
        if re.search("incompatible shape|Shapes of all inputs must match", str(error)):
            told = f"split {split} has images of another size than 28x28: make it again"
            raise DataError(f"{info.full_name}: {told}") from error
        told = f"{damaged}: {reason(error)}"
        raise DataError(_not_read(info.full_name, told, info.data_dir, error)) from error
    if end != count:
        told = f"{damaged}: {end} of {count} images"
        raise DataError(_not_read(info.full_name, told, info.data_dir))
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
    """A split's examples as they lie on disk, in `tfds.load`'s order with shuffled files, seed 0.

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


def _refusal(folder):
    """The PermissionError of a folder or of one in it, or None: TFDS takes these for empty."""
    errors = []
    for _ in os.walk(folder, onerror=errors.append):
        pass
    return next((error for error in errors if isinstance(error, PermissionError)), None)


def _not_read(name, told, folder, error=None):
    """What to say, and to do, where prepared data could not be read.

    Args:
        name: of the dataset.
        told: what is wrong, unless reading was not permitted.
        folder: where the data is.
        error: what was raised, by whatever TFDS wrapped in it.
    """
    while error:
        if isinstance(error, PermissionError | tf.errors.PermissionDeniedError):
            who = "ask its owner, or name another --data_dir"
            return f"{name}: not permitted to read {folder}: {who}"
        error = error.__cause__
    again = "and start again: it is prepared anew; or make it again."
    return f"{name}: {told}\n  Remove {folder} {again}"
