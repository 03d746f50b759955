"""How fast demo.py reads many pictures, how fast it starts, and how much memory it takes.

    python tests/benchmarks/demo_speed.py                       # about 15 minutes on 2 cores
    python tests/benchmarks/demo_speed.py --count 100 --repeats 1 --memory 100 300

Three comparisons, each in one run. Reading: one call of demo.py on --count pictures against the
ancestor's way, one `model.predict` a picture in one process, after one for warming up; for
characters cut out of a form, for pictures as large as those in assets/ and for photographs of 12
megapixels. The demo's time a picture is what a call on all takes longer than a call on one of them,
the writing of predictions/ included; the ancestor's is that of its loop alone, which reads the file
as grey and reduces it to 28x28. Starting: demo.py on one picture against `import tensorflow`.
Memory: the peak of demo.py on more and more pictures, of which 2 in 100 are photographs; that of
its largest process: each of those that convert holds one picture and what it made of a few.

The pictures are made from those in assets/: turned, scaled and put on uneven paper, seeded.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[2]))

import picture  # isort: skip  before cv2

import cv2
import numpy as np
from measuring import (
    ROOT,
    at_least,
    child,
    head,
    interleaved,
    median,
    run_main,
    spread,
    table,
    verdict,
)

SHIPPED = ROOT / "checkpoints" / "shipped" / "ResNet.weights.h5"
CUT_OUT = (24, 85)  # px, longer side
SMALL = (200, 600)  # px, longer side; assets/ has 208 to 600
PHOTOGRAPH = (4032, 4032)  # 4032x3024, 12 megapixels
DISTINCT = {CUT_OUT: 100, SMALL: 100, PHOTOGRAPH: 5}  # really made; the rest are links to them
PHOTOGRAPHS = 20  # in the third comparison
SHARE = 50  # one of these many is a photograph where memory is measured
ANCESTORS = 200  # pictures that the ancestor's way reads at most: it is slow

TIMES_FASTER, STARTUP_RATIO, MEMORY_RATIO = 20, 1.3, 1.1  # targets


# -------------------------------------------------------------------------------------- pictures
def made(sources, side, generator):
    """A picture with a character of one of the sources on it, uint8 BGR."""
    source = sources[generator.integers(len(sources))]
    side = int(generator.integers(side[0], side[1] + 1))
    height, width = side * 3 // 4, side
    scale = 0.7 * height / max(source.shape[:2]) * generator.uniform(0.8, 1)
    matrix = cv2.getRotationMatrix2D((0, 0), generator.uniform(-12, 12), scale)
    middle = matrix[:, :2] @ (np.array(source.shape[1::-1]) / 2)
    matrix[:, 2] = np.array([width, height]) / 2 - middle
    page = cv2.warpAffine(
        source, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    light = np.linspace(generator.uniform(0.8, 1), 1, width, dtype=np.float32)[None, :, None]
    noise = np.empty(page.shape, np.int16)
    cv2.setRNGSeed(int(generator.integers(2**31)))
    cv2.randn(noise, 0, 1.5)
    return np.clip(page * light + noise, 0, 255).astype(np.uint8)


def write_pictures(folder, count, sides, seed=0):
    """Writes `count` pictures, in turn of the longer sides given; most are links to the first."""
    folder.mkdir(parents=True)
    sources = [picture.read_picture(path) for path in sorted((ROOT / "assets").glob("*.png"))]
    generator, kept = np.random.default_rng(seed), {}
    for number in range(count):
        side = sides[number % len(sides)]
        path, same = folder / f"{number}.png", kept.setdefault(side, [])
        if len(same) < DISTINCT[side]:
            path.write_bytes(cv2.imencode(".png", made(sources, side, generator))[1].tobytes())
            same.append(path)
        else:
            os.link(same[number // len(sides) % len(same)], path)
    return folder


# -------------------------------------------------------------------------------------- the ways
def demo(folder):
    """Runs demo.py on a folder of pictures, of which it knows no answers yet.

    Earlier answers are put aside: ext4 makes files some times as slowly after many were deleted.
    """
    if (folder / "predictions").exists():
        (folder / "predictions").rename(tempfile.mkdtemp(dir=folder.parent))
    finished = child(
        [sys.executable, ROOT / "demo.py", "--no-window", "--weights", SHIPPED, folder]
    )
    assert " 0 not read" in finished.output, finished.output[-300:]
    return finished


def ancestor(folder, count):
    """What a child does: reads pictures one by one; prints the seconds for each."""
    from weights import get_model

    model = get_model(SHIPPED)
    paths = sorted(folder.glob("*.png"))[:count]
    for measured in ([], paths):
        began = time.perf_counter()
        for path in measured or paths[:1]:
            image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
            image = 1 - cv2.resize(image, (28, 28)).astype(np.float32) / 255
            model.predict(image[None, :, :, None], verbose=0).argmax()
    print((time.perf_counter() - began) / len(paths))


def compare_reading(folder, one, count, repeats):
    """Row of the second table: milliseconds a picture of the demo and of the ancestor's way."""
    few = min(count, ANCESTORS)
    line = [sys.executable, HERE, "--ancestor", folder, "--count", few]
    results = interleaved(
        {
            "demo": lambda: 1000 * (demo(folder).seconds - demo(one).seconds) / (count - 1),
            "ancestor": lambda: 1000 * float(child(line).output.split()[-1]),
        },
        repeats,
    )
    ratio = median(results["ancestor"]) / median(results["demo"])
    return [
        f"{count} {folder.name}",
        spread(results["ancestor"]),
        spread(results["demo"]),
        f"{ratio:.1f}",
        verdict(ratio >= TIMES_FASTER),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--count", type=at_least(2), default=1000, help="cut-outs, and pictures, in one call")
    add("--repeats", type=at_least(1), default=5)
    add("--memory", type=at_least(1), nargs="+", default=[100, 1000, 10_000], help="pictures")
    add("--ancestor", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ancestor:
        return ancestor(options.ancestor, options.count)

    print(head("tensorflow", "keras", "opencv-python"))
    print("medians (least to most)\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one = write_pictures(folder / "one of pictures", 1, [SMALL])
        demo(one)  # brings files into the system's cache
        startups = interleaved(
            {
                "import": lambda: child([sys.executable, "-c", "import tensorflow"]).seconds,
                "demo": lambda: demo(one).seconds,
            },
            options.repeats,
        )
        ratio = median(startups["demo"]) / median(startups["import"])
        head_line = ["start", "import tensorflow, s", "demo.py on one picture, s", "ratio"]
        values = ["", spread(startups["import"], 2), spread(startups["demo"], 2), f"{ratio:.2f}"]
        table([[*head_line, f"<= {STARTUP_RATIO}"], [*values, verdict(ratio <= STARTUP_RATIO)]])

        print()
        rows = [["reading", "ancestor, ms", "demo.py, ms", "times faster", f">= {TIMES_FASTER}"]]
        for name, count, side in (
            ("cut-outs", options.count, CUT_OUT),
            ("pictures", options.count, SMALL),
            ("photographs", PHOTOGRAPHS, PHOTOGRAPH),
        ):
            several = write_pictures(folder / name, count, [side])
            single = one if side == SMALL else write_pictures(folder / f"one of {name}", 1, [side])
            rows.append(compare_reading(several, single, count, options.repeats))
        table(rows)

        print()
        rows, peaks = [["memory", "peak, MB", "ratio to the one above", f"<= {MEMORY_RATIO}"]], []
        for count in options.memory:
            mixed = write_pictures(folder / f"{count}", count, [SMALL] * (SHARE - 1) + [PHOTOGRAPH])
            peaks.append(demo(mixed).peak)
            shutil.rmtree(mixed)
            ratio = peaks[-1] / peaks[-2] if len(peaks) > 1 else None
            told = ["", ""] if ratio is None else [f"{ratio:.2f}", verdict(ratio <= MEMORY_RATIO)]
            rows.append([f"{count} pictures", f"{peaks[-1] / 1e6:.0f}", *told])
        table(rows)


if __name__ == "__main__":
    run_main(main)
