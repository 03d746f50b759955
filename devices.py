"""What a training runs on: which devices, in which precision, in one process or in several.

One process: every GPU that TensorFlow sees; `tf.distribute.MirroredStrategy` where there are two.

Several processes, a machine each: Keras's JAX backend. TensorFlow's way to several machines,
`MultiWorkerMirroredStrategy`, fails in `fit` of Keras 3 (it is handed PerReplica values). The same
command is started on every machine with KERAS_BACKEND=jax and with the variables that
`keras.distribution.initialize` reads; JAX is imported in that case only. The processes then train
in step: each feeds its share of every batch, all hold the same weights, and only the first one
writes. What they do must therefore be the same, step by step; where one of them looks at the disk
or at the clock, `together`, `from_first` and `agreed_signal` let the others know.
"""

import atexit
import contextlib
import functools
import os
import pickle
import subprocess
import sys
import traceback
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

# Another machine that says nothing for so long is taken for dead, in seconds.
SILENCE_S = 60
AGREE_EVERY = 10  # steps between two looks at the other processes' signals
TOLD = 2000  # bytes of an error that the other processes are told
AGAIN = "Start the same command on all machines again to go on."


class DevicesError(Exception):
    """The devices or the other processes cannot do as asked; the message says why."""


def join():
    """Meets the other processes, where the environment names any; before all other use of JAX.

    Raises:
        DevicesError: they are named on a backend that cannot, or do not come.
    """
    wanted = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    if not _on_jax():
        if wanted:
            raise DevicesError("Several machines need KERAS_BACKEND=jax, and JAX installed.")
        return
    tf.config.set_visible_devices([], "GPU")  # it prepares the batches; the memory is JAX's
    import jax

    if not wanted or jax.distributed.is_initialized():
        return
    # SIGTERM is ours: it saves and stops.
    jax.config.update("jax_enable_preemption_service", False)
    print(f"Waiting for the other machines at {wanted}")
    try:
        # As keras.distribution.initialize, which has no way to say how long a silence is death.
        jax.distributed.initialize(
            wanted.split(",")[0],
            int(os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"]),
            int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"]),
            heartbeat_timeout_seconds=SILENCE_S,
        )
    except (KeyError, ValueError) as error:
        raise DevicesError(f"KERAS_DISTRIBUTION_... is incomplete or wrong: {error}") from error
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise DevicesError(f"Not all machines came to {wanted}: {reason}") from error
    together(lambda: None)  # connects them
    _watch()


_watcher = None  # a process that speaks for this one where it is ended by force


def _watch():
    """Says what to do even where JAX, who finds the first machine gone, aborts this process."""
    global _watcher
    words = f"This part of the training was ended by force: another machine is gone? {AGAIN}"
    # To stdout: stderr may be in the hands of quiet_libraries now.
    speak = "import sys; sys.stdin.read() or print(sys.argv[1])"
    _watcher = subprocess.Popen(
        [sys.executable, "-S", "-c", speak, words],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    atexit.register(_dismiss_watcher)


def _dismiss_watcher():
    if _watcher.poll() is None:
        _watcher.communicate(b".")


def strategy():
    """All visible devices; says which.

    Returns:
        What has a `scope()` to build the network in: a TensorFlow strategy, or its like on JAX.
    """
    gpus = _gpus()
    for gpu in [] if _on_jax() else gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        print(f"No GPU found: training on {os.cpu_count()} processor cores, which is slow.")
    else:
        print(f"Training on {len(gpus)} GPU{'s' * (len(gpus) > 1)}.")
    rank, processes = share()
    if processes > 1:
        print(f"This is machine {rank + 1} of {processes}; if one fails, all stop. {AGAIN}")
    if _on_jax():
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
    """Refuses a batch that the devices cannot share evenly: its mean would not be the images'.

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
    if _on_jax():
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


def _on_jax():
    return keras.backend.backend() == "jax"


def _gpus():
    if not _on_jax():
        return tf.config.list_physical_devices("GPU")
    import jax

    return [device for device in jax.devices() if device.platform == "gpu"]


def _capability(gpu):
    """NVIDIA's compute capability, such as (8, 0); (0, 0) where it is not known."""
    if not _on_jax():
        return tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return tuple(int(part) for part in getattr(gpu, "compute_capability", "0.0").split("."))


def share():
    """(this process's number, counted from 0; how many there are)."""
    if not _on_jax():
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def is_first():
    """Whether this process is the one that writes."""
    return share()[0] == 0


def together(make):
    """What `make` returns; where it fails in one process, no process goes on.

    Args:
        make: a function without arguments, called in every process.

    Raises:
        Exception: its own.
        DevicesError: it failed in another process.
    """
    rank, processes = share()
    if processes == 1:
        return make()
    made, failure = None, None
    try:
        made = make()
    except Exception as error:
        failure = error
    told = np.zeros(TOLD, np.uint8)
    if failure:
        text = f"{failure or type(failure).__name__}".encode()[:TOLD]
        told[: len(text)] = [*text]
    all_told = _multihost().process_allgather(told)  # (processes, TOLD)
    if failure:
        raise failure
    for number, row in enumerate(all_told):
        if row.any():
            text = row.tobytes().rstrip(b"\0").decode(errors="replace")
            raise DevicesError(f"Machine {number + 1} of {processes}: {text}")
    return made


def first_then_others(make):
    """What `make` returns; the others begin when the first is done, whose disk may be theirs.

    Raises: as `together`.
    """
    in_first = together(make if is_first() else lambda: None)
    return together(lambda: in_first if is_first() else make())


def from_first(make):
    """What `make` returns in the first process, in all of them; it is called there alone.

    Args:
        make: a function without arguments.

    Raises: as `together`.
    """
    made = together(make if is_first() else lambda: None)
    if share()[1] == 1:
        return made
    # Unpickling trusts its source; it is this very program, which shares its weights anyway.
    content = np.frombuffer(pickle.dumps(made), np.uint8)
    size = int(_multihost().broadcast_one_to_all(np.int32(len(content))))
    content = content if is_first() else np.zeros(size, np.uint8)
    return pickle.loads(_multihost().broadcast_one_to_all(content).tobytes())


def agreed_signal(number, step):
    """The signal to stop that any of the processes had, for all of them in the same step.

    Args:
        number: of the signal that this process had, or None.
        step: the step just done; they ask each other after every tenth.

    Returns:
        A signal's number, or None.
    """
    if share()[1] == 1:
        return number
    if step % AGREE_EVERY:
        return None
    return int(_multihost().process_allgather(np.int32(number or 0)).max()) or None


def _multihost():
    from jax.experimental import multihost_utils

    return multihost_utils


@contextlib.contextmanager
def ending_together():
    """Within it, an error that nobody expected ends this process of several at once.

    Its peers wait for it in the next step, and learn from the connection that breaks. An ordinary
    end would wait for them in turn. Where a peer is gone that way, a line says what to do.
    """
    try:
        yield
    except Exception as error:
        if share()[1] == 1 or isinstance(error, DevicesError):
            raise
        _dismiss_watcher()
        # What JAX raises when a peer is gone begins with a status, such as "UNKNOWN: Gloo ...".
        if str(error).split(":")[0].isupper():
            reason = str(error).splitlines()[0][:200]
            print(f"\nAnother machine is gone, or cannot be reached. {AGAIN}", file=sys.stderr)
            print(f"  ({reason})", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


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
    if _on_jax():
        return _predict_with_jax(network, batches)
    if network.distribute_strategy.num_replicas_in_sync > 1:
        network = keras.Model(network.inputs, network.outputs)
    return network.predict(batches, verbose=0)


def local_copy(network):
    """The network once more, without its weights, for this process alone.

    Training must be over: what the devices share ends here.
    """
    if _on_jax():
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
