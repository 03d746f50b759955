"""Reads pictures of handwritten characters: a line, a window and a saved file for each.

    python demo.py                          # assets/*.png
    python demo.py scan.jpg notes/          # these files and folders instead
    python demo.py --draw                   # draw with the mouse and watch it being read

The weights are those of the user's newest training, else the shipped ones; the first line says
which. Other programs import `get_model`, `read_picture`, `to_emnist` and `predict` from here.

A picture `x.jpg` that was read as A is saved as `predictions/A_x.png` beside it. A second run
replaces its own answer to the same picture, and what --csv and --sheet name; nothing else is ever
overwritten or deleted.

Exit codes: 0 all read, 1 something could not be read or saved, 2 bad usage or no usable weights,
130 Ctrl-C.
"""

import signal

IS_PROGRAM = __name__ == "__main__" and signal.getsignal(signal.SIGINT) != signal.SIG_IGN
if IS_PROGRAM:  # Ctrl-C during the imports: nothing was begun, nothing is to be said
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import argparse
import contextlib
import io
import os
import string
import sys
from pathlib import Path

# Before cv2, for which `picture` sets a limit on the size of pictures.
from picture import PictureError, read_picture, to_emnist  # isort: skip

import numpy as np

import answers
import panel
from loading import BATCH, ENDINGS, converted, list_pictures, look
from pad import drawing_pad
from quiet import is_unread, quiet_libraries, tell
from weights import (
    WeightsError,
    describe,
    find_weights,
    get_model,
    printable,
    read_sidecar,
    relative,
    shown,
    start_network,
    user_path,
)

__all__ = ["get_model", "predict", "read_picture", "to_emnist"]  # for other programs

ASSETS = Path(__file__).resolve().parent / "assets"

# Reading
UNSURE_BELOW = 0.5  # confidence; chosen by hand
CHARSETS = {
    "digits": set(string.digits),
    "upper": set(string.ascii_uppercase),
    "lower": set(string.ascii_lowercase),
    "letters": set(string.ascii_letters),
    "all": None,
}


# --------------------------------------------------------------------------------- probabilities
def predict(model, pictures):
    """Reads pictures.

    Args:
        model: from `get_model`.
        pictures: list of pictures as OpenCV reads them: uint8 BGR, (height, width, 3) of any size.

    Returns:
        Probabilities, float32 (n, 62); another number of classes for other weights.

    Raises:
        TypeError: a picture alone, not in a list; the name of a file in place of a picture.
        PictureError: one of them is blank.
        WeightsError: the answers are not finite.
    """
    shape = getattr(pictures, "shape", ())
    if len(shape) == 2 or shape[2:] in ((1,), (3,), (4,)):  # each of its rows would be a picture
        raise TypeError("predict takes a list of pictures: [picture]")
    images = [to_emnist(picture) for picture in pictures]
    return probabilities(model, np.asarray(images, np.float32).reshape(-1, 28, 28, 1))


def probabilities(model, images):
    """Images, float32 (n, 28, 28, 1) -> float32 (n, classes), a batch at a time."""
    import keras

    rows = [np.zeros((0, len(model.characters)), np.float32)]
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        if len(batch) == BATCH or model.predict_function:
            # Compiled, which takes half a second once: then half the time a picture, or less.
            full = np.pad(batch, [(0, BATCH - len(batch)), (0, 0), (0, 0), (0, 0)])
            rows.append(model.predict_on_batch(full)[: len(batch)])
        else:
            rows.append(keras.ops.convert_to_numpy(model(batch, training=False)))
    result = np.concatenate(rows).astype(np.float32)
    check_finite(result)
    return result


def check_finite(probabilities):
    if not np.isfinite(probabilities).all():
        raise WeightsError("the network's answers are not finite: its weights are damaged")


def rank(row, characters, charset="all"):
    """Probabilities (classes,) -> the three best ((character, probability), ...), renormalised."""
    allowed = allowed_classes(characters, charset)
    values = row[allowed].astype(np.float64) + 1e-30  # the sum must not be 0
    values /= values.sum()
    best = np.argsort(-values, kind="stable")[:3]
    return tuple((characters[allowed[i]], float(values[i])) for i in best)


def allowed_classes(characters, charset):
    """The classes that may be the answer; one called "" never may."""
    chosen = CHARSETS[charset]
    return [i for i, c in enumerate(characters) if c and (chosen is None or c in chosen)]


