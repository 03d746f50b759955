"""mytrain.py on as many images as EMNIST has, and on more: memory, start, input pipeline.

    python tests/benchmarks/fullsize.py --work FOLDER                     # about 1 hour on 2 cores
    python tests/benchmarks/fullsize.py --work FOLDER --scale 0.02 --repeats 1 --steps 50

A stand-in of EMNIST ByClass's size and format (697,932 and 116,323 images, made from the tests'
drawings) is served from localhost and prepared by TFDS's own builder, once for each scale: 2 is
twice as many images. It stays in FOLDER: 0.4 GB a scale of 1, and while it is made ten times that.
Then, each in a fresh process:
    memory over TensorFlow's    peak of mytrain.py stopped after a few steps, less the peak of
                                `import tensorflow`
    first step done             from the start of the process, the data prepared
    pipeline                    one pass over the training images in batches, augmented, no model
    of the model's speed        the pipeline's, to that of a compiled training step alone
"""

import argparse
import os
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

# Only what is light: the peak of a child begins with what this process holds.
from measuring import (
    after_each_step,
    at_least,
    child,
    head,
    median,
    run_main,
    spread,
    table,
    verdict,
)

TRAIN, TEST = 697_932, 116_323  # EMNIST ByClass
DRAWN_PER_CLASS = 200  # distinct drawings, each moved at random
CHUNK = 50_000  # images held at a time while the archive is written
STEPS = 5  # of mytrain.py, before it is stopped
RATIO_STEPS = 20  # training steps, to know the model's speed
MEMORY_GB, START_S, PIPELINE_RATIO = 2.0, 20, 10  # targets


# ------------------------------------------------------------------------------- making the data
def write_archive(path, scale):
    """gzip.zip with the ByClass configuration alone, as EMNIST's authors write it."""
    import gzip
    import zipfile

    import conftest
    import numpy as np

    drawn, classes = conftest.emnist_examples("byclass", DRAWN_PER_CLASS, seed=0)
    drawn = np.pad(drawn.transpose(0, 2, 1), [(0, 0), (2, 2), (2, 2)])  # as EMNIST stores them
    generator = np.random.default_rng(1)

    def write(archive, name, content):
        with archive.open(f"gzip/emnist-byclass-{name}-ubyte.gz", "w", force_zip64=True) as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
                for part in content:
                    packed.write(part)

    def moved(chosen):
        yield struct.pack(">IIII", 2051, len(chosen), 28, 28)
        for start in range(0, len(chosen), CHUNK):
            index = chosen[start : start + CHUNK]
            images = np.empty((len(index), 28, 28), np.uint8)
            shifts = generator.integers(0, 5, (len(index), 2))
            for y in range(5):
                for x in range(5):
                    here = (shifts == (y, x)).all(axis=1)
                    images[here] = drawn[index[here], y : y + 28, x : x + 28]
            yield images.tobytes()

    with zipfile.ZipFile(path, "w") as archive:
        for split, count in sizes(scale).items():
            chosen = generator.integers(0, len(drawn), count)
            write(archive, f"{split}-images-idx3", moved(chosen))
            labels = [struct.pack(">II", 2049, count), classes[chosen].tobytes()]
            write(archive, f"{split}-labels-idx1", labels)


def sizes(scale):
    return {"train": round(TRAIN * scale), "test": round(TEST * scale)}


def prepare(folder, scale):
    """What a child does: archive, download from localhost, TFDS's builder."""
    import conftest
    import kills

    import data

    point = conftest.point_emnist_to

    def point_to(url):
        builder = point(url)
        for config in builder.BUILDER_CONFIGS:
            if config.name == "byclass":
                config.train_examples, config.test_examples = sizes(scale).values()

    conftest.point_emnist_to = point_to
    conftest.write_emnist_archive = lambda path: write_archive(path, scale)
    data._read = lambda *_: None  # prepared is enough
    kills.prepare(folder)
    (folder / "gzip.zip").unlink()
    shutil.rmtree(folder / "data" / "downloads")


# ------------------------------------------------------------------------------------- measuring
def first_steps(folder, began):
    """What a child does: runs mytrain.py, says when its first step was done, stops it."""
    import mytrain

    done = 0

    def note(batch):  # the last of several on a GPU
        nonlocal done
        if done == 0:
            print("first step", time.time() - began, flush=True)
        if done < STEPS <= batch + 1:
            os.kill(os.getpid(), signal.SIGINT)
        done = batch + 1

    after_each_step(note)
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    options = ["--data_dir", folder / "data", "--checkpoint_dir", runs, "--log_dir", runs / "logs"]
    code = mytrain.main([*map(str, options)])
    assert code == 128 + signal.SIGINT, code


