"""What weights do on validation data: accuracy, confidence, and the prior of the classes.

    python tests/benchmarks/validate.py WEIGHTS --dataset handwritten62 --data_dir DATA

Two choices rest on this table. The temperature: its calibration error before and after. The prior:
a network answers as if the classes were as frequent as in its training data. Where a text has other
frequencies, the log of their ratio can be added to its logits (Saerens, Latinne, Decaestecker,
"Adjusting the outputs of a classifier to new a priori probabilities", Neural Computation 2002). The
table does that for digits, from a share as of any ten characters to half, as in EMNIST ByClass,
and counts the errors on the validation data as they are, with all classes weighted alike and with
digits weighted to half. Where there are not both, it is left out.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from measuring import run_main

import batching
import data
import scores
import weights
from calibration import calibration_error, fit_temperature, log_likelihood, with_temperature
from mytrain import DATA_DIR, ERRORS

SHARES = (10 / 62, 0.40, 0.50)  # of digits: classes alike, between, EMNIST ByClass


def outputs_of(loaded, characters):
    """Which of a network's outputs each class of a set is; ends where one is none of them.

    Args:
        loaded: `data.Data`; it may have fewer classes than the network, or others in its order.
        characters: what each output stands for, a list.

    Returns:
        int (classes,); -1 for a class that is never used.
    """
    unknown = [each for each in loaded.characters if each and each not in characters]
    if unknown:
        sys.exit(f"{loaded.name}: the weights do not know its classes {' '.join(unknown)}")
    return np.array([characters.index(each) if each else -1 for each in loaded.characters])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="a .weights.h5 file")
    parser.add_argument("--dataset", default="handwritten62")
    parser.add_argument("--data_dir", type=Path, default=DATA_DIR)
    options = parser.parse_args()
    about = weights.read_sidecar(options.weights)
    as_trained = about | {"temperature": 1.0, "logit_adjustment": None}
    network = weights.load_network(options.weights, as_trained)
    loaded = data.load(options.dataset, options.data_dir)
    outputs, characters = outputs_of(loaded, about["characters"]), np.array(about["characters"])
    batches = batching.evaluation_batches(loaded.validation, 256)
    raw, labels = network.predict(batches, verbose=0), outputs[loaded.validation[1]]
    right = raw.argmax(axis=1) == labels
    print(f"{len(labels)} validation images of {loaded.name}")
    for name, share in scores.figures(raw, labels, characters).items():
        print(f"{name:<14}{share:.2%}")

    fitted = fit_temperature(raw, labels)
    print(f"\n{'temperature':<14}{'calibration error %':>20}{'log likelihood':>16}")
    for temperature in sorted({1.0, round(about.get("temperature", 1.0), 4), round(fitted, 4)}):
        honest = with_temperature(raw, temperature)
        error = calibration_error(honest.max(axis=1), right)
        print(f"{temperature:<14}{100 * error:>20.2f}{log_likelihood(honest, labels):>16.4f}")

    digit = np.isin(characters, list("0123456789"))
    trained = digit[outputs[loaded.train[1]]].mean()
    if not 0 < trained < 1 or len({*digit[labels]}) == 1:
        return  # digits alone, or none: there is nothing to weigh
    honest = with_temperature(raw, fitted)
    print(
        f"\n{'prior: digits':<18}{'as they are':>14}{'classes alike':>14}{'half digits':>14}"
        f"{'digits':>10}{'others':>10}"
    )
    for share in sorted({trained, *SHARES}):
        odds = np.where(digit, share / trained, (1 - share) / (1 - trained))
        adjusted = (honest * odds).argmax(axis=1) == labels
        of_digits, of_others = adjusted[digit[labels]].mean(), adjusted[~digit[labels]].mean()
        name = f"{share:.0%}" + " (as trained)" * bool(share == trained)
        alike = np.mean([adjusted[labels == k].mean() for k in np.unique(labels)])
        figures = (adjusted.mean(), alike, (of_digits + of_others) / 2, of_digits, of_others)
        print(f"{name:<18}" + "".join(f"{figure:>{14 if i < 3 else 10}.2%}"
                                      for i, figure in enumerate(figures)))  # fmt: skip


if __name__ == "__main__":
    run_main(main, ERRORS)
