"""Several processes, a machine each, that train one network together.

Through Keras's JAX backend: TensorFlow's `MultiWorkerMirroredStrategy` fails in `fit` of Keras 3
(it is handed PerReplica values). The same command is started on every machine with
KERAS_BACKEND=jax and with the variables that `keras.distribution.initialize` reads. The processes
then train in step: each feeds its share of every batch, all hold the same weights, and only the
first one writes. What they do must therefore be the same, step by step; where one of them looks at
the disk or at the clock, `together`, `from_first` and `agreed_signal` let the others know. For a
single process they do nothing more.
"""

import atexit
import collections
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback

import keras
import numpy as np
import tensorflow as tf

from quiet import tell

SILENCE_S = 60  # seconds without a sign of another machine after which it counts as dead
PATIENCE_S = 300  # seconds in which all of them must have started
AGREE_EVERY = 10  # steps after which they exchange signals to stop
TOLD = 2000  # bytes of an error's message that the other processes are told
AGAIN = "Start the same command on all machines again to go on."


class DevicesError(Exception):
    """The devices or the other machines cannot do as asked; the message says why."""


def on_jax():
    """Whether Keras computes with JAX, which alone can use several machines."""
    return keras.backend.backend() == "jax"


def join():
    """Meets the other processes, where the environment names any; before all other use of JAX.

    Raises:
        DevicesError: the backend cannot train, or not on several machines; or they do not come, or
            are unlike.
    """
    wanted = os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    if keras.backend.backend() not in ("tensorflow", "jax"):
        raise DevicesError("Training needs Keras on TensorFlow, KERAS_BACKEND unset, or on JAX.")
    if not on_jax():
        if wanted:
            raise DevicesError("Several machines need KERAS_BACKEND=jax, and JAX installed.")
        return
    tf.config.set_visible_devices([], "GPU")  # it prepares the batches; the memory is JAX's
    import jax

    if not wanted or jax.distributed.is_initialized():
        return
    # SIGTERM is ours: it saves and stops.
    jax.config.update("jax_enable_preemption_service", False)
    tell(f"Waiting for the other machines at {wanted}")
    _watch()
    try:
        # As keras.distribution.initialize, which has no way to say how long a silence is death.
        _hearing_signals(
            jax.distributed.initialize,
            wanted.split(",")[0],
            int(os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"]),
            int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"]),
            heartbeat_timeout_seconds=SILENCE_S,
            initialization_timeout=PATIENCE_S,
        )
    except (KeyError, ValueError) as error:
        raise DevicesError(f"KERAS_DISTRIBUTION_... is incomplete or wrong: {error}") from error
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0]
        raise DevicesError(f"Not all machines came to {wanted}: {reason}") from error
    counts = collections.Counter(device.process_index for device in jax.devices())
    if len({*counts.values()}) > 1:
        each = ", ".join(str(counts[number]) for number in sorted(counts))
        raise DevicesError(f"The machines must have as many devices each, not {each}.")
    together(lambda: None)  # connects them
    atexit.register(_dismiss_watcher)  # again: before what JAX does at the end, which may abort
    rank, processes = share()
    tell(f"This is machine {rank + 1} of {processes}; if one fails, all stop. {AGAIN}")


def _hearing_signals(wait, *args, **kwargs):
    """Calls a function that waits within a library, where Python would not handle signals."""
    failures = []

    def call():
        try:
            wait(*args, **kwargs)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=call, daemon=True)  # it may wait on when the program ends
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except BaseException as stop:  # an ordinary end would take seconds, and JAX would lament
        _dismiss_watcher()
        atexit.register(os._exit, 128 + getattr(stop, "signal_number", signal.SIGINT))
        raise
    for failure in failures:
        raise failure


_watcher = None  # a process that speaks for this one where it is ended by force


def _watch():
    """Says what to do even where JAX aborts this process: a machine does not come, or is gone."""
    global _watcher
    why = "a machine did not come, or is gone?"
    words = f"This part of the training was ended by force: {why} {AGAIN}"
    # To stdout: stderr may be in the hands of quiet_libraries now.
    speak = "import sys; sys.stdin.read() or print(sys.argv[1])"
    _watcher = subprocess.Popen(
        [sys.executable, "-S", "-c", speak, words],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    atexit.register(_dismiss_watcher)


def _dismiss_watcher():
    if _watcher and _watcher.poll() is None:
        _watcher.communicate(b".")


def share():
    """(this process's number, counted from 0; how many there are)."""
    if not on_jax():
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
        text = str(failure) or type(failure).__name__
        text = text.encode(errors="backslashreplace")[:TOLD]  # a path may be no text
        told[: len(text)] = [*text]
    all_told = _multihost().process_allgather(told)  # (processes, TOLD)
    if failure:
        failure.told = True
        raise failure
    for number, row in enumerate(all_told):
        if row.any():
            text = row.tobytes().rstrip(b"\0").decode(errors="replace")
            raise DevicesError(f"Machine {number + 1} of {processes}: {text}")
    return made


def first_then_others(make):
    """What `make` returns; the others begin when the first is done: they may share its disk.

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


def check_options(options):
    """Refuses options that are not the first machine's: they would not do the same for long.

    Args:
        options: names to values; None for one that is left out.

    Raises:
        DevicesError: in all processes; names the first that differs, with both values.
    """
    first = from_first(lambda: options)

    def compare():
        for name, here in options.items():
            if here != first[name]:
                here, there = ("none" if value is None else value for value in (here, first[name]))
                raise DevicesError(f"--{name} is {here} here, {there} on the first machine")

    together(compare)


def agreed_signal(number, step, at_once):
    """The signal to stop that any of the processes had, for all of them in the same step.

    Args:
        number: of the signal that this process had, or None.
        step: the step just done; they exchange signals every AGREE_EVERY steps.
        at_once: steps since the last call.

    Returns:
        A signal's number, or None.
    """
    if share()[1] == 1:
        return number
    if step % AGREE_EVERY >= at_once:
        return None
    return int(_multihost().process_allgather(np.int32(number or 0)).max()) or None


def _multihost():
    from jax.experimental import multihost_utils

    return multihost_utils


@contextlib.contextmanager
def ending_together(expected):
    """Within it, an error that the peers were not told of ends this process of several at once.

    They wait for it in the next step, and learn from the connection that breaks. An ordinary end
    would wait for them in turn. Where a peer is gone that way, a line says what to do.

    Args:
        expected: exception classes whose messages are for the user.
    """
    try:
        yield
    except Exception as error:
        told = isinstance(error, DevicesError) or hasattr(error, "told")  # by `together`
        if share()[1] == 1 or told:
            raise
        _dismiss_watcher()
        # What JAX raises when a peer is gone begins with a status, such as "UNKNOWN: Gloo ...".
        if isinstance(error, expected):
            tell(error, stream=sys.stderr)
        elif str(error).split(":")[0].isupper():
            reason = str(error).splitlines()[0][:200]
            tell(f"\nAnother machine is gone, or cannot be reached. {AGAIN}", stream=sys.stderr)
            tell(f"  ({reason})", stream=sys.stderr)
        else:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