def is_unsure(readings):
    """Whether the best answer is to be doubted; no answer is not."""
    return bool(readings) and readings[0][1] < UNSURE_BELOW


# ------------------------------------------------------------------------------------------ main
def complain(subject, reason):
    """A line on standard error: what is wrong with a file."""
    print(end="", flush=True)  # keeps the order where both go to one place
    name = printable(str(subject)) or "''"  # of a variable that is not set
    tell(f"{name}: {reason}", stream=sys.stderr)


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="demo.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Reads pictures of single handwritten characters: prints, shows and saves the\n"
        "answers.",
        epilog="examples:\n"
        "  python demo.py                        all of assets/*.png, one window each\n"
        "  python demo.py scan.jpg notes/        a file and all pictures of a folder\n"
        "  python demo.py notes --no-window --csv notes.csv\n"
        "  python demo.py sums --charset digits  when you know that there are only digits\n"
        "  python demo.py --draw                 draw with the mouse\n\n"
        "keys in a window: any for the next, Backspace for the one before, s saves what\n"
        "is shown, q or Esc ends.",
    )
    text = "pictures of any format that OpenCV reads, and folders of them (default: assets/*.png)"
    parser.add_argument("pictures", nargs="*", metavar="FILE_OR_FOLDER", help=text)
    add = parser.add_argument_group("reading").add_argument
    text = "a .weights.h5 file, its .json beside it (default: newest in checkpoints/, or shipped)"
    add("--weights", type=user_path, metavar="FILE", help=text)
    text = "what the answer may be: %(choices)s (default: %(default)s)"
    add("--charset", choices=CHARSETS, default="all", metavar="NAME", help=text)
    add("--draw", action="store_true", help="draw in a window; s saves the drawing into assets/")
    add = parser.add_argument_group("output").add_argument
    add("--no-window", action="store_true", help="open no windows")
    text = "write file, character, confidence, second, third, note of all that were read; to "
    text += "standard output for -, all else then goes to standard error"
    add("--csv", type=os.path.expanduser, metavar="FILE", help=text)
    text = "write all that were read and their answers as one picture"
    add("--sheet", type=os.path.expanduser, metavar="FILE.png", help=text)
    argv = sys.argv[1:] if argv is None else argv
    # All behind `--` are files; parse_intermixed_args forgets that in its second pass.
    end = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_intermixed_args(argv[:end])  # `x.png --no-window y.png`
    options.pictures += argv[end + 1 :]
    if options.csv == "":
        parser.error("--csv: the name of a file is missing")
    if options.draw and (options.pictures or options.csv or options.sheet or options.no_window):
        parser.error("--draw goes with --weights and --charset only")
    if options.sheet is not None and not options.sheet.lower().endswith(".png"):
        parser.error("--sheet: the file's name must end in .png")
    if options.sheet and options.csv:
        files = [os.path.realpath(path).casefold() for path in (options.csv, options.sheet)]
        if files[0] == files[1]:
            parser.error("--csv and --sheet: one file cannot be both")
    return options


