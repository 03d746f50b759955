"""The mean of several trainings' weights: what each of them learned, in one network.

    python tests/benchmarks/average.py WEIGHTS WEIGHTS ... --out MEAN --data_dir DATA

Made for weights that went on from one another. Trained on for something new, a network loses some
of what it could; halfway between before and after it often has nearly both (Wortsman et al.,
"Robust fine-tuning of zero-shot models", CVPR 2022). The mean network has other means and variances
inside than either; so those of its batch normalisation are taken anew, from training images
(Izmailov et al., "Averaging weights leads to wider optima and better generalization", UAI 2018),
augmented as for the first of the weights. The temperature is fitted on the validation images; the
prior is the first one's.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
from measuring import run_main
from validate import outputs_of

import augmentation
import batching
import data
import resume
import weights
from calibration import fit_temperature
from mytrain import DATA_DIR, ERRORS

BATCHES, BATCH_SIZE = 200, 128  # for the batch normalisation
SEED = 1


def averaged(networks):
    """The first of the networks, with the mean of the weights of all."""
    network = networks[0]
    network.set_weights(
        [
            np.mean(same, axis=0)
            for same in zip(*(each.get_weights() for each in networks), strict=True)
        ]
    )
    return network


def renormalise(network, images, amounts):
    """Batch normalisation's means and variances: the means of those of the batches.

    Args:
        network: a `keras.Model`.
        images: uint8 (n, 28, 28, 1), training images.
        amounts: dict, for `augmentation.augment`.
    """
    layers = [layer for layer in network.layers if hasattr(layer, "moving_mean")]
    order = np.random.default_rng(SEED).permutation(len(images))
    for step in range(BATCHES):
        chosen = order[np.arange(step * BATCH_SIZE, (step + 1) * BATCH_SIZE) % len(order)]
        batch = keras.ops.convert_to_tensor(images[chosen].astype(np.float32) / 255)
        for layer in layers:
            layer.momentum = step / (step + 1)  # so each batch counts alike
        network(augmentation.augment(batch, (SEED, step), **amounts), training=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, nargs="+", help=".weights.h5 files of one network")
    parser.add_argument("--out", type=Path, required=True, help="a new .weights.h5 file")
    parser.add_argument("--dataset", default="handwritten62")
    parser.add_argument("--data_dir", type=Path, default=DATA_DIR)
    options = parser.parse_args()
    sidecar = options.out.with_name(options.out.name.removesuffix(".weights.h5") + ".json")
    if options.out == sidecar or options.out.exists() or sidecar.exists():
        parser.error(f"{options.out}: not a new .weights.h5 file")
    options.out.parent.mkdir(parents=True, exist_ok=True)  # not after minutes of work
    abouts = [weights.read_sidecar(path) for path in options.weights]
    if any(each[key] != abouts[0][key] for each in abouts for key in ("model", "characters")):
        parser.error("weights of different networks or classes have no mean")
    about = abouts[0] | {"temperature": 1.0, "logit_adjustment": None}
    network = averaged([weights.load_network(path, about) for path in options.weights])
    loaded = data.load(options.dataset, options.data_dir)
    outputs = outputs_of(loaded, about["characters"])
    renormalise(network, loaded.train[0], about["settings"]["recipe"][0])

    raw = network.predict(batching.evaluation_batches(loaded.validation, 256), verbose=0)
    labels = outputs[loaded.validation[1]]
    about |= {
        "mean_of": [
            {key: each.get(key) for key in ("sha256", "settings", "epoch")} for each in abouts
        ],
        "temperature": round(fit_temperature(raw, labels), 4),
        "logit_adjustment": abouts[0].get("logit_adjustment"),
    }
    accuracy = float((raw.argmax(axis=1) == labels).mean())
    about.pop("epoch", None)
    about.pop("val_accuracy", None)
    if loaded.name == about.get("dataset"):  # else it is not that of its own validation data
        about |= {"val_accuracy": accuracy, "val_images": len(labels)}
    network.save_weights(options.out)
    about["sha256"] = resume.file_digest(options.out)
    sidecar.write_text(json.dumps(about, indent=1, ensure_ascii=False), "utf-8")
    print(f"{options.out}: {accuracy:.2%} of {len(labels)} validation images")


if __name__ == "__main__":
    run_main(main, ERRORS)
