"""The data: EMNIST through TFDS's real builder, upright; order and augmentation by (seed, step)."""

import hashlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from conftest import (
    CLASSES,
    ROOT,
    TEST_PER_CLASS,
    TRAIN_PER_CLASS,
    QuietHandler,
    emnist_examples,
    serving,
)
from tensorflow_datasets.core.download import checksums

import batching
import data
from augmentation import augment
from model import CHARACTERS


def pairs(images, labels):
    """Examples as a sorted list, whatever their order."""
    return sorted((int(label), image.tobytes()) for image, label in zip(images, labels))


@pytest.fixture(scope="module")
def emnist(emnist_dir):
    return data.load("emnist", emnist_dir)


def test_emnist_is_byclass_upright_and_whole(emnist):
    assert emnist.name.startswith("emnist/byclass/")
    assert emnist.characters == [*CHARACTERS]
    train = [np.concatenate(both) for both in zip(emnist.train, emnist.validation)]
    drawn = emnist_examples("byclass", TRAIN_PER_CLASS, seed=len("train"))
    assert pairs(*train) == pairs(*drawn)  # every image once, as it was drawn: not transposed
    drawn = emnist_examples("byclass", TEST_PER_CLASS, seed=len("test"))
    assert pairs(*emnist.test) == pairs(*drawn)


def test_five_percent_are_held_out_for_validation(emnist):
    whole = 62 * TRAIN_PER_CLASS
    assert len(emnist.validation[1]) == pytest.approx(0.05 * whole, abs=1)
    assert len(emnist.train[1]) + len(emnist.validation[1]) == whole
    assert "5 %" in emnist.held_out


def test_loading_twice_gives_the_same_order(emnist, emnist_dir, monkeypatch):
    monkeypatch.setattr(data, "READ_BATCH", 100)  # and in parts, as a larger set is read
    again = data.load("emnist", str(emnist_dir))  # a name will do
    np.testing.assert_array_equal(again.train[0], emnist.train[0])
    assert again.fingerprint() == emnist.fingerprint()


def test_the_order_is_that_of_tfds_load(emnist_builder, tmp_path):
    """Over several files, as the real EMNIST has; a run that goes on relies on it."""
    shards = tfds.download.DownloadConfig(num_shards=5)
    tfds.builder("emnist", data_dir=tmp_path).download_and_prepare(download_config=shards)
    assert len(list(tmp_path.glob("emnist/byclass/*/*train.tfrecord*"))) == 5
    tf.random.set_seed(None)
    expected = tfds.load(
        "emnist",
        split="train[:95%]",
        data_dir=tmp_path,
        shuffle_files=True,
        as_supervised=True,
        read_config=tfds.ReadConfig(shuffle_seed=0),
    )
    images, labels = next(iter(expected.batch(1000)))
    tf.random.set_seed(1)  # as an earlier training in this process has
    loaded = data.load("emnist", tmp_path)
    np.testing.assert_array_equal(loaded.train[0], data.upright(images))
    np.testing.assert_array_equal(loaded.train[1], labels)


def stored(folder, features, example, count=20, validation=0, **options):
    """Prepares "my_letters" as users do: so many examples to train on, then some to validate on."""
    splits = {"train": range(count), "validation": range(count, count + validation)}
    tfds.dataset_builders.store_as_tfds_dataset(
        name="my_letters",
        version="1.0.0",
        features=tfds.features.FeaturesDict(features),
        split_datasets={
            name: [(k, example(k)) for k in some] for name, some in splits.items() if some
        },
        data_dir=folder,
        **options,
    )


IMAGE_AND_CLASS = {
    "image": tfds.features.Image(shape=(28, 28, 1)),
    "label": tfds.features.ClassLabel(names=["x", "y"]),
}


def numbered(k):
    return {"image": np.full((28, 28, 1), k, np.uint8), "label": k % 2}


