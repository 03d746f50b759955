"""Where a run stands, kept on disk so that it can be stopped anywhere and lose nothing.

A run's folder, checkpoints/<model>/, holds
    best.weights.h5 + best.json        the best weights so far and what their outputs mean
    state-<position>.npz + .json       where training stands; the newest and the one before it
    lock                               held by the process that trains here

The rules:
 1. A state is everything the next step depends on: weights, optimizer, dropout's seeds, running
    metrics, epoch, step, history, best score, log folder. The order of the data and its
    augmentation are functions of (seed, step), so they need no state.
 2. Every epoch starts by putting a state into the model, whether the state comes from disk or from
    the epoch before: going on after a stop is the same code as going on after an epoch.
 3. A state is written at the start, after every epoch, every few minutes between, and on
    Ctrl-C, SIGTERM or SIGHUP. Its .npz is written first, beside its final name, flushed and
    renamed; then its .json, which holds the checksum of both. A state without a whole .json does
    not exist.
 4. New best weights wait under another name until the state that knows them is written, then take
    the old ones' place, and best.json follows; a start after a kill in between completes that.
 5. TensorBoard's files are cut back, at a start, to the length they had when the state was
    written: what is trained again is written again, once.
 6. A damaged state is named and the one before it is used. With none left, the run is refused;
    --fresh moves everything aside and starts anew.

What a training does to keep to them is in saving.py.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

from quiet import tell

KEPT_STATES = 2  # the newest and the one before it
BEST = "best.weights.h5"
NEW = "best.new.weights.h5"  # new best weights while they are written
WAITING = "best.waiting.weights.h5"  # and until a state knows them


class ResumeError(Exception):
    """The run cannot go on; the message says why and what to do."""


@dataclass
class State:
    """Where a run stands. `arrays` goes into the .npz, everything else into the .json."""

    settings: dict  # what must stay the same from start to end
    description: dict  # what the weights are: goes into best.json, for whoever loads them
    log_name: str  # name of the log folder: the data and when the run began
    epochs: int  # planned
    epoch: int = 0  # epochs completed
    step: int = 0  # steps completed in the epoch after those
    history: list = field(default_factory=list)  # one dict of metrics an epoch
    best: dict | None = None  # epoch, val_accuracy, sha256 of the weights
    test: dict | None = None  # metrics on the test split, once scored
    seconds: float = 0.0  # spent training
    log_sizes: dict = field(default_factory=dict)  # TensorBoard file -> bytes
    place: list | None = None  # this folder and the log folder, when it was written
    arrays: list | None = None  # every variable's value, in saving._variables' order

    def take_best(self, epoch, val_accuracy, sha256):
        """Notes other best weights; what was found out of those before does not hold for them."""
        self.best = {"epoch": epoch, "val_accuracy": val_accuracy, "sha256": sha256}
        self.description["temperature"], self.test = 1.0, None


def open_folder(folder):
    """Takes a run's folder for this process alone.

    Args:
        folder: the run's folder; made when missing.

    Returns:
        A context manager that holds the lock.

    Raises:
        ResumeError: another process trains in this folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return contextlib.closing(_lock(folder))
    except OSError as error:
        raise ResumeError(f"{folder}: cannot be used for checkpoints: {error.strerror}") from error


def move_aside(folder):
    """Renames a run's folder, which must not be open; returns the new one.

    One that holds nothing but a lock stays: None.
    """
    if not any(folder.glob("*.*")):
        return None
    old = folder.with_name(f"{folder.name}-until-{datetime.now():%Y-%m-%d_%H-%M-%S}")
    try:
        folder.rename(old)
    except OSError as error:
        raise ResumeError(f"{folder}: cannot be moved aside: {error.strerror}") from error
    tell(f"Moved the old run to {old}")
    return old


