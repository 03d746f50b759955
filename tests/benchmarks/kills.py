"""Kills a training 50 times at random moments, then compares it with one that nothing stopped.

    python tests/benchmarks/kills.py            # about 10 minutes on 2 cores
    python tests/benchmarks/kills.py --kills 5 --seed 3

Result, 2026-11-22, 2 cores: 50 kills, 50 resumes, worst loss 20 steps (an epoch), 0 mismatches.

A third each of SIGINT, SIGTERM and SIGKILL. Epochs are short, so that many of the kills fall into
the writing of a checkpoint. Prints how many stops and starts there were, the most steps that a
kill lost (at most an epoch's), and what differs at the end: it should be nothing.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import conftest
import test_train
from measuring import at_least, run_main

STEPS = 20  # an epoch
EPOCHS = 100
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

# Runs mytrain.py, noting the place of each step in a file as soon as it is done.
NOTING = """
import os, sys
sys.path.insert(0, sys.argv.pop(1))
note = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT)
import mytrain, saving
end_step = saving.Recorder.on_train_batch_end
def on_train_batch_end(self, batch, logs=None):
    step = self._first_step + batch + 1
    os.pwrite(note, b"%12d" % (self.state.epoch * self.state.settings["steps_per_epoch"] + step), 0)
    end_step(self, batch, logs)
saving.Recorder.on_train_batch_end = on_train_batch_end
sys.exit(mytrain.main())
"""


def prepare(folder):
    """The tests' small EMNIST, as a prepared TFDS folder."""
    import data

    conftest.write_emnist_archive(folder / "gzip.zip")
    with conftest.serving(partial(conftest.QuietHandler, directory=str(folder))) as address:
        conftest.point_emnist_to(f"{address}/gzip.zip")
        data.load("emnist", folder / "data")
    return folder / "data"


def start(data_dir, folder):
    options = test_train.settings(data_dir, folder, epochs=EPOCHS, steps_per_epoch=STEPS)
    line = test_train.command(**options)
    line[1:2] = ["-c", NOTING, str(conftest.ROOT), str(folder / "place")]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def saved_place(folder):
    """Steps since the start of the run, of the newest whole state, as the next start will see."""
    import resume

    state = resume.read_state(test_train.run_folder(folder))
    return state.epoch * STEPS + state.step if state else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=at_least(1), default=50)
    parser.add_argument("--seed", type=at_least(0), default=0)
    options = parser.parse_args()
    generator = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        data_dir = prepare(Path(name))
        for folder in (whole, killed):
            folder.mkdir()
        output, _ = start(data_dir, whole).communicate()
        assert "Finished" in output, output

        place = killed / "place"
        kills, resumes, losses, bad = dict.fromkeys(SIGNALS, 0), 0, [], 0
        while sum(kills.values()) < options.kills:
            process = start(data_dir, killed)
            for text in process.stdout:
                resumes += text.startswith("Going on")
                if text.strip().startswith("logs"):
                    break
            begun = time.time()
            while not (place.exists() and place.stat().st_mtime > begun) and process.poll() is None:
                time.sleep(0.005)  # until the first step
            time.sleep(generator.uniform(0.0, 1.5))
            number = SIGNALS[sum(kills.values()) % len(SIGNALS)]
            process.send_signal(number)
            process.stdout.read()
            code = process.wait()
            if code == 0:
                print("finished before enough kills")
                break
            kills[number] += 1
            bad += code not in (-number, 128 + number)
            done = int(place.read_text()) if place.exists() else 0
            losses.append(done - saved_place(killed))
            print(f"{sum(kills.values()):3} {number.name:8} after step {done}, lost {losses[-1]}")
        output, _ = start(data_dir, killed).communicate()
        resumes += "Going on" in output

        (one, one_arrays), (two, two_arrays) = map(test_train.newest_state, (whole, killed))
        best = [test_train.run_folder(f) / "best.weights.h5" for f in (whole, killed)]
        differing = [
            *(
                i
                for i, (a, b) in enumerate(zip(one_arrays, two_arrays))
                if not np.array_equal(a, b)
            ),
            *(key for key in ("epoch", "step", "history", "best", "test") if one[key] != two[key]),
            *(["best weights"] if best[0].read_bytes() != best[1].read_bytes() else []),
            *(["curves"] if test_train.curves(whole) != test_train.curves(killed) else []),
        ]
    print(f"cores             {os.cpu_count()}")
    print(f"kills             {sum(kills.values())}", {n.name: k for n, k in kills.items()})
    print(f"resumes           {resumes}")
    print(f"other exit codes  {bad}")
    print(f"worst loss        {max(losses)} steps of {STEPS} an epoch")
    print(f"mismatches        {len(differing)} {differing or ''}")
    return 1 if differing or bad else 0


if __name__ == "__main__":
    run_main(main)
