"""Trains a network to read handwritten characters: EMNIST ByClass, 62 classes.

    python mytrain.py                   # ResNet on EMNIST ByClass; start it again to go on
    python mytrain.py --dataset mnist --steps_per_epoch 469 --epochs 3
    tensorboard --logdir=tblogs         # the curves

Stop it with Ctrl-C at any time; the same command goes on where it stopped.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

IS_PROGRAM = __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
if IS_PROGRAM:  # Ctrl-C during the imports: nothing was begun, nothing is to be said
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from quiet import heeding_signals, quiet_libraries, tell
from weights import import_problem, user_path

try:
    with quiet_libraries(gpu=True):
        import keras
        import tensorflow as tf

        import batching
        import data
        import devices
        import evaluation
        import machines
        import recipe
        import report
        import resume
        import saving
        import weights as weights_file
        from model import INPUT_SHAPE, MODELS
except (ImportError, RuntimeError, ValueError) as error:
    if not (problem := import_problem(error)):
        raise
    tell(problem, stream=sys.stderr)
    sys.exit(1)

HERE = Path(__file__).parent
# Errors whose messages are for the user, without a traceback.
ERRORS = (
    data.DataError,
    devices.DevicesError,
    devices.OutOfMemory,
    resume.ResumeError,
    weights_file.WeightsError,
)

# data
DATASET = "emnist"  # any TFDS name with 28x28x1 images: emnist/balanced, mnist, ...
DATA_DIR = HERE / "tensorflow_datasets"  # where TFDS keeps prepared data
AUGMENTATION = {  # largest changes, each drawn anew for every image; see augmentation.augment
    "rotation": 15.0,  # degrees
    "shear": 0.25,  # columns a row
    "scale": 0.15,  # share of a side
    "shift": 2.0,  # pixels
    "elastic": 0.7,  # pixels, standard deviation
    "stroke": 0.4,  # pixels at each edge
    "blur": 0.5,  # share of a pixel that its neighbours have
    "contrast": 0.3,  # part of the range that becomes black, and white
    "grain": 0.0,  # depth of gaps in strokes; 1.2 to read chalk, crayon, pencil on rough paper
}
FULL_AUGMENTATION = 8  # passes over the data for which it is that strong; shorter runs have less

# model
MODEL = "ResNet"  # LeNet, AlexNet, VGG16 or ResNet
DROPOUT = 0.5  # 0 to below 1

# optimisation
EPOCHS = 20
STEPS_PER_EPOCH = 2000  # at batch 128: 256,000 images, over a third of EMNIST ByClass
BATCH_SIZE = 128
LEARNING_RATE = 1e-3  # the highest, reached after the warm-up; AdamW likes 1e-4 to 3e-3
RECIPE = {  # see recipe.compile_network
    "warm_up": 0.03,  # share of all steps over which the learning rate rises from 0
    "weight_decay": 0.05,  # decoupled (AdamW); biases and normalisation are left alone
    "smoothing": 0.1,  # share of every label that is spread over all classes; 0: none
    "averaged": 0.01,  # share of all steps that the moving average of the weights looks back on
}
# On a GPU, which is done with a step before Python has begun the next: about twice as many images/s
# as with one step at a time (H200, batch 128).
STEPS_AT_ONCE = 10
SEED = 1  # of everything random

# output
CHECKPOINT_DIR = HERE / "checkpoints"
LOG_DIR = HERE / "tblogs"


def main(argv=None):
    """Runs one training as the command line says; returns the exit code."""
    options = _parser().parse_args(argv)
    with contextlib.suppress(AttributeError):  # whatever stands in for the console in a notebook
        # A log file shows each line as it comes, and a path that its encoding has no letters for.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        with machines.ending_together(ERRORS):
            return train(**vars(options))
    except ERRORS as error:
        tell(error, stream=sys.stderr)
        return 1
    except saving.Stopped as stopped:
        signal_number = stopped.signal_number
    except KeyboardInterrupt:
        signal_number = 2
    # Until "Starting in" is told, --fresh has not moved the old run aside.
    except_for = ', without --fresh if it said "Starting in" above' if options.fresh else ""
    tell(f"Stopped. Start the same command again to go on{except_for}.", stream=sys.stderr)
    return 128 + signal_number


def _stop(signal_number, frame):
    raise saving.Stopped(signal_number)


def train(
    model=MODEL,
    weights=None,
    dataset=DATASET,
    data_dir=DATA_DIR,
    epochs=EPOCHS,
    steps_per_epoch=STEPS_PER_EPOCH,
    batch_size=BATCH_SIZE,
    learning_rate=LEARNING_RATE,
    dropout=DROPOUT,
    checkpoint_dir=CHECKPOINT_DIR,
    log_dir=LOG_DIR,
    seed=SEED,
    fresh=False,
):
    """Trains a model on a dataset, or goes on with it, and scores it once on the test split.

    Args: as the options of the same names; see `python mytrain.py --help`.

    Returns:
        0 when done; 1 when the loss was no number, or the last state or best weights are not saved.

    Raises:
        One of ERRORS: with a message for the user.
        ValueError: there is no such model.
        saving.Stopped: after Ctrl-C or another signal to stop, the state saved.
    """
    options = argparse.Namespace(**locals())
    if model not in MODELS:
        raise ValueError(f"model {model!r}: there are {', '.join(MODELS)}")
    with contextlib.ExitStack() as held:
        with heeding_signals():  # TensorFlow may swallow what their handlers raise
            network, loaded, recorder, strategy = _set_up(held, options)
        state, folder = recorder.state, recorder.folder
        try:
            with recorder.catching_signals(), devices.explaining_memory(batch_size, folder):
                _fit(network, loaded, recorder, epochs, strategy.num_replicas_in_sync)
            return machines.from_first(lambda: evaluation.score_best(network, loaded, recorder))
        except saving.NotFinite:
            tell(
                f"\nThe loss is no longer a number, at epoch {state.epoch + 1}, step {state.step}. "
                f"The last good state is kept in {folder}.\n"
                f"Try a lower --learning_rate (now {learning_rate}) with --fresh.",
                stream=sys.stderr,
            )
            return 1


def _set_up(held, options):
    """All that comes before the first step: (network, data.Data, saving.Recorder, strategy).

    The run's folder stays open in `held`, an ExitStack; `options` has the arguments of `train`.
    """
    model, epochs = options.model, options.epochs
    weights = options.weights and Path(options.weights)
    folder, logs = Path(options.checkpoint_dir, model), Path(options.log_dir, model)
    with quiet_libraries(gpu=True):
        machines.join()
    digest = machines.together(lambda: weights and _checked_digest(weights))
    same = {name: value for name, value in vars(options).items() if not name.endswith("_dir")}
    machines.check_options(same | {"weights": digest and digest[:12]})

    def look():
        held.enter_context(resume.open_folder(folder))
        return None if options.fresh else resume.read_state(folder)

    state = machines.from_first(look)  # the others may have other disks
    with quiet_libraries(gpu=True):
        strategy = devices.strategy()
    machines.together(lambda: devices.check_batch_size(options.batch_size, strategy))
    began = state.settings if state else {}
    settings = {
        "model": model,
        "weights": digest or began.get("weights"),
        "dataset": options.dataset,
        "steps_per_epoch": options.steps_per_epoch,
        "batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "dropout": options.dropout,
        "seed": options.seed,
        # Precision follows the hardware; a run goes on as it began.
        "precision": began.get("precision") or machines.from_first(devices.precision),
        "recipe": [AUGMENTATION, FULL_AUGMENTATION, RECIPE],
    }
    if state:  # before the data, which may be long to load
        machines.together(lambda: resume.check_settings(folder, state, settings, epochs))
    loaded = machines.first_then_others(lambda: data.load(options.dataset, options.data_dir))
    settings |= {"data": loaded.name, "data_fingerprint": loaded.fingerprint()}
    names = loaded.characters
    if weights and not state:  # before --fresh moves them aside: they may be the old run's
        given = machines.together(lambda: weights_file.initial_weights(weights, model, names))

    def begin():
        if options.fresh:
            held.close()
            aside = resume.move_aside(folder)
            if weights and not weights.exists():  # they were the old run's
                files, digest = aside.rglob("*.weights.h5"), settings["weights"]
                now = next(path for path in files if resume.file_digest(path) == digest)
                tell(f"--weights is {now} now: name it so to go on.")
            held.enter_context(resume.open_folder(folder))
        return resume.State(
            settings=settings,
            description=_description(model, loaded, settings),
            log_name=report.new_log_name(logs, loaded.name),
            epochs=epochs,
        )

    state = state or machines.from_first(begin)
    machines.together(lambda: resume.check_settings(folder, state, settings, epochs))
    report.print_start(folder, state, epochs)
    state.epochs = epochs
    if machines.is_first() and resume.is_copy(folder, logs / state.log_name, state):
        tell(f"A copy of {state.place[0]}: its curves stay its own, new ones begin here.")
        state.log_name, state.log_sizes = report.new_log_name(logs, loaded.name), {}
    log_folder = logs / state.log_name
    state.place = resume.place(folder, log_folder)
    report.print_settings(loaded, settings, epochs, log_folder)

    network = _network(state, len(names), strategy)
    with strategy.scope():
        if weights and not state.arrays:
            network.set_weights(given)
        kind = saving.Recorder if machines.is_first() else saving.Follower
        recorder = kind(folder, log_folder, state)
        recorder.begin(network)
    return network, loaded, recorder, strategy


def _checked_digest(weights):
    weights_file.read_sidecar(weights)  # refuses what is no sound weights file
    return resume.file_digest(weights)


def _network(state, class_count, strategy):
    """The network that a run trains, compiled, with random weights, on the strategy's devices."""
    settings, steps = state.settings, state.settings["steps_per_epoch"]
    most_at_once = STEPS_AT_ONCE if devices.several_steps_at_once(strategy) else 1
    keras.utils.clear_session()  # layers' names, which the weights file holds, count from 1
    keras.utils.set_random_seed(settings["seed"])
    keras.mixed_precision.set_global_policy(settings["precision"])
    with strategy.scope():
        network = MODELS[settings["model"]](INPUT_SHAPE, class_count, settings["dropout"])
        recipe.compile_network(
            network,
            settings["learning_rate"],
            state.epochs * steps,
            **RECIPE,
            at_once=recipe.steps_at_once(most_at_once, steps, state.step),
        )
    return network


