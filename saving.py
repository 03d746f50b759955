"""Keeps a training's state and its best weights while it runs: two callbacks for `fit`.

The rules that they keep to are in resume.py.

Keras's BackupAndRestore is not used: it goes back to the start of the interrupted epoch, forgets
the best score, the history and dropout's seeds, and has no checksum. SwapEMAWeights is not used:
it exchanges weights by adding and subtracting, which rounds.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np

import machines
import resume
from quiet import tell

SAVE_EVERY_S = 240  # seconds of training between two states within an epoch


class Stopped(BaseException):
    """Training was stopped by a signal; no `except Exception` on its way may swallow it."""

    def __init__(self, signal_number):
        super().__init__(signal_number)
        self.signal_number = signal_number


def stopping_signals():
    """Ctrl-C, SIGTERM, and a closed terminal or lost connection, unless `nohup` ignores that."""
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none
    heard = hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([hang_up] if heard else [])]


class NotFinite(Exception):
    """The loss or a weight became NaN or infinite."""


def _variables(model):
    """Everything in a compiled model that a training step reads and writes, metrics last."""
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]


class _ChecksRoom(keras.Model):
    """A model that makes sure of room before it saves: HDF5 can crash where a disk fills up."""

    def save_weights(self, filepath, **options):
        # What HDF5 adds was at most 3,190 bytes an array.
        size = sum(array.nbytes + 8192 for array in self.get_weights())
        path = Path(filepath)
        path.write_bytes(bytes(size))  # OSError where there is no room
        resume.flush(path)
        path.unlink()
        super().save_weights(filepath, **options)


class BestCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keras's ModelCheckpoint of the best epoch, made safe against a kill and a full disk.

    It writes the weights alone, without the optimizer's, where they wait for the state that knows
    them. In the list of callbacks it stands before `Recorder`: after validation, when the model
    holds the averaged weights.

    Which epoch is better is decided by the state, not by Keras, which has no second measure where
    the first is equal, and does not know the epochs before a restart.
    """

    failed = False  # whether the last weights to be saved were not

    def __init__(self, folder, state):
        self.new, self.waiting, self.state = folder / resume.NEW, folder / resume.WAITING, state
        path = str(self.new).replace("{", "{{").replace("}", "}}")  # Keras calls format on it
        super().__init__(path, save_weights_only=True)

    def set_model(self, model):
        # The same layers, uncompiled; a fixed name, since the file holds it.
        super().set_model(_ChecksRoom(model.inputs, model.outputs, name=model.name))

    def on_epoch_end(self, epoch, logs=None):
        if not self._is_better(logs["val_accuracy"], logs["val_loss"]):
            return
        try:
            super().on_epoch_end(epoch, logs)
            self._put_in_waiting(epoch, float(logs["val_accuracy"]))
            self.failed = False
        except (OSError, RuntimeError) as error:  # HDF5 has both
            self.failed = True
            reason = os.strerror(error.errno) if getattr(error, "errno", None) else error
            tell(f"\n{self.new}: the best weights were not saved: {reason}")
            with contextlib.suppress(OSError):
                self.new.unlink(missing_ok=True)

    def _is_better(self, val_accuracy, val_loss):
        """By validation accuracy; by the loss where that is the same, as it is with few images."""
        best, history = self.state.best, self.state.history
        if not best or val_accuracy != best["val_accuracy"]:
            return not best or val_accuracy > best["val_accuracy"]
        # Where the state that knew the best was lost, its epoch is still to come.
        return best["epoch"] <= len(history) and val_loss < history[best["epoch"] - 1]["val_loss"]

    def _put_in_waiting(self, epoch, val_accuracy):
        resume.flush(self.new)
        digest = resume.file_digest(self.new)
        os.replace(self.new, self.waiting)
        self.state.take_best(epoch + 1, val_accuracy, digest)


