"""What the benchmarks share: their options, where they run, repeats, child processes, tables.

Processes are measured through os.wait4, which Windows does not have.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from quiet import is_unread  # the project is on the path of whoever imports this

ROOT = Path(__file__).resolve().parents[2]
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


@dataclass
class Finished:
    """A child process that ended well: wall time in s, peak memory in bytes, what it printed."""

    seconds: float
    peak: int
    output: str


def run_main(main, errors=()):
    """Runs a benchmark and ends the program with the exit code that its `main` returns, or 0.

    Nothing is said where nobody reads any more, as in `... | head -1`.

    Args:
        main: a function without arguments.
        errors: exception classes whose messages are for the user, without a traceback.
    """
    try:
        code = main()
        sys.stdout.flush()
    except errors as error:
        code = str(error)
    except OSError as error:
        if not is_unread(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushed at the end too
        code = 1
    sys.exit(code)


def at_least(low):
    """An argparse type: a whole number, this or more."""

    def parse(text):
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"{text!r}: must be a whole number, {low} or more")
        return int(text)

    return parse


def head(*packages):
    """One line: the day, the processor, its cores, the versions of Python and some packages."""
    try:
        info = Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines()
        names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
        processor = names[0]
    except (OSError, IndexError):
        processor = platform.processor() or platform.machine()
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    python = f"Python {platform.python_version()}"
    return ", ".join(
        [f"{datetime.date.today()}: {processor}", f"{cores()} cores", python, *versions]
    )


def cores():
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def interleaved(ways, repeats):
    """Calls each way in turn, again and again, so that a busy minute of the machine meets all.

    Args:
        ways: dict from a name to a function without arguments.
        repeats: how many rounds.

    Returns:
        Dict from the name to what its calls returned, in order.
    """
    results = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            results[name].append(way())
    return results


def median(values):
    return statistics.median(values)


def spread(values, decimals=1):
    """Median and, in brackets, the least and the most."""
    low, middle, high = (f"{f(values):.{decimals}f}" for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def table(rows):
    """Prints rows of texts in columns; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (text.ljust(width) for text, width in zip(row, widths))
        print("   ".join([first, *others]).rstrip(), flush=True)


def verdict(reached):
    return "reached" if reached else "MISSED"


def child(line, **options):
    """Runs a command to its end and measures it; ends the benchmark where it fails.

    Linux counts what the parent held when it forked as the child's: a benchmark that asks for the
    peak must not import TensorFlow itself.

    Args:
        line: the command, as for `subprocess.Popen`.
        options: further ones for it, such as `env`.

    Returns:
        `Finished`.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen([*map(str, line)], stdout=out, stderr=errors, **options)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (out, errors):
            file.seek(0)
        output = out.read().decode(errors="replace")
        if process.returncode:
            told = errors.read().decode(errors="replace")
            sys.exit(f"{output[-2000:]}{told[-2000:]}\nfailed with {process.returncode}: {line}")
    return Finished(seconds, used.ru_maxrss * MAXRSS_UNIT, output)


def after_each_step(hook):
    """Has mytrain.py call `hook(batch)` after each of its training steps, counted from 0.

    On a GPU that is after each ten, say: mytrain.STEPS_AT_ONCE.
    """
    import saving

    end_step = saving.Recorder.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        hook(batch)
        end_step(self, batch, logs)

    saving.Recorder.on_train_batch_end = on_train_batch_end