def main(argv=None):
    try:
        options = parse(argv)
        for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter must not stop us
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        weights = options.weights or find_weights()
        about = read_sidecar(weights)
        if not allowed_classes(about["characters"], options.charset):
            raise WeightsError(f"{shown(weights)}: knows no characters of '{options.charset}'")
        with prints_on_stderr() if options.csv == "-" else contextlib.nullcontext():
            print(describe(weights, about), flush=True)
            code = (draw if options.draw else read)(options, weights, about)
            print(end="", flush=True)
            return code
    except WeightsError as error:
        tell(error, stream=sys.stderr)
        return 2
    except KeyboardInterrupt:
        tell("stopped", stream=sys.stderr)
        return 130
    except OSError as error:  # standard output's: its disk is full, say
        if not is_unread(error):  # `demo.py | head` has seen enough
            tell(f"standard output: {error.strerror}", stream=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextlib.contextmanager
def prints_on_stderr():
    """Within it all lines go to standard error, while libraries are kept from it too."""
    encoding = sys.stderr.encoding
    with os.fdopen(os.dup(2), "w", encoding=encoding, errors="backslashreplace") as console:
        with contextlib.redirect_stdout(console):
            yield


def read(options, weights, about):
    """Reads all pictures: lines, saved answers, files and windows. Returns the exit code."""
    entries = list_pictures(options.pictures, str(relative(ASSETS)))
    for path in filter(None, (options.csv, options.sheet)):
        try:  # found out before the work, not after it
            answers.check_output(path, ENDINGS)
        except OSError as error:
            complain(path, f"cannot be written: {error.strerror}")
            return 2
    failures = read_all(entries, weights, about, options.charset)
    good = [entry for entry in entries if entry.readings]
    unsure = sum(is_unsure(entry.readings) for entry in good)
    print(f"{len(good)} read, {unsure} unsure, {len(entries) - len(good)} not read", flush=True)
    outputs = (
        (options.csv, lambda: table(good)),
        (options.sheet, lambda: answers.as_overview(sheet(good), options.sheet)),
    )
    for path, content in outputs:
        try:
            if path:
                answers.write_whole(path, content())
        except OSError as error:
            complain(path, f"not written: {error.strerror}")
            failures += 1
    if good and not options.no_window:
        show(good)
    return 1 if failures or len(good) < len(entries) else 0


def read_all(entries, weights, about, charset):
    """Gives all entries their readings, prints and saves them; the number that was not saved."""
    width = min(48, max((len(printable(entry.file)) for entry in entries), default=0))
    folders, failures = {}, 0
    with quiet_libraries(gpu=False), converted(entries) as batches:  # while TensorFlow starts
        model = start_network(weights, about)
        for batch in batches:
            good = [entry for entry in batch if entry.error is None]
            images = np.asarray([entry.image for entry in good], np.float32)
            rows = probabilities(model, images.reshape(-1, 28, 28, 1))
            for entry, row in zip(good, rows, strict=True):
                entry.readings = rank(row, model.characters, charset)
            for entry in batch:
                print_line(entry, width)
            print(end="", flush=True)
            for path, reason in answers.save_answers(good, folders):
                complain(shown(path), reason)
                failures += 1
            for entry in batch:
                entry.image, entry.content = None, b""
    return failures


def print_line(entry, width):
    """file, character, confidence, the two runners-up, what else is to be known."""
    if entry.error is not None:
        complain(entry.file, entry.error)
        return
    said = "   ".join(f"{c}  {panel.percent(p):>7}" for c, p in entry.readings)
    print(f"{printable(entry.file):<{width}}   {said}   {note(entry)}".rstrip())


def note(entry):
    """What is to be known of a reading, besides itself: "unsure, several characters?", often ""."""
    return ", ".join(["unsure"] * is_unsure(entry.readings) + [*entry.notes])


def reread(entry):
    """(picture, image, readings, name, unsure) of an entry, from its file: pixels are not kept."""
    try:
        picture, image, _, _ = look(entry.file)
    except PictureError:  # deleted since
        picture, image = np.full((1, 1, 3), 255, np.uint8), None
    return picture, image, entry.readings, entry.file, is_unsure(entry.readings)


def table(entries):
    """The --csv file as bytes."""
    return answers.csv_table((entry.file, entry.readings, note(entry)) for entry in entries)


def sheet(entries):
    """The --sheet file as bytes."""
    return answers.png(panel.contact_sheet(map(reread, entries)))


def show(entries):
    """One window after the other, where there is a display."""
    if not panel.has_display():
        print("no display: the windows are left out")
        return

    def panel_at(index):
        picture, image, readings, name, unsure = reread(entries[index])
        title = "   ".join([name, *entries[index].notes])
        return panel.draw_panel(picture, image, readings, title, unsure=unsure)

    def save_path(index):
        file = Path(entries[index].file)
        return file.parent / answers.FOLDER / f"{answers.fitting('panel_' + file.stem)}.png"

    panel.show(panel_at, len(entries), save_path)


def draw(options, weights, about):
    """The drawing pad. Returns the exit code."""
    if not panel.has_display():
        tell("no display: --draw needs one", stream=sys.stderr)
        return 1
    with quiet_libraries(gpu=False):
        model = start_network(weights, about)
        model.predict_on_batch(np.zeros((1, 28, 28, 1), np.float32))  # compiles: 4 ms, not 60

    def read_drawing(picture):
        try:
            image = to_emnist(picture)
        except PictureError:
            return None, (), False
        row = model.predict_on_batch(image[None, :, :, None])[0]
        check_finite(row)
        readings = rank(row, model.characters, options.charset)
        return image, readings, is_unsure(readings)

    drawing_pad(read_drawing, lambda picture: shown(answers.save_drawing(ASSETS, picture)))
    return 0


if IS_PROGRAM:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        if IS_PROGRAM:  # all is written, all is said: Ctrl-C once more just ends it
            signal.signal(signal.SIGINT, signal.SIG_DFL)