def test_a_set_of_one_s_own_is_loaded(tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    loaded = data.load("my_letters", tmp_path)
    assert loaded.characters == ["x", "y"]
    assert len(loaded.train[1]) == 19 and len(loaded.validation[1]) == 1
    np.testing.assert_array_equal(loaded.train[0][:, 0, 0, 0] % 2, loaded.train[1])


@pytest.mark.parametrize("form", ["my_letters:1.0.0", "my_letters:*.*.*", "my_letters/1.0.0"])
def test_a_version_may_be_named_as_tfds_has_it_and_as_the_console_does(form, tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    assert data.load(form, tmp_path).name == "my_letters/1.0.0"


def test_a_set_s_own_validation_split_is_validated_on(tmp_path):
    """And it may be stored in order then: nothing is held out of the end."""
    stored(tmp_path, IMAGE_AND_CLASS, numbered, validation=5, disable_shuffling=True)
    loaded = data.load("my_letters", tmp_path)
    assert loaded.train[0][:, 0, 0, 0].tolist() == [*range(20)]
    assert loaded.validation[0][:, 0, 0, 0].tolist() == [*range(20, 25)]
    assert loaded.held_out == "its own validation split"


@pytest.mark.parametrize("more", [{}, {"weight": np.float32}], ids=["two", "three"])
def test_a_set_says_itself_what_its_images_and_labels_are_called(more, tmp_path):
    """And, third, its weights, which nothing here takes."""
    names = {"glyph": "image", "kind": "label"}
    features = {name: IMAGE_AND_CLASS[usual] for name, usual in names.items()} | more
    others = dict.fromkeys(more, 1.0)
    stored(tmp_path, features, lambda k: {n: numbered(k)[names[n]] for n in names} | others)
    (path,) = tmp_path.rglob("dataset_info.json")
    keys = {"tuple": {"items": [{"featureKey": name} for name in features]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"supervisedKeys": keys}))
    images, labels = data.load("my_letters", tmp_path).train
    np.testing.assert_array_equal(images[:, 0, 0, 0] % 2, labels)


def test_prepared_data_that_lacks_some_images_is_damaged(tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    (path,) = map(str, tmp_path.rglob("*.tfrecord*"))
    records = [*tf.data.TFRecordDataset(path).as_numpy_iterator()]
    with tf.io.TFRecordWriter(path) as writer:
        for record in records[:17]:
            writer.write(record)
    with pytest.raises(data.DataError, match=r"damaged, split train\[:95%\]: 17 of 19 images"):
        data.load("my_letters", tmp_path)


def test_too_few_images_to_hold_some_out_are_one_line(tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered, count=3)
    with pytest.raises(data.DataError, match="^my_letters/1.0.0: too few images: none is left for"):
        data.load("my_letters", tmp_path)


def test_a_set_without_class_labels_is_one_line(tmp_path):
    features = {"image": tfds.features.Image(shape=(28, 28, 1)), "label": np.int64}
    stored(tmp_path, features, lambda k: {"image": np.zeros((28, 28, 1), np.uint8), "label": k})
    with pytest.raises(data.DataError, match="my_letters: not a set of images with one class"):
        data.load("my_letters", tmp_path)


def test_a_set_whose_images_and_labels_have_other_names_is_told_which_they_need(tmp_path):
    features = {"glyph": IMAGE_AND_CLASS["image"], "kind": IMAGE_AND_CLASS["label"]}
    stored(tmp_path, features, lambda k: {"glyph": numbered(k)["image"], "kind": k % 2})
    expected = "an Image called 'image', a ClassLabel called 'label'$"
    with pytest.raises(data.DataError, match=expected):
        data.load("my_letters", tmp_path)


def png(side):
    """A file of a square image, which TFDS stores as it is."""
    return tf.io.encode_png(np.zeros((side, side, 1), np.uint8)).numpy()


ODD = {
    "its images are (28, 28, 1) uint16": {
        "features": IMAGE_AND_CLASS
        | {"image": tfds.features.Image(shape=(28, 28, 1), dtype=np.uint16)},
        "example": lambda k: {"image": np.full((28, 28, 1), k, np.uint16), "label": k % 2},
    },
    "its images are stored as numbers": {
        "features": IMAGE_AND_CLASS
        | {"image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8)},
        "example": numbered,
    },
    "not a set of images": {
        "features": IMAGE_AND_CLASS | {"image": {"left": IMAGE_AND_CLASS["image"]}},
        "example": lambda k: numbered(k) | {"image": {"left": numbered(k)["image"]}},
    },
    "it has one class alone": {
        "features": IMAGE_AND_CLASS | {"label": tfds.features.ClassLabel(names=["x"])},
        "example": lambda k: numbered(k) | {"label": 0},
    },
    "split train has images without labels": {
        "features": IMAGE_AND_CLASS,
        "example": lambda k: numbered(k) | {"label": -(k % 2)},  # every second one
    },
    "its classes' names must be": {
        "features": IMAGE_AND_CLASS | {"label": tfds.features.ClassLabel(names=["x", "y" * 41])},
        "example": numbered,
    },
    "its classes' names must be different": {  # TFDS strips them
        "features": IMAGE_AND_CLASS | {"label": tfds.features.ClassLabel(names=["x", "x "])},
        "example": numbered,
    },
    "its classes' names must be different, printable, not blank": {  # TFDS reads ["x", "y"]
        "features": IMAGE_AND_CLASS | {"label": tfds.features.ClassLabel(names=[" ", "x", "y"])},
        "example": lambda k: numbered(k) | {"label": k % 3},
    },
    "has images of another size than 28x28": {
        "features": IMAGE_AND_CLASS,
        "example": lambda k: numbered(k) | {"image": png(56)},
    },
    "split train[:95%] has images of another size": {
        "features": IMAGE_AND_CLASS,
        "example": lambda k: numbered(k) | {"image": png(28 + k % 2)},
    },
    "stored in order": {
        "features": IMAGE_AND_CLASS,
        "example": numbered,
        "disable_shuffling": True,
    },
}


@pytest.mark.parametrize("reason", ODD)
def test_sets_that_cannot_be_learnt_are_one_line_and_not_called_damaged(reason, tmp_path):
    stored(tmp_path, **ODD[reason])
    with pytest.raises(data.DataError, match=f"^my_letters.*{re.escape(reason)}") as raised:
        data.load("my_letters", tmp_path)
    assert "damaged" not in str(raised.value) and "\n" not in str(raised.value)


def test_files_of_another_format_are_one_line(tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    (info,) = tmp_path.rglob("dataset_info.json")
    info.write_text(info.read_text().replace("tfrecord", "array_record"))
    with pytest.raises(data.DataError, match="my_letters/1.0.0: its files are array_record"):
        data.load("my_letters", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are always text")
def test_a_folder_whose_name_is_no_text_is_one_line(tmp_path):
    with pytest.raises(data.DataError, match="needs a UTF-8 name"):
        data.load("my_letters", tmp_path / os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("config", [name for name in CLASSES if name != "byclass"])
def test_every_configuration_knows_its_characters(config, emnist_builder, tmp_path):
    loaded = data.load(f"emnist/{config}", tmp_path)
    assert len(loaded.characters) == CLASSES[config]
    used = {loaded.characters[label] for label in loaded.train[1]}
    assert "" not in used
    expected = {
        "letters": CHARACTERS[10:36],
        "digits": CHARACTERS[:10],
        "mnist": CHARACTERS[:10],
    }.get(config, CHARACTERS[:36] + "abdefghnqrt")
    assert used == set(expected)
    drawn = emnist_examples(config, TEST_PER_CLASS, seed=len("test"))
    assert pairs(*loaded.test) == pairs(*drawn)


@pytest.mark.parametrize("name", ["emnist", "emnist:3.*.*", "EMNIST/byclass"])
def test_a_failed_download_says_what_to_do_and_doing_it_works(
    name, emnist_builder, tmp_path, monkeypatch, archive_url
):
    monkeypatch.setattr(emnist_builder, "URL", archive_url + ".gone")
    with pytest.raises(data.DataError) as failure:
        data.load(name, tmp_path)
    message = str(failure.value)
    assert "404" in message and "gzip.zip (561,753,746 bytes)" in message
    assert "--data_dir" in message
    place = tmp_path / "downloads" / "manual" / "gzip.zip"
    assert str(place) in message.splitlines()[-2]

    place.parent.mkdir(parents=True)
    with urllib.request.urlopen(archive_url) as archive, open(place, "wb") as file:
        shutil.copyfileobj(archive, file)
    assert len(data.load(name, tmp_path).test[1]) == 62 * TEST_PER_CLASS


def test_a_download_that_does_not_begin_is_given_up_before_the_user_gives_up(
    emnist_builder, tmp_path, monkeypatch, capfd, caplog
):
    """TFDS would try for minutes, and urllib3 tell of each time, where there is no network."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()[1]
        monkeypatch.setattr(emnist_builder, "URL", f"http://127.0.0.1:{address}/gzip.zip")
    assert data.RETRIES < data.downloader.MAX_RETRIES
    monkeypatch.setattr(data, "RETRIES", 2)  # half a second of them
    with pytest.raises(data.DataError, match=f"gzip.zip .* by hand from\n.*:{address}/"):
        data.load("emnist", tmp_path)
    # Of several files, as MNIST has, the others' threads are not through yet.
    logging.getLogger("urllib3.connectionpool").warning("Retrying (Retry(total=0))")
    assert "Retry" not in "".join([*capfd.readouterr(), caplog.text])
    assert data.downloader.MAX_RETRIES > 2  # as before


def test_a_download_that_breaks_off_leaves_no_part_of_it(emnist_builder, tmp_path, monkeypatch):
    """Another's, who downloads there at the same time, is left alone."""

    class BreakingOff(QuietHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(bytes(100000))

    others = tmp_path / "downloads" / "emnist" / "gzip.zip.tmp.0123"
    others.mkdir(parents=True)
    with serving(BreakingOff) as address:
        monkeypatch.setattr(emnist_builder, "URL", f"{address}/gzip.zip")
        with pytest.raises(data.DataError, match="could not be downloaded"):
            data.load("emnist", tmp_path)
    assert [*others.parent.iterdir()] == [others]


def test_an_archive_that_cannot_be_unpacked_leaves_no_part_of_it(
    emnist_builder, archive_url, tmp_path, monkeypatch
):
    with urllib.request.urlopen(archive_url) as archive:
        content = bytearray(archive.read())
    content[len(content) * 3 // 4] ^= 0xFF  # some of the files before it are sound
    digest = hashlib.sha256(content).hexdigest()
    info = checksums.UrlInfo(size=len(content), checksum=digest, filename="gzip.zip")
    monkeypatch.setitem(emnist_builder.url_infos, archive_url, info)
    monkeypatch.setattr(emnist_builder, "URL", archive_url)
    manual = tmp_path / "downloads" / "manual" / "gzip.zip"
    manual.parent.mkdir(parents=True)
    manual.write_bytes(content)
    with pytest.raises(data.DataError, match="What failed: ExtractError"):
        data.load("emnist", tmp_path)
    assert manual.exists() and not [*tmp_path.glob("downloads/extracted/*")]


def test_a_failed_download_of_another_set_says_what_to_do(tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(data.DataError) as failure:
        data.load("mnist", tmp_path / "a file")
    *_, what_to_do = str(failure.value).splitlines()
    assert what_to_do.startswith("  Start again to try again, or name a folder where the data is")


def test_unknown_name_is_one_line(tmp_path):
    with pytest.raises(data.DataError, match="no_such_set: no dataset of this name") as failure:
        data.load("no_such_set", tmp_path)
    assert "\n" not in str(failure.value)


def test_a_set_stored_under_a_name_that_tfds_does_not_find_is_told_which_it_would(tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    (tmp_path / "my_letters").rename(tmp_path / "My_Letters")
    with pytest.raises(data.DataError, match="a name has small letters, digits and _ alone"):
        data.load("My_Letters", tmp_path)


@pytest.mark.parametrize(
    "name",
    ["emnist/capital", "emnist:9.9.9", "a//b", "foo bar", "../x", "", "mnist/a=1", "mnist/name=x"],
)
def test_a_name_that_cannot_be_is_one_line_and_no_failed_download(name, emnist_dir):
    with pytest.raises(data.DataError) as error:
        data.load(name, emnist_dir)
    message = str(error.value)
    assert message.startswith(repr(name)) and "\n" not in message
    assert ("there are byclass, bymerge" in message) == name.startswith("emnist")


def test_damaged_data_is_named(emnist_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(emnist_dir / "emnist", copy / "emnist")
    record = next(copy.glob("emnist/byclass/*/*train.tfrecord*"))
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 0xFF
    record.write_bytes(content)
    with pytest.raises(data.DataError, match="damaged, split train") as failure:
        data.load("emnist", copy)
    assert str(record.parent) in str(failure.value)
    assert re.search(r"\]: corrupted record at \d+(\n|$)", str(failure.value))


@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
def test_a_damaged_description_of_the_data_is_named(name, kept, tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    path = tmp_path / "my_letters" / "1.0.0" / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(data.DataError, match="description of the prepared data is damaged") as told:
        data.load("my_letters", tmp_path)
    assert f"Remove {tmp_path / 'my_letters'} and" in str(told.value)


def test_a_missing_description_of_the_data_is_named(tmp_path):
    stored(tmp_path, IMAGE_AND_CLASS, numbered)
    (tmp_path / "my_letters" / "1.0.0" / "dataset_info.json").unlink()
    with pytest.raises(data.DataError, match="description of the prepared data is damaged: Could"):
        data.load("my_letters", tmp_path)


def test_a_missing_description_of_a_set_that_tfds_knows_is_named(emnist_dir, tmp_path):
    shutil.copytree(emnist_dir / "emnist" / "byclass", tmp_path / "emnist" / "byclass")
    (description,) = tmp_path.rglob("dataset_info.json")
    description.unlink()
    with pytest.raises(data.DataError, match="description of the prepared data is missing") as told:
        data.load("emnist", tmp_path)
    assert f"Remove {description.parent} and" in str(told.value)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("tfds.builder", PermissionError(13, "Permission denied")),
        ("_records", tf.errors.PermissionDeniedError(None, None, "train; Permission denied")),
    ],
)
def test_data_of_another_user_s_is_not_called_damaged(name, refusal, tmp_path, monkeypatch):
    """The refusal is made up: whoever runs the tests may be allowed to read everything."""
    stored(tmp_path, IMAGE_AND_CLASS, numbered)

    def refused(*args, **kwargs):
        raise OSError("could not be read") from refusal

    monkeypatch.setattr(f"data.{name}", refused)
    with pytest.raises(data.DataError, match="not permitted to read .*my_letters") as told:
        data.load("my_letters", tmp_path)
    assert "Remove" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["emnist", "my_letters"])
def test_a_folder_of_another_user_s_is_not_called_empty(name, emnist_dir, tmp_path, monkeypatch):
    """TFDS takes one that it may not enter for one without a description; made up, as above."""
    if name == "emnist":
        shutil.copytree(emnist_dir / name / "byclass", tmp_path / name / "byclass")
    else:
        stored(tmp_path, IMAGE_AND_CLASS, numbered)
    (description,) = tmp_path.rglob("dataset_info.json")
    description.unlink()
    if name == "my_letters":
        description.parent.rename(tmp_path / name / "unread")

    def refused(folder, onerror):
        onerror(PermissionError(13, "Permission denied", str(folder)))
        return []

    monkeypatch.setattr("os.walk", refused)
    with pytest.raises(data.DataError, match=f"^{name}: not permitted to read .*{name}"):
        data.load(name, tmp_path)


def test_images_of_another_size_are_refused_before_they_are_downloaded(tmp_path):
    with pytest.raises(data.DataError, match=r"^cifar10: its images are \(32, 32, 3\)"):
        data.load("cifar10", tmp_path)
    assert not [*tmp_path.rglob("*.*")]


def test_a_table_is_one_line_and_not_downloaded(tmp_path):
    """Its supervised keys are a dict of columns and the label."""
    with pytest.raises(data.DataError, match="^titanic: not a set of images with one class label"):
        data.load("titanic", tmp_path)
    assert not [*tmp_path.rglob("*.*")]


def test_other_images_or_labels_have_another_fingerprint(emnist):
    images, labels = emnist.train
    for others in ((255 - images, labels), (images, labels[::-1].copy())):
        assert replace(emnist, train=others).fingerprint() != emnist.fingerprint()


def test_each_pass_takes_every_image_once_in_another_order():
    count = 30
    part = np.arange(count, dtype=np.uint8).repeat(784).reshape(-1, 28, 28, 1), np.arange(count)
    batches = batching.training_batches(part, 8, seed=3, first_step=0).take(15)
    order = np.concatenate([labels for _, labels in batches.as_numpy_iterator()])
    passes = order.reshape(4, count)
    for one in passes:
        assert sorted(one) == list(range(count))
    assert len({tuple(one) for one in passes}) == 4


def test_what_a_step_holds_depends_on_seed_and_step_alone(emnist):
    changes = {"rotation": 10, "shear": 0.2, "scale": 0.1, "shift": 2, "elastic": 1, "stroke": 1}
    changes |= {"blur": 1, "contrast": 0.3}

    def batches(seed, first, last):
        some = batching.training_batches(emnist.train, 16, seed, first, changes)
        return list(some.take(last - first).as_numpy_iterator())

    whole, tail = batches(5, 0, 60), batches(5, 57, 60)
    for (images, labels), (same_images, same_labels) in zip(whole[57:], tail, strict=True):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(batches(6, 57, 58)[0][1], tail[0][1])


def test_a_variable_first_step_is_looked_at_when_an_iteration_begins(emnist):
    first_step = tf.Variable(0, dtype=tf.int64)
    batches = batching.training_batches(emnist.train, 16, 5, first_step).take(1)
    at_0 = next(iter(batches))[1]
    first_step.assign(7)
    at_7 = next(iter(batches))[1]
    expected = batching.training_batches(emnist.train, 16, 5, 7).take(1)
    np.testing.assert_array_equal(at_7, next(iter(expected))[1])
    assert not np.array_equal(at_0, at_7)


def test_images_stay_with_their_labels(emnist, monkeypatch):
    monkeypatch.setattr(batching, "COPIED_AT_ONCE", 100)  # in parts, as a larger set is held
    known = {image.tobytes(): label for image, label in zip(*emnist.train)}
    batches = batching.training_batches(emnist.train, 32, seed=1, first_step=0).take(20)
    for images, labels in batches.as_numpy_iterator():
        for image, label in zip(images, labels):
            assert known[np.rint(image * 255).astype(np.uint8).tobytes()] == label


def test_evaluation_takes_every_image_once_in_order(emnist):
    batches = list(batching.evaluation_batches(emnist.test, 50).as_numpy_iterator())
    images = np.concatenate([images for images, _ in batches])
    assert images.dtype == np.float32 and images.max() == 1.0 and images.min() == 0.0
    np.testing.assert_array_equal(np.rint(images * 255).astype(np.uint8), emnist.test[0])
    assert len(batches[-1][1]) == len(emnist.test[1]) % 50


def an_f():
    """A batch of one: an F, which no turn or mirror maps onto itself."""
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[0, 5:23, 8:11] = image[0, 5:8, 8:20] = image[0, 12:15, 8:17] = 1
    return image


def test_upright_is_the_same_alone_and_in_a_pipeline():
    image = an_f()
    stored = image.transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(data.upright(stored), image)
    mapped = next(iter(tf.data.Dataset.from_tensors(stored).map(data.upright)))
    np.testing.assert_array_equal(mapped, image)


def test_every_image_of_every_step_and_seed_is_augmented_in_its_own_way():
    same = np.repeat(np.uint8(255 * an_f()), 40, axis=0), np.zeros(40, int)
    changed = [
        image.numpy().tobytes()
        for seed, step in ((5, 0), (5, 1), (6, 0))
        for image in next(iter(batching.training_batches(same, 16, seed, step, {"shift": 2})))[0]
    ]
    assert len({*changed}) == len(changed) == 48


def test_no_augmentation_changes_nothing():
    np.testing.assert_allclose(augment(an_f(), (1, 2)), an_f(), atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": 15},
        {"shear": 0.3},
        {"scale": 0.2},
        {"shift": 2},
        {"elastic": 1},
        {"stroke": 1},
        {"blur": 1},
    ],
    ids=str,
)
def test_each_augmentation_moves_an_image_a_little_and_never_mirrors_it(change):
    images = np.repeat(an_f(), 64, axis=0)
    moved = augment(images, (1, 2), **change).numpy()
    assert moved.min() >= 0 and moved.max() <= 1
    differences = np.abs(moved - images).mean(axis=(1, 2, 3))
    assert (differences > 0).mean() > 0.9 and len(set(differences.tolist())) > 50

    def likeness(image, other):
        """Best overlap of two images over small shifts."""
        shifts = [(y, x) for y in range(-3, 4) for x in range(-3, 4)]
        return max(np.sum(np.roll(image, shift, (0, 1)) * other) for shift in shifts)

    plain, mirrored = an_f()[0, :, :, 0], an_f()[0, :, ::-1, 0]
    for image in moved[:16, :, :, 0]:
        assert likeness(plain, image) > likeness(mirrored, image)


def places(**changes):
    """Where the pixels of 256 images are read, (x and y, 256, 28, 28): two ramps tell."""
    ramp = np.tile(np.arange(28, dtype=np.float32) / 27, (28, 1))
    ramps = [np.repeat(image[None, ..., None], 256, axis=0) for image in (ramp, ramp.T)]
    return 27 * np.stack([augment(images, (1, 2), **changes)[..., 0] for images in ramps])


def test_augmentation_turns_slants_and_stretches_as_far_as_it_says():
    def steps(**changes):
        """How far the place moves a column and a row: ((x, y), (x, y)), each (256,)."""
        middle = places(**changes)[:, :, 13:15, 13:15]
        return middle[:, :, 0, 1] - middle[:, :, 0, 0], middle[:, :, 1, 0] - middle[:, :, 0, 0]

    (cos, sin), down = steps(rotation=15)
    np.testing.assert_allclose(down, (-sin, cos), atol=1e-4)
    np.testing.assert_allclose(cos**2 + sin**2, 1, atol=1e-4)
    across, (slant, straight) = steps(shear=0.25)
    np.testing.assert_allclose(across[0], 1, atol=1e-4)
    np.testing.assert_allclose((across[1], straight - 1), 0, atol=1e-4)
    (wide, askew), (also_askew, high) = steps(scale=0.15)
    np.testing.assert_allclose((askew, also_askew), 0, atol=1e-4)
    assert abs(np.corrcoef(wide, high)[0, 1]) < 0.3  # each side in its own way
    down = slant * high, high  # slanted and stretched, and then turned
    together = [(cos * x - sin * y, sin * x + cos * y) for x, y in ((wide, 0), down)]
    changes = {"rotation": 15, "shear": 0.25, "scale": 0.15}
    np.testing.assert_allclose(steps(**changes), together, atol=1e-4)
    middle = places(**changes)[:, :, 13:15, 13:15].mean(axis=(2, 3))
    np.testing.assert_allclose(middle, 13.5, atol=1e-4)  # which stays where it is
    for amounts, most in (
        (np.degrees(np.arctan2(sin, cos)), 15),
        (slant, 0.25),
        (wide - 1, 0.15),
        (high - 1, 0.15),
    ):
        assert -most * 1.001 < amounts.min() < -0.95 * most
        assert 0.95 * most < amounts.max() < most * 1.001


def test_augmentation_bends_and_moves_each_axis_in_its_own_way():
    bend = (places(elastic=0.7) - places())[:, :, 4:24, 4:24]
    assert 0.45 < bend.std() < 0.75 and abs(bend.mean()) < 0.05
    moved = (places(shift=2) - places())[:, :, 14, 14]
    for x, y in (bend.reshape(2, -1), moved):
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.2


def test_augmentation_reads_black_outside_of_an_image():
    moved = augment(np.ones((64, 28, 28, 1), np.float32), (1, 2), shift=2).numpy()[..., 0]
    for edge in (moved[:, 0], moved[:, -1], moved[:, :, 0], moved[:, :, -1]):
        assert edge[:, 4:-4].max(axis=1).min() < 0.01


def test_augmentation_draws_strokes_thicker_and_thinner():
    images = np.repeat(an_f(), 64, axis=0)
    ink = augment(images, (1, 2), stroke=1).numpy().sum(axis=(1, 2, 3))
    plain = images[0].sum()
    assert ink.min() < 0.5 * plain and ink.max() > 1.5 * plain  # strokes are 3 px: 1 px to 5 px


def test_augmentation_blurs_rims_and_keeps_the_ink():
    images = np.repeat(an_f(), 64, axis=0)
    blurred = augment(images, (1, 2), blur=1).numpy()
    np.testing.assert_allclose(blurred.sum(axis=(1, 2, 3)), images[0].sum(), rtol=1e-5)
    steps = np.abs(np.diff(blurred, axis=2)).max(axis=(1, 2, 3))
    assert steps.min() < 0.45 and steps.max() > 0.9  # a rim over 3 px, and one as it was


def test_augmentation_makes_some_greys_black_and_white():
    greys = np.linspace(0, 1, 784, dtype=np.float32).reshape(1, 28, 28, 1)
    changed = augment(np.repeat(greys, 256, axis=0), (1, 2), contrast=0.4).numpy().reshape(256, -1)
    assert (np.diff(changed) >= 0).all()
    black, white = (changed == 0).mean(axis=1), (changed == 1).mean(axis=1)
    for share in (black, white):  # as far as it says, each in its own way
        assert share.min() < 0.02 and 0.38 < share.max() < 0.402
    assert abs(np.corrcoef(black, white)[0, 1]) < 0.3


def test_augmentation_leaves_gaps_in_the_strokes_of_half_of_the_images():
    images = np.repeat(an_f(), 256, axis=0)
    rough = augment(images, (1, 2), grain=1.5).numpy()
    assert (rough <= images + 1e-6).all()  # nothing is drawn, something is rubbed off
    left = rough.sum(axis=(1, 2, 3)) / images[0].sum()
    assert 0.4 < (left > 0.9999).mean() < 0.6 and left.min() > 0.1
    gaps = (rough[left < 0.6] < 0.1) & (images[0] > 0.9)
    assert gaps.any(axis=(1, 2, 3)).all()  # some of a stroke is gone, not all of it paler
    part = augment(images[:64], (1, 2), (128, 256), grain=1.5)
    np.testing.assert_allclose(part, rough[128:192], atol=1e-6)  # of a batch shared out


def test_grain_is_fine_in_some_images_and_coarse_in_others():
    rubbed = 1 - augment(np.ones((256, 28, 28, 1), np.float32), (1, 2), grain=0.5).numpy()[..., 0]
    rubbed = rubbed[rubbed.max(axis=(1, 2)) > 0.1]
    apart = rubbed - rubbed.mean(axis=(1, 2), keepdims=True)
    alike = (apart[:, :, 1:] * apart[:, :, :-1]).mean(axis=(1, 2)) / rubbed.var(axis=(1, 2))
    assert alike.min() < 0.1 and alike.max() > 0.7  # a pixel and the one beside it
    touched = (rubbed > 0).mean(axis=(1, 2))
    assert 0.55 < np.median(touched) < 0.75  # more than half of a stroke's pixels lose some


def test_augmentation_moves_an_image_as_far_as_it_says():
    """An affine change by hand: shift alone moves the centre of the ink by at most that."""
    images = np.repeat(an_f(), 256, axis=0)
    moved = augment(images, (1, 2), shift=2).numpy()[..., 0]
    across = np.arange(28)

    def centre(image):
        return np.array([image.sum(0) @ across, image.sum(1) @ across]) / image.sum()

    distances = np.array([centre(image) for image in moved]) - centre(an_f()[0, ..., 0])
    assert (np.abs(distances).max(axis=0) <= 2.001).all()
    assert (distances.max(axis=0) > 1.8).all() and (distances.min(axis=0) < -1.8).all()


PREPARE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import conftest, data
conftest.point_emnist_to(sys.argv[3])
data.load("emnist", Path(sys.argv[4]))
"""


@pytest.mark.parametrize("moment", ["download", "preparation"])
def test_killed_while_it_prepares_data_the_next_start_begins_that_anew(
    moment, emnist_builder, archive_url, stalling_url, tmp_path
):
    url = stalling_url if moment == "download" else archive_url
    sign = "downloads/*" if moment == "download" else "emnist/**/incomplete.*/*train*"
    line = [sys.executable, "-c", PREPARE, str(ROOT), str(ROOT / "tests"), url, str(tmp_path)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(tmp_path.glob(sign)):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert not any(tmp_path.glob("emnist/byclass/3*")), "it was killed too late"
    loaded = data.load("emnist", tmp_path)
    assert len(loaded.test[1]) == 62 * TEST_PER_CLASS