def _fit(network, loaded, recorder, epochs, device_count):
    """Trains epoch by epoch, from where the recorder's state stands."""
    state, settings = recorder.state, recorder.state.settings
    steps, batch_size = settings["steps_per_epoch"], settings["batch_size"]
    validation = batching.validation_batches(
        loaded.validation, batch_size, device_count, machines.share()
    )
    first_step = tf.Variable(0, dtype=tf.int64)
    passes = epochs * steps * batch_size / len(loaded.train[1])
    augmentation = recipe.augmentation(AUGMENTATION, passes, FULL_AUGMENTATION)
    batches = batching.training_batches(
        loaded.train, batch_size, settings["seed"], first_step, augmentation, machines.share()
    )

    def sample(epoch):
        first_step.assign(epoch * steps)
        return next(iter(batches))[0].numpy()

    tensorboard = report.TensorBoard(recorder.log_folder, state, loaded.validation, sample)
    console = report.Console(epochs, steps, batch_size, state)
    best = saving.BestCheckpoint(recorder.folder, state)
    callbacks = [
        # The best epoch's averaged weights, by validation accuracy.
        best,
        # Curves, confusions, samples: all that TensorBoard shows.
        tensorboard,
        # After these, since it takes the averaged weights out of the model again.
        recorder,
        # Last: no line that follows the training comes between "Stopping" and "Stopped".
        console,
    ]
    if not machines.is_first():
        callbacks = [recorder, console]
    for epoch in range(state.epoch, epochs):
        first_step.assign(epoch * steps + state.step)
        network.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1,
            steps_per_epoch=steps - state.step,
            validation_data=validation,
            callbacks=callbacks,
            shuffle=False,  # the batches are in their order already
            verbose=0,
        )
        recorder.epoch_done()
    recorder.failed |= best.failed


