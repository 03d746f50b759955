"""What each part of the recipe brings: recipes that differ in one part.

    python tests/benchmarks/ablation.py --out FOLDER --epochs 2 --steps_per_epoch 469

Starts from the ancestor's recipe (Adam at a constant 1e-3, no augmentation) and adds mytrain.py's
parts one after the other; each line is one recipe over all seeds, by the validation accuracy after
the last epoch. The test split is left alone, unless --test asks for it: for the recipes named by
--only, once they are chosen. Runs stay in --out, each length and precision by itself; started
again, it goes on where it stopped.

Whether bfloat16 costs accuracy: the whole recipe again, with --precision float32 --only "label
smoothing".
"""

import argparse
import contextlib
import functools
import statistics
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
from measuring import at_least, run_main

import data
import devices
import mytrain
import recipe
import resume

AFFINE = ("rotation", "shear", "scale", "shift")
RECIPES = {  # each has all parts of those above it
    "ancestor": (),
    "warm-up and cosine": ("schedule",),
    "weight average": ("average",),
    "weight decay": ("weight_decay",),
    "affine augmentation": AFFINE,
    "elastic augmentation": ("elastic",),
    "stroke width": ("stroke",),
    "blur and contrast": ("blur", "contrast"),
    "label smoothing": ("smoothing",),
}


def parts_of(name):
    """All parts of a recipe: its own and those of the ones before it."""
    names = list(RECIPES)
    return {part for earlier in names[: names.index(name) + 1] for part in RECIPES[earlier]}


def compiled_with(parts):
    """`recipe.compile_network` without the parts that a recipe does not have."""
    whole = recipe.compile_network

    def compile_network(network, learning_rate, steps, **constants):
        whole(network, learning_rate, steps, **constants)
        # float16 has the optimizer inside one that scales the loss.
        own = getattr(network.optimizer, "inner_optimizer", network.optimizer)
        config = own.get_config()
        if "schedule" not in parts:
            config["learning_rate"] = learning_rate
        config["use_ema"] = "average" in parts
        optimizer = keras.optimizers.AdamW.from_config(config)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        network.compile(
            optimizer,
            loss=network.loss,
            metrics=["accuracy"],
            steps_per_execution=network.steps_per_execution,
        )

    return compile_network


def run(name, seed, options):
    """Trains once, or goes on; returns the finished state."""
    parts = parts_of(name)
    amounts = mytrain.AUGMENTATION
    augmentation = {part: amounts[part] if part in parts else 0.0 for part in amounts}
    length = f"{options.epochs}x{options.steps_per_epoch}-{devices.precision()}-seed-{seed}"
    folder = options.out / options.model / name.replace(" ", "-") / length
    folder.mkdir(parents=True, exist_ok=True)
    before = mytrain.AUGMENTATION, mytrain.RECIPE, recipe.compile_network
    left_out = {"weight_decay", "smoothing"} - parts
    mytrain.RECIPE = mytrain.RECIPE | dict.fromkeys(left_out, 0.0)
    mytrain.AUGMENTATION = augmentation if any(augmentation.values()) else {}
    recipe.compile_network = compiled_with(parts)
    try:
        with open(folder / "log.txt", "a") as log, contextlib.redirect_stdout(log):
            mytrain.train(
                model=options.model,
                dataset=options.dataset,
                data_dir=options.data_dir,
                epochs=options.epochs,
                steps_per_epoch=options.steps_per_epoch,
                checkpoint_dir=folder,
                log_dir=folder / "logs",
                seed=seed,
            )
    finally:
        mytrain.AUGMENTATION, mytrain.RECIPE, recipe.compile_network = before
    return resume.read_state(folder / options.model)


def percent(values):
    spread = f" ± {100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):6.2f}{spread}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", choices=mytrain.MODELS, default="ResNet")
    add("--dataset", default="mnist")
    add("--data_dir", type=Path, default=mytrain.DATA_DIR)
    add("--epochs", type=at_least(1), default=2)
    add("--steps_per_epoch", type=at_least(1), default=469)
    add("--seeds", type=at_least(1), default=3)
    add("--only", nargs="*", choices=RECIPES, default=[*RECIPES])
    add("--precision", help="float32, say, in place of what the processor is made for")
    add("--test", action="store_true", help="also score the test split")
    add("--out", type=Path, required=True, help="folder for the runs")
    options = parser.parse_args()

    if options.precision:
        devices.precision = lambda: options.precision
    load = functools.cache(data.load)
    data.load = lambda *args: load(*args) if options.test else replace(load(*args), test=None)
    if options.test and data.load(options.dataset, options.data_dir).test is None:
        parser.error(f"--test: {options.dataset} has no test split")
    images = options.epochs * options.steps_per_epoch * mytrain.BATCH_SIZE
    print(f"{options.model} on {options.dataset}, {images:,} images a run, {options.seeds} seeds")
    print(f"{'':<24}validation %{'      test %' * options.test}")
    for name in options.only:
        states = [run(name, seed, options) for seed in range(1, options.seeds + 1)]
        line = f"{name:<24}{percent([s.history[-1]['val_accuracy'] for s in states]):<18}"
        if options.test:
            line += percent([s.test["top 1"] for s in states])
        print(line, flush=True)


if __name__ == "__main__":
    run_main(main, mytrain.ERRORS)
