"""How long training takes to the accuracy that the ancestor's recipe reaches.

    python tests/benchmarks/time_to_accuracy.py --out FOLDER          # about 1 hour on 2 cores
    python tests/benchmarks/time_to_accuracy.py --out FOLDER --seed 1 2 3 --steps 352 469 703

The ancestor's recipe: Adam at a constant 1e-3, batches of 128, float32, Keras's own batch
normalisation, a map of single images, cache, shuffle(500); all training images, and the test
images scored after each epoch. Its best test accuracy is the mark. Against it: mytrain.py's
defaults in runs planned for several lengths, one epoch of so many steps each, of which the last 5 %
of the training images are held out. Every run is a process of its own. Its seconds count from the
start of the process to the end of the last step's epoch (for mytrain.py with validation and
checkpoints); without the start-up they count from the end of the first step, which compiles.
Scoring the test images counts for neither.

Finished runs stay in --out; started again, it goes on with those that are missing.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from measuring import ROOT, after_each_step, at_least, child, head, median, run_main, spread, table

BATCH_SIZE = 128
STEPS = [234, 469, 703, 938, 1407, 2345]  # 469 are one pass over MNIST


# ------------------------------------------------------------------------------- what a child does
def train_ancestor(options):
    """Trains as the ancestor did; scores the test images after each epoch."""
    from unittest import mock

    import keras
    import tensorflow as tf
    import tensorflow_datasets as tfds

    import data
    import model

    keras.utils.set_random_seed(options.seed[0])
    info = data._prepare(options.dataset, options.data_dir)
    label = data._label(options.dataset, info)
    image_key, label_key = data._keys(info)

    def scaled(example):
        image = tf.cast(example[image_key], tf.float32) / 255.0
        image = tf.transpose(image, [1, 0, 2]) if info.name == "emnist" else image
        return image, example[label_key]

    train, test = (
        tfds.load(options.dataset, split=split, data_dir=options.data_dir).map(scaled).cache()
        for split in ("train", "test")
    )
    train, test = train.shuffle(500).batch(BATCH_SIZE), test.batch(BATCH_SIZE)
    with mock.patch.object(model, "BatchNormalization", keras.layers.BatchNormalization):
        network = model.ResNet_inference(n_classes=label.num_classes)
    images, epochs, clock = info.splits["train"].num_examples, [], Clock(options.began)
    noting = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: clock.step_done()
    )
    for epoch in range(1, options.baseline_epochs + 1):
        network.fit(train, shuffle=False, verbose=0, callbacks=[noting])  # it is shuffled
        clock.stop()
        accuracy = network.evaluate(test, verbose=0, return_dict=True)["accuracy"]
        epochs.append(clock.noted() | {"accuracy": accuracy, "images": epoch * images})
        clock.go_on()
    return {"epochs": epochs}


def train_ours(options):
    """Trains as mytrain.py does, with its defaults, for so many steps."""
    import mytrain
    import resume

    clock, test, (steps,) = Clock(options.began), mytrain.evaluation.score_best, options.steps
    folder = options.out / "run"
    shutil.rmtree(folder, ignore_errors=True)  # a run cut short has no time
    after_each_step(lambda batch: clock.step_done())

    def timed_test(*args):
        clock.stop()
        return test(*args)

    mytrain.evaluation.score_best = timed_test
    code = mytrain.train(
        dataset=options.dataset,
        data_dir=options.data_dir,
        epochs=1,
        steps_per_epoch=steps,
        checkpoint_dir=folder,
        log_dir=folder / "logs",
        seed=options.seed[0],
    )
    assert code == 0, code
    accuracy = resume.read_state(folder / mytrain.MODEL).test["top 1"]
    shutil.rmtree(folder)
    return clock.noted() | {"accuracy": accuracy, "images": steps * mytrain.BATCH_SIZE}


class Clock:
    """Seconds since the start of the process but for those between `stop` and `go_on`."""

    def __init__(self, began):
        self.seconds, self.startup, self.since = 0.0, None, began

    def step_done(self):
        if self.startup is None:
            self.startup = time.time() - self.since

    def stop(self):
        self.seconds += time.time() - self.since

    def go_on(self):
        self.since = time.time()

    def noted(self):
        return {"seconds": self.seconds, "startup": self.startup}


# --------------------------------------------------------------------------------------- the runs
def run(options, name, seed, *more):
    """The result of a run: read where it is finished, trained otherwise."""
    folder = options.out / options.dataset.replace("/", "-") / f"{name}-seed-{seed}"
    path = folder / "result.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        line = [sys.executable, __file__, "--child", name, "--out", folder, "--seed", seed]
        line += ["--dataset", options.dataset, "--baseline-epochs", options.baseline_epochs]
        line += ["--data_dir", options.data_dir.resolve()]
        child([*line, *more, "--began", repr(time.time())])
    return json.loads(path.read_text("utf-8"))


def row(name, results):
    """A line of the table: one length of training over all seeds."""
    return [
        name,
        f"{results[0]['images']:,}",
        spread([result["seconds"] for result in results], 0),
        spread([result["seconds"] - result["startup"] for result in results], 0),
        spread([100 * result["accuracy"] for result in results], 2),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", default="mnist")
    add("--data_dir", type=Path, default=ROOT / "tensorflow_datasets")
    add("--baseline-epochs", type=at_least(1), default=10)
    add("--steps", type=at_least(1), nargs="+", default=STEPS, help="lengths of mytrain.py's runs")
    add("--seed", type=at_least(0), nargs="+", default=[1], help="each is a run of every length")
    add("--out", type=Path, required=True, help="folder for the results")
    add("--child", help=argparse.SUPPRESS)
    add("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        train = train_ancestor if options.child.startswith("ancestor") else train_ours
        result = train(options)
        # Whole or not at all: where there is a result, the run is finished.
        part = options.out / "result.part"
        part.write_text(json.dumps(result, indent=1), "utf-8")
        part.replace(options.out / "result.json")
        return

    print(head("tensorflow", "keras", "tensorflow-datasets"))
    print(f"{options.dataset}, seeds {options.seed}; medians (least to most)\n", flush=True)
    baseline, ours = [], {steps: [] for steps in sorted(options.steps)}
    for seed in options.seed:  # each seed's runs together: a slow hour meets both recipes
        baseline.append(run(options, f"ancestor-{options.baseline_epochs}", seed)["epochs"])
        for steps in ours:
            ours[steps].append(run(options, f"steps-{steps}", seed, "--steps", steps))
    rows = [["", "images", "seconds", "without start-up", "test accuracy %"]]
    rows += [row(f"ancestor, epoch {n}", each) for n, each in enumerate(zip(*baseline), 1)]
    rows += [row(f"mytrain.py, {steps} steps", results) for steps, results in ours.items()]
    table(rows)

    best = [max(epochs, key=lambda epoch: epoch["accuracy"]) for epochs in baseline]
    mark = median([epoch["accuracy"] for epoch in best])
    print(f"\nmark: {mark:.2%}, the ancestor's best")
    for steps, results in ours.items():
        if median([result["accuracy"] for result in results]) >= mark:
            with_startup, without = (
                median([r["seconds"] - skipped * r["startup"] for r in best])
                / median([r["seconds"] - skipped * r["startup"] for r in results])
                for skipped in (0, 1)
            )
            print(f"reached by mytrain.py in {steps} steps: {with_startup:.1f} times as fast, ")
            print(f"{without:.1f} times without the start-up")
            return
    print("mytrain.py does not reach it within these lengths")


if __name__ == "__main__":
    run_main(main)