def _lock(folder):
    """An open file that this process alone holds; the system lets go of it when we die."""
    file = open(folder / "lock", "a+", encoding="ascii")
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(1000)  # a byte beyond the process id, which others must be able to read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        raise ResumeError(
            f"{folder}: another training (process {owner}) is using this folder; wait for it, "
            "stop it, or name another --checkpoint_dir"
        ) from None
    except OSError:  # some network file systems
        tell(f"{folder}: no locks on this file system; see that no other training uses it")
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def read_state(folder):
    """The newest whole state in a folder, or None where no run was ever begun.

    Damaged states are named, one line each; files left over from an unfinished write are removed.

    Raises:
        ResumeError: there are states, but none is whole, or one cannot be read at all.
    """
    for leftover in [*folder.glob("*.part"), *folder.glob(NEW)]:
        _remove(leftover)
    paths = sorted(folder.glob("state-*.json"))
    for path in reversed(paths):
        try:
            state = _read_state(path)
        except _DAMAGE as error:
            tell(f"{path}: damaged ({error}); the state before it is tried")
            _set_aside(path)
            _set_aside(path.with_suffix(".npz"))
            continue
        except OSError as error:  # may be over in a minute: nothing is renamed for it
            raise ResumeError(f"{path}: cannot be read: {error.strerror}") from error
        for arrays in folder.glob("state-*.npz"):  # whose .json is not there, yet or any more
            if arrays.with_suffix(".json") not in paths:
                _remove(arrays)
        _complete_best(folder, state)
        return state
    begun = [path for path in folder.glob("state-*") if path.name != f"{_state_name(0)}.npz"]
    if begun or (folder / BEST).exists():
        raise ResumeError(
            f"{folder}: holds a run, but no whole state to go on from; --fresh moves it aside and "
            "starts anew"
        )
    _remove(folder / WAITING)  # of a run whose first state never reached the disk
    return None


# What reading a truncated, altered or half-deleted state can raise; its .npz has a checksum.
_DAMAGE = FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RecursionError


def _read_state(path):
    content = json.loads(path.read_text("utf-8"))
    checksum = content.pop("checksum")
    if _digest(content) != checksum:
        raise ValueError("its checksum does not fit")
    arrays_sha256 = content.pop("arrays_sha256")
    arrays_path = path.with_suffix(".npz")
    if file_digest(arrays_path) != arrays_sha256:
        raise ValueError(f"{arrays_path.name} does not fit its checksum")
    with np.load(arrays_path, allow_pickle=False) as arrays:
        return State(**content, arrays=[arrays[f"arr_{i}"] for i in range(len(arrays.files))])


def _remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ResumeError(f"{path}: cannot be removed: {error.strerror}") from error


def _set_aside(path):
    """Renames a damaged file, so that it no longer counts and is not written over."""
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".damaged"))


def write_state(folder, state):
    """Writes a state; what was there before stays whole until this one is."""
    content = asdict(state)
    arrays = content.pop("arrays")
    path = folder / f"{_state_name(_position(state))}.json"
    _write(path.with_suffix(".npz"), lambda file: np.savez(file, *arrays))
    content["arrays_sha256"] = file_digest(path.with_suffix(".npz"))
    content["checksum"] = _digest(content)
    text = json.dumps(content, indent=1)
    _write(path, lambda file: file.write(text.encode()))
    for old in sorted(folder.glob("state-*.json"))[:-KEPT_STATES]:
        old.unlink()
        old.with_suffix(".npz").unlink(missing_ok=True)


def _state_name(position):
    return f"state-{position:09d}"


def _position(state):
    """A number by which states sort: it grows by 1 a step, and by 1 more at an epoch's end."""
    return state.epoch * (state.settings["steps_per_epoch"] + 1) + state.step


def _complete_best(folder, state):
    """Brings the best weights in line with the state; see rule 4."""
    waiting, best = folder / WAITING, folder / BEST
    wanted = state.best["sha256"] if state.best else None
    try:
        if waiting.exists():
            if file_digest(waiting) == wanted:
                os.replace(waiting, best)
            else:
                waiting.unlink()
        if wanted is None:
            return
        try:
            found, described = file_digest(best), _read_description(folder)
        except FileNotFoundError:
            tell(f"{best}: gone; the next epoch's weights will take its place")
            state.best = None
            return
        if found == wanted:
            if described != _description(state):  # a kill came between the two
                describe_best(folder, state)
        elif (  # of a later state, lost since
            found == described.get("sha256")
            and described.get("settings") == state.settings
            and "epoch" in described  # the mean of several has none
        ):
            state.take_best(*(described[key] for key in ("epoch", "val_accuracy", "sha256")))
        else:
            tell(f"{best}: damaged, or not this run's; the next epoch's will take its place")
            _set_aside(best)
            state.best = None
    except OSError as error:
        raise ResumeError(f"{best}: cannot be used: {error.strerror}") from error


