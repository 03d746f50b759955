"""A checkpoint file to a network, safely: which file, is it sound, what do its outputs mean.

    network = get_model()                       # the newest training's, else the shipped one
    network = get_model("best.weights.h5")      # with best.json beside it

A weights file can come from a stranger: its size, its description and its structure are checked
before anything is loaded, only plain arrays are, and whatever is wrong is a WeightsError of one
line. Keras is imported when a network is built, not before.
"""

import argparse
import contextlib
import gc
import hashlib
import itertools
import json
import os
import stat
import warnings
from pathlib import Path

import numpy as np

from quiet import heeding_signals, quiet_libraries

# <model>/best.weights.h5 of the user's trainings, shipped/*.weights.h5
CHECKPOINTS = Path(__file__).resolve().parent / "checkpoints"

# What a weights file may be at most
MAX_WEIGHTS_BYTES = 512 * 2**20
MAX_SIDECAR_BYTES = 2**20
MAX_CLASSES, MAX_NAME = 4096, 40  # characters of a class's name
MAX_OBJECTS = 10_000  # groups and arrays in the HDF5 file
FEW_IMAGES = 500  # for validation; with fewer their number is told


class WeightsError(Exception):
    """Why there are no usable weights: one line."""


def get_model(weights=None):
    """The network with its weights, ready for `predict`.

    Args:
        weights: path of a `.weights.h5` file with its `.json` beside it; None: the newest.

    Returns:
        A `keras.Model`, float32 (n, 28, 28, 1) -> (n, classes), whose attribute `characters` is a
        tuple: what each class stands for, "" for an output that is never used.

    Raises:
        WeightsError: there are none, or they cannot be used.
    """
    weights = find_weights() if weights is None else Path(weights)
    about = read_sidecar(weights)
    with quiet_libraries(gpu=True):
        return load_network(weights, about)


# ---------------------------------------------------------------------- which file, and is it sound
def find_weights():
    """The best weights of the user's newest training, the shipped ones where there is none."""
    try:
        # ._x.json is none: what a Mac notes of x.json on another's disk.
        found = [path for path in CHECKPOINTS.glob("*/[!.]*.json") if path.is_file()]
        shipped = [path for path in found if path.parent.name == "shipped"]
        trained = [path for path in found if path.name == "best.json" and path not in shipped]
        newest = max(trained or shipped, key=lambda path: path.stat().st_mtime_ns, default=None)
    except OSError as error:  # no permission; or a training has just moved it aside
        raise WeightsError(f"{shown(error.filename)}: {error.strerror}") from None
    if newest is None:
        raise WeightsError(
            f"no weights in {shown(CHECKPOINTS)}: train with 'python mytrain.py', "
            "or get the shipped ones back with 'git checkout checkpoints/shipped'"
        )
    return newest.with_suffix(".weights.h5")


def read_sidecar(weights):
    """The description beside a weights file, as a dict, checked; nothing is loaded yet."""
    name = shown(weights)
    if not weights.name.endswith(".weights.h5"):
        raise WeightsError(
            f"{name}: only '.weights.h5' files of Keras's save_weights are loaded, "
            "never whole models or pickles, which can run code"
        )
    sidecar = weights.with_name(weights.name.removesuffix(".weights.h5") + ".json")
    _check_file(weights, MAX_WEIGHTS_BYTES)
    _check_file(sidecar, MAX_SIDECAR_BYTES)
    try:
        about = json.loads(sidecar.read_text("utf-8"))
        _check_sidecar(about)
        if about.get("sha256") is not None:
            with weights.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != about["sha256"]:
                    raise WeightsError(f"{name}: damaged, or not the file that its .json describes")
    except (OSError, ValueError, RecursionError) as error:
        reason = printable(str(error))[:200] or type(error).__name__
        raise WeightsError(f"{shown(sidecar)}: {reason}") from None
    return about


def _check_file(path, max_bytes):
    """WeightsError unless it is a regular file of 1 to max_bytes; a fifo would block."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "missing" if missing else getattr(error, "strerror", None) or error
        what = ": it says what the outputs mean" if missing and path.suffix == ".json" else ""
        raise WeightsError(f"{shown(path)}: {reason}{what}") from None
    if not stat.S_ISREG(status.st_mode):
        raise WeightsError(f"{shown(path)}: not a file")
    if not 0 < status.st_size <= max_bytes:
        raise WeightsError(f"{shown(path)}: {status.st_size} bytes cannot be right")


def are_class_names(names):
    """Whether a list is one of classes' names; "" is an output that is not used."""
    fit = (isinstance(name, str) and len(name) <= MAX_NAME and name.isprintable() for name in names)
    return 1 <= len(names) <= MAX_CLASSES and all(fit) and any(names)


