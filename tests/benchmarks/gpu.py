"""How fast one NVIDIA GPU trains, with Keras on JAX: steps, a pass over EMNIST's size, the loop.

    KERAS_BACKEND=jax python tests/benchmarks/gpu.py
    KERAS_BACKEND=jax python tests/benchmarks/gpu.py --batches 128 --count 20000 --repeats 1

In float32 (in which JAX lets NVIDIA's matrix units round products to TF32) and bfloat16:
    steps       Keras's training step of the ResNet (831,998 parameters, 62 classes) with
                mytrain.py's optimizer and loss, compiled into one loop on the GPU, fed with made-up
                uint8 images that lie in its memory, shuffled; no augmentation
    one pass    the same over as many images as EMNIST ByClass has, once
    peak        what share of the speed at which this GPU multiplies large matrices a step reaches;
                a step is counted as in steps.py
    mytrain.py  its whole loop on made-up images: input pipeline with augmentation on the processor,
                all callbacks, in the precision that it chooses; one step at a time, and as many at
                once as it takes on a GPU
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from steps import PARAMETERS, forward_operations, generated, whole_loop  # isort: skip  sets the path

import jax
import keras
from measuring import at_least, head, interleaved, median, run_main, spread, table

import devices
import mytrain
import recipe
from model import ResNet_inference

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
EMNIST_IMAGES = 697_932
MATRIX = 8192  # side


def training(precision, batch_size, images, labels):
    """Lowers a loop of training steps; JAX's compiler does the rest.

    Args:
        precision: a Keras policy.
        batch_size: images a step.
        images: uint8 (n, 28, 28, 1) on the GPU.
        labels: int32 (n,) on the GPU.

    Returns:
        What is to be compiled, the state of a new network, and the operations an image.
    """
    keras.utils.clear_session()
    keras.mixed_precision.set_global_policy(precision)
    network = ResNet_inference()
    assert network.count_params() == PARAMETERS
    steps = mytrain.EPOCHS * mytrain.STEPS_PER_EPOCH
    recipe.compile_network(network, mytrain.LEARNING_RATE, steps, **mytrain.RECIPE)
    network.optimizer.build(network.trainable_variables)
    network.compute_metrics(None, labels[:1] * 0, network(images[:1] / 255))  # makes its variables
    state = [
        [variable.value for variable in some]
        for some in (
            network.trainable_variables,
            network.non_trainable_variables,
            network.optimizer.variables,
            network.metrics_variables,
        )
    ]

    def train(state, images, labels, steps, key):
        order = jax.random.permutation(key, len(labels))

        def step(number, carry):
            chosen = jax.lax.dynamic_slice_in_dim(order, number * batch_size, batch_size)
            batch = images[chosen].astype("float32") / 255, labels[chosen]
            logs, state = network.train_step(tuple(carry[0]), batch)
            return [list(part) for part in state], logs["loss"]

        return jax.lax.fori_loop(0, steps, step, (state, jax.numpy.zeros(())))

    lowered = jax.jit(train, donate_argnums=0).lower(state, images, labels, 0, jax.random.key(0))
    return lowered, state, 3 * forward_operations(network)


class Loop:
    """A compiled loop of training steps and the state that it goes on with."""

    def __init__(self, compiled, state, batch_size, images, labels):
        self.compiled, self.state, self.batch_size = compiled, state, batch_size
        self.images, self.labels, self.key = images, labels, jax.random.key(1)
        self.seconds(3)

    def seconds(self, steps):
        began = time.perf_counter()
        self.state, loss = self.compiled(self.state, self.images, self.labels, steps, self.key)
        assert float(loss) == float(loss)  # waits for the GPU; not NaN
        return time.perf_counter() - began


def multiply(kind, times=50):
    """Operations a second of multiplying two square matrices of random numbers."""
    matrix = jax.random.normal(jax.random.key(0), (MATRIX, MATRIX), kind)
    product = jax.jit(lambda a, b: (a @ b) / MATRIX**0.5)
    result = product(matrix, matrix).block_until_ready()
    began = time.perf_counter()
    for _ in range(times):
        result = product(matrix, result)
    result.block_until_ready()
    return times * 2 * MATRIX**3 / (time.perf_counter() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--batches", type=at_least(1), nargs="+", default=[128, 1024, 4096])
    add("--count", type=at_least(1), default=EMNIST_IMAGES, help="images in the GPU's memory")
    add("--at-once", type=at_least(1), default=20_480, help="images a measurement of the steps")
    add("--loop-batches", type=at_least(1), nargs="*", default=[128, 1024], help="of mytrain.py")
    add("--loop-steps", type=at_least(11), default=1000, help="of its epochs; more than ten")
    add("--repeats", type=at_least(1), default=3)
    options = parser.parse_args()
    device = jax.devices()[0]
    if keras.backend.backend() != "jax" or device.platform != "gpu":
        sys.exit(f"needs KERAS_BACKEND=jax and a GPU that JAX sees; it sees {device}")
    print(head("jax", "keras"))
    print(f"{device.device_kind}, medians (least to most) of {options.repeats}\n", flush=True)
    images, labels = map(jax.device_put, generated(options.count))
    labels = labels.astype("int32")
    cases = [(name, batch) for name in PRECISIONS for batch in options.batches]
    lowered = [training(PRECISIONS[name], batch, images, labels) for name, batch in cases]
    began = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        compiled = list(pool.map(lambda case: case[0].compile(), lowered))
    print(f"{len(cases)} loops compiled in {time.perf_counter() - began:.0f} s\n", flush=True)

    peaks = {name: max(multiply(name) for _ in range(3)) for name in PRECISIONS}
    loops = {
        case: Loop(program, state, case[1], images, labels)
        for case, program, (_, state, _) in zip(cases, compiled, lowered, strict=True)
    }
    operations = lowered[0][2]
    ways = {
        case: lambda loop=loop: loop.seconds(max(1, options.at_once // loop.batch_size))
        for case, loop in loops.items()
    }
    measured = interleaved(ways, options.repeats)
    passes = {case: loop.seconds(options.count // case[1]) for case, loop in loops.items()}
    rows = [["", "batch", "images/s", "of the peak", f"{options.count:,} images"]]
    for (name, batch), seconds in measured.items():
        shown = max(1, options.at_once // batch) * batch
        speeds = [shown / each for each in seconds]
        share = median(speeds) * operations / peaks[name]
        whole = f"{passes[name, batch]:.2f} s"
        rows.append([name, str(batch), spread(speeds, 0), f"{share:.0%}", whole])
    for name, peak in peaks.items():
        rows.append([f"{name}, peak", "", f"{peak / 1e12:.0f} TFLOP/s", "", ""])
    table(rows)
    del loops, ways, lowered, compiled, images, labels
    precision = devices.precision()
    print(f"\nmytrain.py's loop, {precision}, epochs of {options.loop_steps} steps\n")
    rows = [["batch", "steps at once", "images/s"]]
    for batch in options.loop_batches:
        for at_once in (1, mytrain.STEPS_AT_ONCE):
            with mock.patch.object(mytrain, "STEPS_AT_ONCE", at_once):
                speed = whole_loop(precision, batch, options.loop_steps)
            rows.append([str(batch), str(at_once), f"{speed:.0f}"])
    table(rows)


if __name__ == "__main__":
    run_main(main)