def _read_description(folder):
    """What best.json says, as a dict; {} where it is missing or damaged."""
    try:
        return dict(json.loads((folder / "best.json").read_text("utf-8")))
    except _DAMAGE:
        return {}


def _description(state):
    """What best.json should say, as a dict."""
    return {**state.description, **state.best}


def describe_best(folder, state):
    """Writes beside the best weights what they are."""
    text = json.dumps(_description(state), indent=1, ensure_ascii=False)
    _write(folder / "best.json", lambda file: file.write(text.encode()))


def _write(path, write):
    """Writes a file beside its name, flushes it to the disk, then gives it its name."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            write(file)
        flush(part)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if os.name != "nt":  # the name itself must reach the disk too; Windows has no call for it
        with contextlib.suppress(OSError):  # nor have some network file systems
            flush(path.parent, os.O_RDONLY)


def flush(path, mode=os.O_RDWR):
    """Waits until a file is on the disk, so that a power cut cannot leave it empty."""
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _digest(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_settings(folder, state, settings, epochs):
    """Refuses to go on with settings that the run did not begin with, or with fewer epochs.

    Raises:
        ResumeError: names the first that differs, with both values.
    """
    pairs = [(name, state.settings.get(name), now) for name, now in settings.items()]
    if epochs < state.epochs:  # more are welcome
        pairs.append(("epochs", state.epochs, epochs))
    for name, then, now in pairs:
        if name == "dataset" and _may_name(now, state.settings.get("data", then)):
            continue  # once it is loaded, its full name tells
        if then != now:
            said, keep = f"its run has {name} {then}, this start {now}", f"go on with {then}"
            if name == "weights":
                began = f"with others (SHA-256 {then[:12]}...)" if then else "without any"
                said, keep = f"--weights: its run began {began}", "leave them out"
            if name == "data_fingerprint":
                keep = "go on with the images and labels that it had"
            raise ResumeError(
                f"{folder}: {said}; {keep}, name another --checkpoint_dir, or start anew with "
                "--fresh"
            )


def _may_name(dataset, full_name):
    """Whether a name given, such as emnist or MNIST:3.0.1, may be that of the set `full_name`."""
    parts = dataset.lower().replace(":", "/").split("/")
    return full_name.split("/")[: len(parts)] == parts


def place(folder, log_folder):
    """Where a run is: the two folders' full paths, kept in its states for `is_copy`."""
    return [str(path.resolve()) for path in (folder, log_folder)]


def is_copy(folder, log_folder, state):
    """Whether this run is a copy of one in another folder, whose log folder this is.

    Where the original is gone, this run was moved, unless the logs have grown since its state.
    """
    if not state.place or state.place[1] != str(log_folder.resolve()):
        return False
    original = Path(state.place[0])
    try:
        if original.samefile(folder):
            return False
        newest = max(original.glob("state-*.json"))
        if json.loads(newest.read_text("utf-8"))["log_name"] == state.log_name:
            return True
    except (OSError, *_DAMAGE):
        pass
    return any(size > state.log_sizes.get(name, 0) for name, size in log_sizes(log_folder).items())


def log_sizes(log_folder):
    """TensorBoard's files in a log folder, as their names within it, and their sizes in bytes.

    Empty where the folder cannot be read: its name is too long, or a network's disk is away.
    """
    try:
        files = sorted(log_folder.glob("**/events.out.tfevents.*"))
        return {path.relative_to(log_folder).as_posix(): path.stat().st_size for path in files}
    except OSError:
        return {}


def file_digest(path):
    """A file's SHA-256, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
