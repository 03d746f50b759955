"""What a training runs on: which devices, in which precision.

Every GPU that Keras's backend sees: with TensorFlow, `tf.distribute.MirroredStrategy` where there
are two; with JAX, which is imported in that case only, those of all machines (see machines.py).
"""

import contextlib
import functools
import os
import re
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from machines import DevicesError, on_jax
from quiet import tell
from weights import counted


class OutOfMemory(Exception):
    """The memory is not enough for a training step; the message says what to do."""


@contextlib.contextmanager
def explaining_memory(batch_size, folder):
    """Within it, what the libraries raise for want of memory becomes an `OutOfMemory`.

    Args:
        batch_size: images a step.
        folder: where the training's last state is.
    """
    try:
        yield
    except Exception as error:
        # TensorFlow's class alone does not tell: it stands for a full disk too.
        no_room = re.search(r"\bOOM\b|[Oo]ut of memory", str(error))
        if not no_room and not isinstance(error, MemoryError):
            raise
        raise OutOfMemory(
            f"\nOut of memory in steps of {batch_size} images. "
            f"The last good state is kept in {folder}.\n"
            "Go on when other programs need less; or try a smaller --batch_size with --fresh, "
            "or another model."
        ) from error


def strategy():
    """All visible devices, of which it tells the user.

    Returns:
        A TensorFlow strategy, or its like on JAX: both have `num_replicas_in_sync`, and a `scope()`
        in which to build the network.
    """
    gpus = _gpus()
    for gpu in [] if on_jax() else gpus:
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already, in a notebook say
            tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        # Those that this process may use: of a shared machine they are not all.
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        tell(f"No GPU found: training on {counted(count, 'processor core')}, which is slow.")
        if os.name == "nt":
            tell("On Windows itself TensorFlow has no GPU support, only inside WSL2.")
    else:
        tell(f"Training on {counted(len(gpus), 'GPU')}.")
    if on_jax():
        # Labels are int64; JAX would tell of each that it takes them as int32.
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64")
        return _DataParallel()
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


class _DataParallel:
    """Keras's DataParallel over all devices of all processes, with the use of a strategy."""

    def __init__(self):
        self.num_replicas_in_sync = keras.distribution.get_device_count()

    def scope(self):
        """Takes effect for good: Keras looks at it in `fit` too."""
        if self.num_replicas_in_sync > 1:
            # Each process feeds its own rows already.
            whole = keras.distribution.DataParallel(auto_shard_dataset=False)
            keras.distribution.set_distribution(whole)
        return contextlib.nullcontext()


def check_batch_size(batch_size, strategy):
    """Refuses a batch that the devices cannot share evenly: images would not count alike.

    Raises:
        DevicesError: names the next sizes that they can share.
    """
    count = strategy.num_replicas_in_sync
    if over := batch_size % count:
        sizes = " or ".join(str(n) for n in (batch_size - over, batch_size - over + count) if n)
        raise DevicesError(f"--batch_size {batch_size}: {count} devices cannot share it; {sizes}?")


def precision():
    """The Keras policy that is fast here: bfloat16 or float16 where the hardware has it."""
    gpus = _gpus()
    if gpus:
        capability = min(_capability(gpu) for gpu in gpus)
        if capability >= (8, 0):
            return "mixed_bfloat16"
        return "mixed_float16" if capability >= (7, 0) else "float32"
    if on_jax():
        return "float32"
    try:
        processor = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        processor = ""
    # Without native instructions bfloat16 is emulated, and slower than float32.
    return "mixed_bfloat16" if "amx_bf16" in processor or "avx512_bf16" in processor else "float32"


def has_gpu():
    """Whether there is a GPU to train on."""
    return bool(_gpus())


def several_steps_at_once(strategy):
    """Whether Keras is to take several steps between two calls of the callbacks: on a GPU.

    TensorFlow cannot on several: it fails in a loop over mirrored variables (2.21, Keras 3.15).
    """
    return has_gpu() and (on_jax() or strategy.num_replicas_in_sync == 1)


def _gpus():
    if not on_jax():
        return tf.config.list_physical_devices("GPU")
    import jax

    return [device for device in jax.devices() if device.platform == "gpu"]


def _capability(gpu):
    """NVIDIA's compute capability, such as (8, 0); (0, 0) where it is not known."""
    if not on_jax():
        return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    try:
        return tuple(int(part) for part in gpu.compute_capability.split("."))
    except (AttributeError, ValueError):  # AMD's have names
        return (0, 0)


def predict(network, batches):
    """A network's answers, computed by this process alone: on one device where it has several.

    Several devices would have to share every batch evenly, and several processes to ask for the
    same at the same time.

    Args:
        network: `keras.Model`.
        batches: `tf.data.Dataset` of (images, labels), of batches of any size.

    Returns:
        float32 (n, classes).
    """
    if on_jax():
        return _predict_with_jax(network, batches)
    if network.distribute_strategy.num_replicas_in_sync > 1:
        network = keras.Model(network.inputs, network.outputs)
    return network.predict(batches, verbose=0)


def local_copy(network):
    """The network once more, without its weights, for this process alone.

    Training must be over: what the devices share ends here.
    """
    if on_jax():
        keras.distribution.set_distribution(None)
    copy = keras.models.clone_model(network)
    return keras.Model(copy.inputs, copy.outputs)  # not compiled


def _predict_with_jax(network, batches):
    variables = [
        [keras.ops.convert_to_numpy(variable) for variable in some]
        for some in (network.trainable_variables, network.non_trainable_variables)
    ]
    forward = _forward(network)
    answers = [np.asarray(forward(*variables, images)) for images, _ in batches.as_numpy_iterator()]
    return np.concatenate(answers)


@functools.lru_cache(maxsize=1)
def _forward(network):
    """A compiled (trainable, non_trainable, images) -> answers."""
    import jax

    return jax.jit(lambda *values: network.stateless_call(*values, training=False)[0])
