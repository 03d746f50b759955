"""Scores what demo.py read against labels.

    python demo.py PICTURES --no-window --csv out.csv
    python tests/benchmarks/score.py out.csv PICTURES/labels.csv

labels.csv has the columns file and character; file names are compared without their folder. Prints
the shares read right exactly (62 classes), with case ignored and among the three best, the expected
calibration error of the confidences (15 bins of equal width), and the most frequent confusions. A
labelled picture that is not in out.csv counts as read wrong.
"""

import argparse
import collections
import csv
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from measuring import run_main

from calibration import calibration_error

SHOWN = 10  # confusions


def table(path):
    """{file name: row as a dict}; ends where the columns are others."""
    with open(path, encoding="utf-8-sig", newline="") as file:  # Excel puts a mark in front
        rows = csv.DictReader(file)
        if not {"file", "character"} <= {*(rows.fieldnames or [])}:
            sys.exit(f"{path}: has no columns file and character, with a comma between them")
        return {Path(row["file"]).name: row for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", help="what demo.py --csv wrote")
    parser.add_argument("labels", help="a CSV with the columns file and character")
    options = parser.parse_args()
    readings, labels = table(options.csv), table(options.labels)
    pairs = [(readings[name], row["character"]) for name, row in labels.items() if name in readings]
    count = len(labels)
    if not count:
        sys.exit(f"{options.labels}: no labels")
    exact = [reading["character"] == label for reading, label in pairs]
    folded = [reading["character"].lower() == label.lower() for reading, label in pairs]
    among = [label in [reading[k] for k in ("character", "second", "third")]
             for reading, label in pairs]  # fmt: skip
    confidences = np.array([float(reading["confidence"]) for reading, _ in pairs])
    print(f"pictures             {count}, of which {count - len(pairs)} were not read")
    print(f"exact                {100 * sum(exact) / count:6.2f} %")
    print(f"case ignored         {100 * sum(folded) / count:6.2f} %")
    print(f"among the three best {100 * sum(among) / count:6.2f} %")
    print(f"calibration error    {100 * calibration_error(confidences, np.array(exact)):6.2f} %")
    wrong = collections.Counter(
        f"{label} read as {reading['character']}"
        for (reading, label), right in zip(pairs, exact)
        if not right
    )
    print("most frequent confusions:")
    for confusion, times in wrong.most_common(SHOWN):
        print(f"  {times:3}  {confusion}")


if __name__ == "__main__":
    run_main(main)