def _description(model, loaded, settings):
    """What best.json says of the weights, for whoever loads them."""
    return {
        "model": model,
        "input_shape": list(INPUT_SHAPE),
        "characters": loaded.characters,
        "dataset": loaded.name,
        "val_images": len(loaded.validation[1]),
        "settings": settings,
        "temperature": 1.0,  # fitted when training is done
        "keras": keras.__version__,
    }


def _number(kind, low, high, open_end=False):
    """An argparse type: a number of a kind within bounds."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not (low <= value < high if open_end else low <= value <= high):
            below = "to below" if open_end else "to"
            raise argparse.ArgumentTypeError(
                f"{text!r}: must be {'a whole number' if kind is int else 'a number'}, "
                f"{low} {below} {high}"
            )
        return value

    return parse


def _parser():
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Trains a network to read handwritten characters. Started again, it goes on.",
        epilog="examples:\n"
        "  python mytrain.py                          ResNet on EMNIST ByClass\n"
        "  python mytrain.py --epochs 40              goes on, to 40 epochs in all\n"
        "  python mytrain.py --dataset mnist --epochs 3 --steps_per_epoch 469\n"
        "  python mytrain.py --model LeNet --fresh    anew; the old run is moved aside\n\n"
        "Ctrl-C stops it; the same command goes on where it stopped.",
    )
    count = _number(int, 1, 10**9)

    def add(group, name, kind, default, metavar, text):
        told = default.name + "/" if isinstance(default, Path) else default
        told = "" if default is None else f" (default: {told})"
        group.add_argument(name, type=kind, default=default, metavar=metavar, help=text + told)

    group = parser.add_argument_group("data")
    add(group, "--dataset", str, DATASET, "NAME", "a TFDS name with 28x28x1 images")
    add(group, "--data_dir", user_path, DATA_DIR, "FOLDER", "where prepared data is, or will be")

    group = parser.add_argument_group("network")
    text = f"{', '.join(MODELS)} (default: {MODEL})"
    group.add_argument("--model", choices=MODELS, default=MODEL, metavar="NAME", help=text)
    share = _number(float, 0, 1, open_end=True)
    add(group, "--dropout", share, DROPOUT, "SHARE", "of hidden units")
    text = "begin with this .weights.h5 file, not at random"
    add(group, "--weights", user_path, None, "FILE", text)

    group = parser.add_argument_group("training")
    add(group, "--epochs", count, EPOCHS, "N", "how many in all")
    add(group, "--steps_per_epoch", count, STEPS_PER_EPOCH, "N", "batches an epoch")
    add(
        group, "--batch_size", _number(int, 1, 10**6), BATCH_SIZE, "N", "images a step, on all GPUs"
    )
    text = "the highest, reached after the warm-up"
    add(group, "--learning_rate", _number(float, 1e-8, 10), LEARNING_RATE, "RATE", text)
    add(group, "--seed", _number(int, 0, 2**31 - 1), SEED, "N", "of everything random")

    group = parser.add_argument_group("output")
    add(group, "--checkpoint_dir", user_path, CHECKPOINT_DIR, "FOLDER", "where checkpoints go")
    add(group, "--log_dir", user_path, LOG_DIR, "FOLDER", "where TensorBoard's files go")
    text = "start anew; the old run is moved aside"
    group.add_argument("--fresh", action="store_true", help=text)
    return parser


if IS_PROGRAM:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    for number in saving.stopping_signals()[1:]:  # Ctrl-C is Python's
        signal.signal(number, _stop)
    code = main()
    others = {*threading.enumerate()} - {threading.main_thread()}
    if code > 128 and not all(thread.daemon for thread in others):
        os._exit(code)  # stopped: Python would wait until what they download is there
    sys.exit(code)
