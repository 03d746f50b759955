"""How often the drawing pad shows something new while the mouse moves.

    python tests/benchmarks/pad_speed.py        # needs Xvfb and xdotool; about 15 s

The real pad with the shipped weights on a virtual screen; xdotool draws a spiral without a pause.
An update is a panel put into the window, with more of the stroke or a new reading. Prints updates
and readings a second in each of ten parts of the drawing: median, slowest and fastest.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import xvfb
from measuring import at_least, run_main

from panel import picture_box

PARTS = 10
NOTING = """
import sys, time
sys.path.insert(0, sys.argv[1])
import demo, pad
def noted(function, times):
    def call(*what):
        try:
            return function(*what)
        finally:
            times.append(time.perf_counter())
    return call
updates, readings = [], []
pad.display, demo.rank = noted(pad.display, updates), noted(demo.rank, readings)
demo.main(["--draw", "--weights", sys.argv[1] + "/checkpoints/shipped/ResNet.weights.h5"])
print("updates", *updates)
print("readings", *readings)
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=at_least(1), default=1000, help="of the mouse, 8 ms apart")
    options = parser.parse_args()
    if xvfb.MISSING:
        sys.exit(f"needs {' and '.join(xvfb.MISSING)}")
    left, top, wide, high = picture_box()
    words = []
    for k, t in enumerate(np.linspace(0, 1, options.moves)):
        x = left + wide / 2 + 150 * t * np.cos(40 * t)
        y = top + high / 2 + 150 * t * np.sin(40 * t)
        words += ["mousemove", round(960 + x), round(540 + y), "sleep", "0.008"]
        words += ["mousedown", 1] if k == 0 else []
    with xvfb.virtual_screen() as display:
        process = subprocess.Popen(
            [sys.executable, "-c", NOTING, str(HERE.parents[1])],
            env=os.environ | {"DISPLAY": display},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        window = xvfb.Window(process, display)
        for start in range(0, len(words), 300):  # a command line has its limits
            window.xdotool(*words[start : start + 300])
        window.xdotool("mouseup", 1, "key", "Escape")
        code, lines, err = window.end()
    if code or err:
        sys.exit(err)
    print(f"{os.cpu_count()} cores")
    for line in lines[-2:]:
        name, *times = line.split()
        times = np.float64(times)[1:]  # the first update is the empty pad
        counts, edges = np.histogram(times, PARTS)
        rates = counts / np.diff(edges)
        print(f"{len(times)} {name} in {times[-1] - times[0]:.1f} s; a second: "
              f"median {statistics.median(rates):.0f}, "
              f"slowest part {rates.min():.0f}, fastest {rates.max():.0f}")  # fmt: skip


if __name__ == "__main__":
    run_main(main)
