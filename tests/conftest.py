"""What the tests share: the project on the path, and a small EMNIST prepared by TFDS's own builder.

The archive has EMNIST's own format (gzip.zip with gzip'd idx files, images transposed) and is
served from localhost; nothing outside the repo is read and no other address is contacted.
"""

import contextlib
import gc
import gzip
import hashlib
import http.server
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import urllib.request
import zipfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # bit for bit is promised on processors
# In the background of a script Ctrl-C is ignored, and the programs under test would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ["NO_GCE_CHECK"] = "true"  # or TFDS asks a cloud's metadata server where it runs

import picture  # noqa: F401  isort: skip (before cv2, whose limit on a picture's size it sets)

import cv2
import numpy as np
import pytest
import xvfb

CLASSES = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 37, "digits": 10, "mnist": 10}
TRAIN_PER_CLASS, TEST_PER_CLASS = 12, 3


def draw(character, generator):
    """One upright 28x28 uint8 image of a character, white on black, never twice the same."""
    image = np.zeros((28, 28), np.uint8)
    scale = generator.uniform(0.7, 0.85)
    (width, height), _ = cv2.getTextSize(character, cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    left = (28 - width) // 2 + int(generator.integers(-1, 2))
    bottom = (28 + height) // 2 + int(generator.integers(-1, 2))
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(image, character, (left, bottom), font, scale, 255, 2, cv2.LINE_AA)
    return image


def _meaning(config, label):
    """The character to draw for a class; EMNIST letters count from 1."""
    from model import CHARACTERS  # here, so that pytest's first process need not load TensorFlow

    if config == "letters":
        return CHARACTERS[9 + label]
    merged = CHARACTERS[:36] + "abdefghnqrt"
    return (merged if CLASSES[config] == 47 else CHARACTERS)[label]


def emnist_examples(config, per_class, seed):
    """(images, labels) of a small stand-in, upright, in an order that mixes the classes."""
    generator = np.random.default_rng(seed)
    classes = range(1, 27) if config == "letters" else range(CLASSES[config])
    labels = generator.permutation(np.repeat(classes, per_class)).astype(np.uint8)
    images = np.stack([draw(_meaning(config, label), generator) for label in labels])
    return images, labels


def write_emnist_archive(path):
    """Writes gzip.zip as EMNIST's authors do: one folder, four gzip'd idx files a configuration."""
    with zipfile.ZipFile(path, "w") as archive:
        for config in CLASSES:
            for split, per_class in (("train", TRAIN_PER_CLASS), ("test", TEST_PER_CLASS)):
                images, labels = emnist_examples(config, per_class, seed=len(split))
                stored = images.transpose(0, 2, 1)  # as EMNIST stores them
                header = struct.pack(">IIII", 2051, len(images), 28, 28)
                name = f"gzip/emnist-{config}-{split}"
                archive.writestr(
                    f"{name}-images-idx3-ubyte.gz", gzip.compress(header + stored.tobytes(), 1)
                )
                header = struct.pack(">II", 2049, len(labels))
                archive.writestr(
                    f"{name}-labels-idx1-ubyte.gz", gzip.compress(header + labels.tobytes(), 1)
                )


def newest_state(run_folder):
    """(what is in the newest state's .json, the arrays in its .npz) of checkpoints/<model>/."""
    path = sorted(run_folder.glob("state-*.json"))[-1]
    with np.load(path.with_suffix(".npz")) as arrays:
        return json.loads(path.read_text("utf-8")), [arrays[name] for name in arrays.files]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(handler):
    """A web server on localhost; gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pytest_collection_finish():
    """Nothing that was imported is garbage: leaving it out of every search for some saves 8 %."""
    gc.freeze()


@pytest.fixture(scope="session")
def archive_url(tmp_path_factory):
    """Address on localhost of the small gzip.zip."""
    folder = tmp_path_factory.mktemp("served")
    write_emnist_archive(folder / "gzip.zip")
    with serving(partial(QuietHandler, directory=str(folder))) as address:
        yield f"{address}/gzip.zip"


@pytest.fixture(scope="session")
def stalling_url(archive_url):
    """The same archive, of which only the first half ever comes."""
    with urllib.request.urlopen(archive_url) as response:
        archive = response.read()
    over = threading.Event()

    class Stalling(QuietHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            self.wfile.write(archive[: len(archive) // 2])
            over.wait(60)

    with serving(Stalling) as address:
        yield f"{address}/gzip.zip"
        over.set()


def point_emnist_to(url):
    """Tells TFDS's real EMNIST builder another address and number of images; returns it."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_cls("emnist")
    builder.URL = url
    for config in builder.BUILDER_CONFIGS:
        classes = 26 if config.name == "letters" else CLASSES[config.name]
        config.train_examples = classes * TRAIN_PER_CLASS
        config.test_examples = classes * TEST_PER_CLASS
    return builder


@pytest.fixture(scope="session")
def emnist_builder(archive_url):
    """TFDS's real EMNIST builder, told the small archive's address, checksum and size."""
    from tensorflow_datasets.core.download import checksums

    builder = point_emnist_to(archive_url)
    with urllib.request.urlopen(archive_url) as response:
        archive = response.read()
    for url in (archive_url, archive_url + ".gone"):
        builder.url_infos[url] = checksums.UrlInfo(
            size=len(archive), checksum=hashlib.sha256(archive).hexdigest(), filename="gzip.zip"
        )
    return builder


@pytest.fixture(scope="session")
def emnist_dir(emnist_builder, tmp_path_factory):
    """A data_dir in which the small emnist/byclass is downloaded and prepared."""
    import data

    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    data.load("emnist", folder)
    return folder


@pytest.fixture(scope="session")
def screen():
    """A virtual screen of 1920x1080; its DISPLAY."""
    if xvfb.MISSING:
        pytest.skip(f"needs {' and '.join(xvfb.MISSING)}")
    with xvfb.virtual_screen() as display:
        yield display


@pytest.fixture
def open_window(screen):
    """Runs a command on the screen until it shows its window; kills it at the end of the test."""
    processes = []

    def start(command, env=os.environ, **options):
        processes.append(
            subprocess.Popen(
                [*map(str, command)],
                env={**env, "DISPLAY": screen},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                **options,
            )
        )
        return xvfb.Window(processes[-1], screen)

    yield start
    for process in processes:
        process.kill()
        process.communicate()
