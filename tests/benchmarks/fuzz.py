"""Reads thousands of damaged pictures: each must be read, or named in one line, in good time.

    python tests/benchmarks/fuzz.py                 # 10,000 pictures, a few minutes
    python tests/benchmarks/fuzz.py --count 500 --seed 3

Result, 2026-11-22, OpenCV 5.0.0, Python 3.11, 2 cores busy with a training: of 10,000 pictures
1,856 were read, 8,144 named, none failed; the slowest took 10 s.

Pictures of every format that OpenCV writes are damaged (bits flipped, bytes replaced, cut off,
doubled, stitched to another) and go through read_picture and convert, in child processes, so that
a crash or a hang is counted and named. Any other exception than PictureError is a failure, and so
is a result that is not (28, 28) float32 in [0, 1]. A child may take 4 GiB of address space.
"""

import argparse
import collections
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import picture  # isort: skip  before cv2

import cv2
import numpy as np
from measuring import at_least, run_main

cv2.utils.logging.setLogLevel(
    cv2.utils.logging.LOG_LEVEL_SILENT
)  # what it cannot encode is left out

ENDINGS = ".png .jpg .bmp .tiff .webp .gif .ppm .pgm .jp2 .hdr .pfm .ras .pam .pbm .avif".split()
ONE_PICTURE_S = 20  # longer is a hang
BATCH = 100  # pictures a child reads


def originals():
    """Encoded pictures of all kinds, as bytes, with their file endings."""
    generator = np.random.default_rng(0)
    found = []
    for size in (12, 60, 300):
        page = generator.integers(225, 256, (size, size, 3)).astype(np.uint8)
        points = (generator.random((6, 2)) * size * 0.7 + size * 0.15).astype(np.int32)
        cv2.polylines(page, [points], False, (120, 40, 20), max(1, size // 15), cv2.LINE_AA)
        clear = np.dstack([page, 255 - page[..., 0]])
        kinds = [page, page[..., 0], clear, page.astype(np.uint16) * 257, page / np.float32(255)]
        for ending in ENDINGS:
            for kind in kinds:
                try:
                    done, content = cv2.imencode(ending, kind)
                except cv2.error:
                    continue
                if done:
                    found.append((ending, content.tobytes()))
    return found


def damaged(generator, sources):
    """(ending, bytes) of one damaged picture."""
    ending, content = sources[generator.integers(len(sources))]
    content = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        n = len(content)
        if n < 2:
            break
        where = int(
            generator.integers(n) if generator.random() < 0.5 else generator.integers(min(n, 64))
        )
        kind = generator.integers(5)
        if kind == 0:
            content[where] ^= 1 << int(generator.integers(8))
        elif kind == 1:
            content[where : where + 4] = generator.bytes(4)
        elif kind == 2:
            del content[int(n * generator.random()) :]
        elif kind == 3:
            content[where:where] = content[where : where + 64]
        else:
            content[where:] = sources[generator.integers(len(sources))][1][where:]
    return ending, bytes(content)


def read_batch(folder, seed, answer):
    """What a child does: reads BATCH damaged pictures and tells what became of each."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))  # a bomb fails, or is refused
    generator = np.random.default_rng(seed)
    sources = originals()
    for _ in range(BATCH):
        ending, content = damaged(generator, sources)
        path = folder / f"damaged{ending}"
        path.write_bytes(content)
        answer.put(("next", None))
        try:
            image, _ = picture.convert(picture.read_picture(path))
            good = image.shape == (28, 28) and image.dtype == np.float32
            good = good and image.min() >= 0 and image.max() <= 1
            answer.put(("read", None) if good else ("wrong", "not a (28, 28) image in [0, 1]"))
        except picture.PictureError as error:
            one_line = "\n" not in str(error)
            answer.put(("named", str(error)) if one_line else ("wrong", str(error)))
        except Exception as error:
            answer.put(("wrong", f"{type(error).__name__}: {error}"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=at_least(1), default=10_000)
    parser.add_argument("--seed", type=at_least(0), default=0)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    outcomes, reasons, failures, slowest = collections.Counter(), collections.Counter(), [], 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for batch in range(-(-options.count // BATCH)):
            answer = context.SimpleQueue()
            child = context.Process(target=read_batch, args=(folder, [options.seed, batch], answer))
            child.start()
            began, open_one = time.monotonic(), False
            while child.is_alive() or not answer.empty():
                if answer.empty():
                    if open_one and time.monotonic() - began > ONE_PICTURE_S:
                        failures.append(("hang", batch, keep(folder, batch)))
                        child.kill()
                        open_one = False
                    time.sleep(0.002)
                    continue
                kind, reason = answer.get()
                if kind == "next":
                    began, open_one = time.monotonic(), True
                    continue
                slowest, open_one = max(slowest, time.monotonic() - began), False
                outcomes[kind] += 1
                reasons[reason] += kind == "named"
                if kind == "wrong":
                    failures.append((reason, batch, None))
            child.join()
            if child.exitcode not in (0, -9):
                failures.append((f"crash, exit code {child.exitcode}", batch, keep(folder, batch)))
    print(
        f"OpenCV {cv2.__version__}, {sum(outcomes.values())} damaged pictures, seed {options.seed}"
    )
    print(f"read      {outcomes['read']}")
    print(f"named     {outcomes['named']}")
    for reason, times in reasons.most_common():
        if times:
            print(f"  {times:6}  {reason}")
    print(f"slowest   {slowest:.2f} s")
    print(f"failures  {len(failures)}")
    for failure in failures[:20]:
        print("  ", *failure)
    return 1 if failures else 0


def keep(folder, batch):
    """Keeps the picture that crashed or hung, and says where."""
    path = max(folder.glob("damaged.*"), key=lambda file: file.stat().st_mtime_ns)
    kept = Path(tempfile.gettempdir()) / f"fuzz-{batch}{path.suffix}"
    kept.write_bytes(path.read_bytes())
    return kept


if __name__ == "__main__":
    run_main(main)
