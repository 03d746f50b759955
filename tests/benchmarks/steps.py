"""How fast a training step is: against Keras's own layers, PyTorch, the processor, the whole loop.

    python tests/benchmarks/steps.py                          # about 10 minutes on 2 cores
    python tests/benchmarks/steps.py --torch-python ~/torch/bin/python --batch 256
    python tests/benchmarks/steps.py --steps 3 --repeats 1    # whether it runs

In float32 and bfloat16, images/s in training of the ResNet (831,998 parameters, 62 classes):
    ours            Keras's compiled step with mytrain.py's optimizer, on one batch held in memory
    Keras's norm    the same with keras.layers.BatchNormalization in place of normalization.py
    PyTorch         the same network, loss, optimizer and batch (torch_resnet.py)
    mytrain.py      its whole loop on generated images: input pipeline with augmentation, all
                    callbacks, from the end of an epoch's first step to that of its last
Of the peak: what share of the speed at which this processor multiplies large matrices a step
reaches. A step is counted as three times the multiplications and additions of the convolutions and
dense layers going forward: once forward, twice back.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import mytrain  # isort: skip  before tensorflow, which it keeps quiet

import keras
import numpy as np
import tensorflow as tf
from measuring import at_least, cores, head, interleaved, median, run_main, spread, table

import data
import devices
import model
import recipe
import report
from model import CHARACTERS, INPUT_SHAPE, N_CLASSES
from quiet import quiet_libraries

PRECISIONS = {"float32": tf.float32, "mixed_bfloat16": tf.bfloat16}
MATRICES = (1024, 2048, 4096)  # sides; the best counts
PARAMETERS = 831_998
IMAGES = 20_000  # generated, for mytrain.py's loop
WARM_UP = 3  # steps before each measurement


# ----------------------------------------------------------------------------------- Keras's step
def keras_step(precision, batch_size, normalization=model.BatchNormalization):
    """A function of a number of steps that trains so long and returns the images/s."""
    keras.mixed_precision.set_global_policy(precision)
    with mock.patch.object(model, "BatchNormalization", normalization):
        network = model.ResNet_inference()
    assert network.count_params() == PARAMETERS
    steps = mytrain.EPOCHS * mytrain.STEPS_PER_EPOCH
    recipe.compile_network(network, mytrain.LEARNING_RATE, steps, **mytrain.RECIPE)
    images, labels = generated(batch_size)
    batches = tf.data.Dataset.from_tensors((images.astype("float32") / 255, labels)).repeat()
    network.make_train_function()
    iterator = iter(batches)

    def run(steps):
        for step in range(WARM_UP + steps):  # the first is slow after another training
            if step == WARM_UP:
                began = time.perf_counter()
            logs = network.train_function(iterator)
        float(logs["loss"])  # waits for a GPU
        return steps * batch_size / (time.perf_counter() - began)

    run.operations = 3 * forward_operations(network)
    run(1)
    return run


def forward_operations(network):
    """Multiplications and additions an image, of convolutions and dense layers."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            positions = np.prod(layer.output.shape[1:-1], dtype=int)  # 1 for a dense layer
            total += 2 * int(positions) * int(np.prod(layer.kernel.shape))
    return total


def generated(count):
    """Made-up images and labels, seeded: uint8 (n, 28, 28, 1) and int64 (n,)."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *INPUT_SHAPE), dtype=np.uint8)
    return images, generator.integers(0, N_CLASSES, count)


# ------------------------------------------------------------------------------------ the others
class Torch:
    """torch_resnet.py in a process of its own, which waits while others are measured."""

    def __init__(self, python, batch_size):
        self.process = subprocess.Popen(
            [python, HERE / "torch_resnet.py", str(batch_size), str(cores())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        first = self.process.stdout.readline().split()
        self.version = first[0] if first else None
        if self.version is None:
            print(f"PyTorch is left out: {self.process.stderr.read().strip().splitlines()[-1]}")
        else:
            assert int(first[1]) == PARAMETERS

    def run(self, precision, steps):
        self.process.stdin.write(f"{precision} {steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def whole_loop(precision, batch_size, steps):
    """Images/s of mytrain.py within an epoch; the first one, which compiles, does not count."""
    ends = {}  # of the steps of the last epoch

    class Timed(report.Console):
        def on_epoch_begin(self, epoch, logs=None):
            super().on_epoch_begin(epoch, logs)
            ends.clear()

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            ends[batch] = time.perf_counter()

    train, held_out = generated(IMAGES), generated(4 * batch_size)
    made_up = data.Data("generated/1.0.0", [*CHARACTERS], train, held_out, None, "made up")
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(report, "Console", Timed),
        mock.patch.object(data, "load", lambda *_: made_up),
        mock.patch.object(devices, "precision", lambda: precision),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        mytrain.train(
            epochs=2,
            steps_per_epoch=steps,
            batch_size=batch_size,
            checkpoint_dir=Path(folder) / "checkpoints",
            log_dir=Path(folder) / "logs",
        )
    first, last = min(ends), max(ends)
    return (last - first) * batch_size / (ends[last] - ends[first])


def multiply(kind, side, times=8):
    """Operations a second of multiplying two square matrices."""
    matrix = tf.cast(tf.random.normal([side, side], seed=1), kind)
    function = tf.function(lambda a: tf.matmul(a, a))
    function(matrix)
    began = time.perf_counter()
    for _ in range(times):
        product = function(matrix)
    product[0, 0].numpy()
    return times * 2 * side**3 / (time.perf_counter() - began)


def measure(precision, torch, options):
    """Rows of the table for one precision."""
    batch, steps = options.batch, options.steps
    ours = keras_step(precision, batch)
    theirs = keras_step(precision, batch, keras.layers.BatchNormalization)
    ways = {
        "ours": lambda: ours(steps),
        "Keras's norm": lambda: theirs(steps),
        "PyTorch": lambda: torch.run(precision, steps),
        "mytrain.py": lambda: whole_loop(precision, batch, steps),
        "peak": lambda: max(multiply(PRECISIONS[precision], side) for side in MATRICES),
    }
    if torch.version:
        torch.run(precision, WARM_UP)
    else:
        del ways["PyTorch"]
    results = interleaved(ways, options.repeats)
    peak, short = max(results.pop("peak")), precision.removeprefix("mixed_")
    rows = [
        [
            f"{short}, {name}",
            spread(values, 0),
            f"{median(values) / median(results['ours']):.2f}",
            f"{median(values) * ours.operations / peak:.0%}",
        ]
        for name, values in results.items()
    ]
    each = f"{ours.operations / 1e6:.0f} MFLOP an image"
    return [*rows, [f"{short}, peak", f"{peak / 1e9:.0f} GFLOP/s", "", each]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--batch", type=at_least(1), default=mytrain.BATCH_SIZE)
    add("--steps", type=at_least(2), default=40, help="in each measurement")
    add("--repeats", type=at_least(1), default=5)
    add("--torch-python", default=sys.executable, help="an interpreter that has torch")
    options = parser.parse_args()
    with quiet_libraries(gpu=True):
        tf.config.list_physical_devices("GPU")
    torch = Torch(options.torch_python, options.batch)
    print(head("tensorflow", "keras") + (f", torch {torch.version}" if torch.version else ""))
    print(f"batch {options.batch}; medians (least to most) of {options.repeats} times ", end="")
    print(f"{options.steps} steps, taken in turn\n")
    rows = [["", "images/s", "of ours", "of the peak"]]
    for precision in PRECISIONS:
        rows += measure(precision, torch, options)
    table(rows)


if __name__ == "__main__":
    run_main(main)