def _check_sidecar(about):
    """ValueError unless types and lengths are what `resume.py` writes."""

    def is_number(value, low, high):
        return isinstance(value, int | float) and low <= value <= high  # NaN is not

    if not isinstance(about, dict):
        raise ValueError("not a JSON object")
    characters, shape = about.get("characters"), about.get("input_shape")
    adjustment, images = about.get("logit_adjustment"), about.get("val_images", 1)
    checks = {
        "model": isinstance(about.get("model"), str),
        "input_shape": isinstance(shape, list) and all(type(side) is int for side in shape),
        "characters": isinstance(characters, list) and are_class_names(characters),
        "dataset": isinstance(about.get("dataset", ""), str),
        "val_accuracy": is_number(about.get("val_accuracy", 0), 0, 1),
        "val_images": type(images) is int and images > 0,
        "temperature": is_number(about.get("temperature", 1), 0.01, 100),
        "logit_adjustment": adjustment is None
        or isinstance(characters, list)
        and isinstance(adjustment, list)
        and len(adjustment) == len(characters)
        and all(is_number(value, -30, 30) for value in adjustment),
        "sha256": isinstance(about.get("sha256"), str | None),
    }
    for key, is_right in checks.items():
        if not is_right:
            raise ValueError(f"'{key}' is missing or makes no sense")


def describe(weights, about):
    """The first line: which weights, and what they are."""
    data = f" trained on {about['dataset'][:60]}" if about.get("dataset") else ""
    classes = sum(map(bool, about["characters"]))
    accuracy = about.get("val_accuracy")
    images = about.get("val_images", FEW_IMAGES)  # of few, an accuracy says little
    few = images < FEW_IMAGES
    on = counted(images, "validation image") if few else "its validation data"
    scored = "" if accuracy is None else f", {100 * accuracy:.2f} % on {on}"
    said = f"{about['model'][:40]}{data}, {classes} classes{scored}"
    return f"{printable(said)} ({shown(weights)})"


# -------------------------------------------------------------------------------------- the network
def load_network(weights, about):
    """Builds the network that `about` names and fills it, once the file proves to fit."""
    from model import INPUT_SHAPE, MODELS  # here: Keras takes 2 s, which --help need not

    name, characters = shown(weights), tuple(about["characters"])
    if about["model"] not in MODELS:
        known = ", ".join(MODELS)
        model = printable(about["model"][:40])
        raise WeightsError(f"{name}: of a network '{model}', which is none of {known}")
    if tuple(about["input_shape"]) != INPUT_SHAPE:
        raise WeightsError(f"{name}: made for pictures of {about['input_shape']}, not 28x28x1")
    network = filled_network(weights, about["model"], len(characters))

    # The temperature and the unused outputs go into the last layer: softmax(logits / T) for all;
    # and the adjustment to other class frequencies than the training data's: Menon et al.,
    # "Long-tail learning via logit adjustment", ICLR 2021, section 4.1.
    kernel, bias = (
        values / about.get("temperature", 1) for values in network.layers[-1].get_weights()
    )
    bias += about.get("logit_adjustment") or 0
    bias[[not character for character in characters]] = -1e30
    network.layers[-1].set_weights([kernel, bias])
    network.characters = characters
    return network


def filled_network(weights, model, n_classes):
    """Builds a network and puts the weights of a file into it, once the file proves to fit.

    Args:
        weights: path of a `.weights.h5` file.
        model: the network's name, a key of `model.MODELS`.
        n_classes: its number of outputs.

    Raises:
        WeightsError: the file is damaged, or of another network.
    """
    import keras

    from model import INPUT_SHAPE, MODELS

    network, name = MODELS[model](INPUT_SHAPE, n_classes), shown(weights)
    misfit = f"{name}: not the weights of a {model} with {n_classes} classes"
    if _stored_shapes(weights, name) != sorted(tuple(weight.shape) for weight in network.weights):
        raise WeightsError(misfit)
    try:  # a second, uncompiled model of the same layers: an optimizer's state is not looked at
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # says that a layer was left as it was
            keras.Model(network.inputs, network.outputs).load_weights(weights)
    except Exception:  # whatever Keras or HDF5 stumble over in a file made to look right
        raise WeightsError(misfit) from None
    if not all(np.isfinite(values).all() for values in network.get_weights()):
        raise WeightsError(f"{name}: holds values that are not finite")
    return network