class Recorder(keras.callbacks.Callback):
    """Puts the state into the model before an epoch, takes it out after it, and saves it.

    Stands after the callbacks that look at the model. Between validation and the end of an epoch
    the model holds the averaged weights; training never sees them.

    Args:
        folder: the run's folder.
        log_folder: where the run's TensorBoard files are.
        state: `State`; kept up to date here.
    """

    def __init__(self, folder, log_folder, state):
        super().__init__()
        self.folder, self.log_folder, self.state = folder, log_folder, state
        self.signal_number = None  # set by a signal, acted upon after the step or validation
        self.failed = False  # whether the last save failed
        self._part = "step"  # what is done before a signal is acted upon; or "validation"
        self._saved_at = self._counted_from = time.monotonic()

    @contextlib.contextmanager
    def catching_signals(self):
        """Within it, a signal stops training after the step or validation; a second one at once."""

        def note(signal_number, frame):
            if self.signal_number is not None:
                raise Stopped(signal_number)
            self.signal_number = signal_number
            with contextlib.suppress(OSError):  # of `mytrain.py 2>&1 | tee log`, tee is gone first
                # Not print: it may be in the middle of one.
                words = f"\nStopping after this {self._part}; once more: at once, without saving.\n"
                os.write(2, words.encode())

        before = {number: signal.signal(number, note) for number in stopping_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def begin(self, model):
        """Before training: saves a new run's first state, or checks that a run's fits the model.

        The logs of a run that goes on are cut back to its state; `on_epoch_begin` loads that.

        Raises:
            resume.ResumeError: the state is of another network.
        """
        model.optimizer.build(model.trainable_variables)
        # Keras makes the metrics' variables at the first batch: it gets one made-up answer.
        answer = np.full((1, model.output_shape[-1]), 1 / model.output_shape[-1], "float32")
        model.compute_metrics(None, np.zeros(1, "int64"), answer)
        model.reset_metrics()
        self.set_model(model)
        self._at_once = model.steps_per_execution
        if self.state.arrays is None:
            self.state.arrays = machines.from_first(self._take)
            self.save()
            return
        expected = [tuple(variable.shape) for variable in _variables(model)]
        if expected != [array.shape for array in self.state.arrays]:
            raise resume.ResumeError(f"{self.folder}: its state is of another network; use --fresh")
        self._cut_back_logs()

    def on_epoch_begin(self, epoch, logs=None):
        # The running metrics are restored within an epoch; at its start they are zero.
        count = len(self.state.arrays) if self.state.step else -len(self.model.metrics_variables)
        self._put(_variables(self.model)[:count])
        self._first_step, self._part = self.state.step, "step"

    def on_train_batch_end(self, batch, logs=None):
        self.state.step = self._first_step + batch + 1
        if not np.isfinite(logs["loss"]):
            raise NotFinite
        if self.state.step == self.state.settings["steps_per_epoch"]:
            return  # see epoch_done
        due = time.monotonic() - self._saved_at > SAVE_EVERY_S
        asked = self._agreed_signal(self.state.step)
        if due or asked is not None:
            self.state.arrays = self._take()
            self.save()
            self._stop_if(asked)

    def _agreed_signal(self, step):
        return machines.agreed_signal(self.signal_number, step, self._at_once)

    def on_test_begin(self, logs=None):
        self._part = "validation"
        self.state.arrays = self._take()
        # Each of several GPUs has moving averages of its own: all go on with the first one's.
        self._put(self.model.variables)
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    def on_epoch_end(self, epoch, logs=None):
        state = self.state
        state.epoch, state.step = epoch + 1, 0
        state.test = None  # of an earlier, shorter run
        state.history.append({name: float(value) for name, value in logs.items()})

    def epoch_done(self):
        """Saves after an epoch, once TensorBoard has closed its files."""
        self.save()
        self._stop_if(self._agreed_signal(0))

    def save(self, describe=False):
        """Writes the state; a failure is told, and training goes on.

        Args:
            describe: whether what best.json says has changed: by scoring, which is no training.

        Raises:
            NotFinite: the state holds what is no number.
        """
        now = time.monotonic()
        if not describe:
            self.state.seconds += now - self._counted_from
        self._counted_from = self._saved_at = now
        if not all(np.isfinite(array).all() for array in self.state.arrays):
            raise NotFinite
        self.failed = True
        # Those of a folder that is away for now stay known: what is unknown goes at the next start.
        self.state.log_sizes = resume.log_sizes(self.log_folder) or self.state.log_sizes
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            resume.write_state(self.folder, self.state)
            self.failed = False
            if (self.folder / resume.WAITING).exists():
                os.replace(self.folder / resume.WAITING, self.folder / resume.BEST)
                describe = True
            if describe:
                resume.describe_best(self.folder, self.state)
        except OSError as error:
            what = "state was" if self.failed else "best weights were"
            tell(
                f"\n{self.folder}: the {what} not saved: {error.strerror or error}; "
                "what was saved before is untouched"
            )

    def best_is_whole(self):
        """Whether the best weights lie in the folder as the state knows them."""
        try:
            return resume.file_digest(self.folder / resume.BEST) == self.state.best["sha256"]
        except (OSError, TypeError):
            return False

    def _take(self):
        return [np.array(keras.ops.convert_to_numpy(v)) for v in _variables(self.model)]

    def _put(self, variables):
        """Gives the state's values to these, the first of `_variables`."""
        for variable, value in zip(variables, self.state.arrays):
            variable.assign(value)

    def _stop_if(self, signal_number):
        if signal_number is not None:
            raise Stopped(signal_number)

    def _cut_back_logs(self):
        found = resume.log_sizes(self.log_folder)
        if self.state.log_sizes and not self.state.log_sizes.keys() & found.keys():
            tell(f"{self.log_folder}: the curves so far are not there; they go on from here")
            return  # files that are there are of an earlier time, when it wrote there
        for name, now in found.items():
            path, size = self.log_folder / name, self.state.log_sizes.get(name)
            try:
                if size is None:
                    path.unlink()
                elif now > size:
                    os.truncate(path, size)
            except OSError as error:
                tell(f"{path}: cannot be cut back ({error.strerror}): some points are there twice")


class Follower(Recorder):
    """The same in a process that is not the first: trains and stops alike, writes nothing."""

    def on_epoch_end(self, epoch, logs=None):
        self.state.epoch, self.state.step = epoch + 1, 0

    def save(self, describe=False):
        self._saved_at = time.monotonic()

    def _cut_back_logs(self):
        pass