def one_pass(folder, steps):
    """What a child does: prints images/s of the pipeline, its seconds, images/s of the model."""
    import steps as training

    import batching
    import data
    import devices
    import mytrain

    train = data.load("emnist", folder / "data").train
    size = mytrain.BATCH_SIZE
    steps = min(steps or sys.maxsize, len(train[1]) // size)
    batches = batching.training_batches(train, size, mytrain.SEED, 0, mytrain.AUGMENTATION)
    iterator = iter(batches)
    next(iterator)
    began = time.perf_counter()
    for _ in range(steps):
        next(iterator)
    seconds = time.perf_counter() - began
    del iterator  # its threads make batches ahead
    model = training.keras_step(devices.precision(), size)(RATIO_STEPS)
    print(steps * size / seconds, seconds, model)


def measure(folder, repeats, steps):
    """Dict of lists of all that is measured at one scale."""
    found = {name: [] for name in ("memory", "start", "pipeline", "seconds", "model")}
    line = [sys.executable, __file__, "--work", folder]
    for _ in range(repeats):
        alone = child([sys.executable, "-c", "import tensorflow"]).peak
        finished = child([*line, "--child", "first_steps", "--began", repr(time.time())])
        found["memory"].append((finished.peak - alone) / 1e9)
        told = [text for text in finished.output.splitlines() if text.startswith("first step")]
        found["start"].append(float(told[0].split()[-1]))
        told = child([*line, "--child", "one_pass", "--steps", steps]).output.splitlines()[-1]
        for name, value in zip(("pipeline", "seconds", "model"), map(float, told.split())):
            found[name].append(value)
    return found


def report(scales, results):
    """The table, a column for each scale; targets are for EMNIST's own size."""
    ratios = [median(found["pipeline"]) / median(found["model"]) for found in results]
    at_1 = scales.index(1) if 1 in scales else None

    def row(name, texts, values=None, target="", reached=None):
        told = "" if reached is None or at_1 is None else verdict(reached(values[at_1]))
        return [name, *texts, target, told]

    def measured(name, key, decimals, *judged):
        texts = [spread(found[key], decimals) for found in results]
        return row(name, texts, [median(found[key]) for found in results], *judged)

    rows = [
        ["", *(f"scale {scale:g}" for scale in scales), "target", "at scale 1"],
        row("images to train on, 95 % of", [f"{sizes(scale)['train']:,}" for scale in scales]),
        measured(
            "memory over TensorFlow's, GB", "memory", 2, f"< {MEMORY_GB}", lambda v: v < MEMORY_GB
        ),
        measured("first step done, s", "start", 1, f"<= {START_S}", lambda v: v <= START_S),
        measured("pipeline, images/s", "pipeline", 0),
        measured("one pass of it, s", "seconds", 1),
        measured("model, images/s", "model", 0),
        row(
            "of the model's speed",
            [f"{ratio:.1f}" for ratio in ratios],
            ratios,
            f">= {PIPELINE_RATIO}",
            lambda v: v >= PIPELINE_RATIO,
        ),
    ]
    table(rows)
    for before, after in zip(range(len(scales)), range(1, len(scales))):
        growth = {
            key: median(results[after][key]) / median(results[before][key])
            for key in ("memory", "start", "seconds")
        }
        times = scales[after] / scales[before]
        said = ", ".join(f"{key} {value:.2f}" for key, value in growth.items())
        linear = verdict(all(value <= 1.05 * times for value in growth.values()))
        print(f"{times:g} times the images: {said} times; linear or better {linear}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder for the data and the runs")
    add("--scale", type=float, nargs="+", default=[1, 2, 4], help="times EMNIST's size")
    add("--repeats", type=at_least(1), default=3)
    add("--steps", type=at_least(0), default=0, help="of the pass, at most; 0: all images")
    add("--child", help=argparse.SUPPRESS)
    add("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child == "prepare":
        return prepare(options.work, options.scale[0])
    if options.child == "first_steps":
        return first_steps(options.work, options.began)
    if options.child == "one_pass":
        return one_pass(options.work, options.steps)

    print(head("tensorflow", "keras", "tensorflow-datasets"), flush=True)
    folders = [options.work.resolve() / f"scale-{scale:g}" for scale in options.scale]
    for folder, scale in zip(folders, options.scale):
        if not (folder / "prepared").exists():
            folder.mkdir(parents=True, exist_ok=True)
            line = [sys.executable, __file__, "--child", "prepare", "--work", folder]
            print(f"prepared in {child([*line, '--scale', scale]).seconds:.0f} s: {folder}")
            (folder / "prepared").touch()
    print(f"medians (least to most) of {options.repeats}\n", flush=True)
    results = [measure(folder, options.repeats, options.steps) for folder in folders]
    report(options.scale, results)


if __name__ == "__main__":
    run_main(main)