def initial_weights(weights, model, characters):
    """What a training begins with: a file's weights, each class's output where the data has it.

    Args:
        weights: path of a `.weights.h5` file with its `.json` beside it.
        model: the network's name, a key of `model.MODELS`.
        characters: the data's classes, list of str; outputs of classes that are not among them go
            to those that the file does not know.

    Returns:
        List of arrays, for the network's `set_weights`.

    Raises:
        WeightsError: the file is damaged, or of another network.
    """
    *values, kernel, bias = filled_network(weights, model, len(characters)).get_weights()
    names = read_sidecar(weights)["characters"]
    known = {c: names.index(c) for c in characters if c in names}
    others = iter(sorted({*range(len(bias))} - {*known.values()}))
    order = [known.pop(c) if c in known else next(others) for c in characters]
    return [*values, kernel[:, order], bias[order]]


def start_network(weights, about):
    """`load_network` for a program that only reads pictures: on the processor, and 0.3 s faster.

    Those 0.3 of 2.5 s are what Python's garbage collector takes to walk, again and again, over the
    objects that TensorFlow's import makes, all of which stay; so it is off meanwhile.
    """
    # A GPU gains nothing here, and TensorFlow would take all of its memory from a training.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    gc.disable()
    try:
        with heeding_signals():
            return load_network(weights, about)
    except (ImportError, RuntimeError, ValueError) as error:
        if not (problem := import_problem(error)):
            raise
        raise WeightsError(problem) from None
    finally:
        gc.freeze()
        gc.enable()


def import_problem(error):
    """What the user has to mend where Keras cannot be imported, for a message; None: nothing."""
    if "DLL" in str(error):  # of TensorFlow's import, on Windows alone
        return (
            "TensorFlow needs a recent Microsoft Visual C++ Redistributable: "
            "winget install Microsoft.VCRedist.2015+.x64"
        )
    if chosen := chosen_backend():  # mistyped, or not installed
        return f"{chosen}: {error}"
    return None


def chosen_backend():
    """Where a Keras backend other than TensorFlow is chosen, for a message; None: nowhere."""
    if "KERAS_BACKEND" in os.environ:
        return f"KERAS_BACKEND={os.environ['KERAS_BACKEND']}"
    file = Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"), "keras.json")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        backend = json.loads(file.read_text("utf-8")).get("backend", "tensorflow")
        if backend != "tensorflow":
            return printable(f'"backend": "{backend}" in {file}')
    return None


def _stored_shapes(weights, name):
    """Shapes of all arrays in the file's layers, sorted; nothing is read but their headers.

    A hostile HDF5 file can point into other files or declare arrays, or compressed chunks, of any
    size. Keras writes plain arrays: all else is refused, and so no more is read than is there.
    """
    import h5py

    shapes, seen = [], itertools.count(1)

    def walk(group, in_layers):
        for key in group:
            if next(seen) > MAX_OBJECTS:
                raise WeightsError(f"{name}: too many parts")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise WeightsError(f"{name}: links elsewhere; refused")
            item = group[key]
            if isinstance(item, h5py.Group):
                walk(item, in_layers or key == "layers")
                continue
            layout = item.id.get_create_plist()
            plain = layout.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
            if not plain or layout.get_external_count():
                raise WeightsError(f"{name}: holds more than plain arrays; refused")
            if in_layers:
                if item.dtype.kind != "f":
                    raise WeightsError(f"{name}: holds more than numbers; refused")
                shapes.append(item.shape)

    try:
        with weights.open("rb") as file:
            if file.read(8) != b"\x89HDF\r\n\x1a\n":
                raise WeightsError(f"{name}: not an HDF5 file")
        with h5py.File(weights, "r") as file:
            walk(file, False)
    except WeightsError:
        raise
    except Exception:  # h5py has many: OSError, KeyError, RuntimeError, RecursionError, ...
        raise WeightsError(f"{name}: a damaged HDF5 file") from None
    return sorted(shapes)


# ------------------------------------------------------------------------------------ for messages
def printable(text):
    """The text on one line, with control characters and what cannot be printed escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number, what):
    """1 epoch, 2 epochs."""
    return f"{number} {what}{'s' * (number != 1)}"


def user_path(text):
    """A path that the user typed; the shell leaves the ~ in `--option=~/x` to the program."""
    if not text:  # of a variable that is not set: Path would make the working directory of it
        raise argparse.ArgumentTypeError("the name is missing")
    return Path(os.path.expanduser(text))


def relative(path):
    """The path seen from the working directory where it lies below it."""
    with contextlib.suppress(ValueError, OSError):
        return Path(os.path.abspath(path)).relative_to(Path.cwd())
    return path


def shown(path):
    """The path for a message: short, on one line."""
    return printable(str(relative(path)))
