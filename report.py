"""What a training shows: TensorBoard's files and the console's lines.

A run's log folder, tblogs/<model>/<dataset>_<start>/, holds a TensorBoard run each for
    train          loss, accuracy, learning rate, images/s; settings, network, graph; samples
    validation     loss, accuracy; confusion matrix, surest errors
    test           the final figures and the table by class
    .              what TensorBoard's HParams tab compares
"""

import contextlib
import functools
import io
import itertools
import shutil
import sys
import time
from datetime import datetime

import keras
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

import batching
import charts
import devices
import scores
from quiet import reason, tell
from weights import counted

EVERY = 100  # steps between two points of the curves by step
LOOKED_AT = 10_000  # validation images at most for the pictures: the rest would say the same
SHOWN = 24  # surest errors, augmented samples
# The settings that TensorBoard's HParams tab puts side by side; not the epochs, which may grow.
COMPARED = "model dataset steps_per_epoch batch_size learning_rate dropout seed precision".split()

UNWRITABLE = tf.errors.OpError, OSError, ValueError  # the last: a folder whose name is no text


def _guarded(hook):
    """A hook that tells its first failure; from then on nothing more is written."""

    @functools.wraps(hook)
    def guarded(self, *args, **kwargs):
        if self.broken:
            return
        try:
            hook(self, *args, **kwargs)
        except UNWRITABLE as error:
            self.broken = True
            why = reason(error)
            tell(f"\n{self.log_dir}: no more curves are written: {why}; training goes on")

    return guarded


def _make(folder):
    """Makes the log folder: where that fails, TensorFlow would log it besides raising it."""
    folder.mkdir(parents=True, exist_ok=True)


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's TensorBoard with pictures, texts and curves by step.

    A full disk or a lost folder does not make training stop. Validation is scored with the averaged
    weights, so its curves are theirs; the plain weights would need a second pass, and nobody uses
    them.

    Args:
        folder: the run's log folder.
        state: `resume.State`; looked at, never changed.
        validation: (images, labels), uint8 (n, 28, 28, 1) and int (n,).
        sample: a function of an epoch, counted from 0, that returns some of the augmented images
            it was trained on, float32 (n, 28, 28, 1) in [0, 1].
    """

    broken = False

    def __init__(self, folder, state, validation, sample):
        super().__init__(str(folder), write_graph=state.epoch == state.step == 0)
        self.folder, self.state, self.sample = folder, state, sample
        self.images, self.labels = (part[:LOOKED_AT] for part in validation)
        self.characters = state.description["characters"]

    @_guarded
    def set_model(self, model):
        _make(self.folder)
        super().set_model(model)
        # Kept, since with JAX every look at self.model brings the whole network up to date.
        self.at_once = model.steps_per_execution

    @_guarded
    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.write_graph = False  # once is enough
        if self.state.epoch == self.state.step == 0:
            self._describe()

    def _describe(self):
        """The run's settings and its network, once, where it begins."""
        settings = {**self.state.settings, "epochs": self.state.epochs}
        rows = "".join(f"| {name} | {value} |\n" for name, value in settings.items())
        with self._train_writer.as_default():
            tf.summary.text("settings", f"| setting | value |\n|---|---|\n{rows}", step=0)
            tf.summary.text("network", f"```\n{_network_summary(self.model)}\n```", step=0)
            if keras.backend.backend() == "tensorflow":  # others have no such graph
                self._describe_graph()
        with _closing_writer(self.folder):
            hparams.hparams_config(
                hparams=[hparams.HParam(name) for name in COMPARED],
                metrics=[
                    hparams.Metric("epoch_accuracy", group="validation", display_name="validation"),
                    hparams.Metric("final/top_1", group="test", display_name="test"),
                ],
            )
            compared = {name: settings[name] for name in COMPARED}
            hparams.hparams(compared, trial_id=f"{self.folder.parent.name}/{self.folder.name}")

    def _describe_graph(self):
        """Keras 3 writes the conceptual graph alone, with which the tab opens on an error."""
        answer = tf.function(lambda images: self.model(images, training=False))
        images = tf.TensorSpec((None, *self.images.shape[1:]))
        tf.summary.graph(answer.get_concrete_function(images).graph)

    @_guarded
    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.first_step, self.began, self.speed = self.state.step, None, None

    @_guarded
    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.began is None:  # the first step compiles; count from its end
            self.began, self.counted_from = time.monotonic(), batch
        self.batches = batch + 1
        steps = self.state.settings["steps_per_epoch"]
        position = self.state.epoch * steps + self.first_step + self.batches
        if position % EVERY < self.at_once:  # that many steps since the last call
            with self._train_writer.as_default():
                # Means since the epoch began, which is why they jump where the next begins.
                for name in ("loss", "accuracy"):
                    tf.summary.scalar(f"by_step/{name}", logs[name], step=position)
                rate = float(self.model.optimizer.learning_rate)
                tf.summary.scalar("by_step/learning_rate", rate, step=position)

    @_guarded
    def on_test_begin(self, logs=None):
        # Training ends where validation begins.
        done, batch_size = self.batches - 1 - self.counted_from, self.state.settings["batch_size"]
        if done:
            self.speed = done * batch_size / (time.monotonic() - self.began)
        super().on_test_begin(logs)

    @_guarded
    def on_test_end(self, logs=None):
        super().on_test_end(logs)

    @_guarded
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        batches = batching.evaluation_batches(
            (self.images, self.labels), self.state.settings["batch_size"]
        )
        probabilities = devices.predict(self.model, batches)
        counts = scores.confusion(probabilities, self.labels)
        wrong = scores.surest_errors(probabilities, self.labels, SHOWN)
        chosen = probabilities[wrong]
        with self._val_writer.as_default():
            _image("confusion", charts.confusion_matrix(counts, self.characters), epoch)
            _image(
                "surest_errors",
                charts.gallery(
                    self.images[wrong] / 255,
                    self.labels[wrong],
                    chosen.argmax(axis=1),
                    chosen.max(axis=1),
                    self.characters,
                ),
                epoch,
            )
        with self._train_writer.as_default():
            _image("augmented", charts.image_grid(self.sample(epoch)[:SHOWN]), epoch)
            first = next(layer for layer in self.model.layers if layer.weights)
            _image("first_layer", charts.kernels(first.get_weights()[0]), epoch)
            if self.speed:
                tf.summary.scalar("epoch_images_per_second", self.speed, step=epoch)

    @_guarded
    def on_train_end(self, logs=None):
        super().on_train_end(logs)


def write_test(log_folder, epoch, figures, counts, characters):
    """The final figures and the table by class into TensorBoard; a failure is told.

    Args:
        log_folder: the run's log folder.
        epoch: epochs that were trained.
        figures: dict of floats, as `scores.figures` gives them.
        counts: int (classes, classes), as `scores.confusion` gives them.
        characters: what each class means.
    """
    rows = "".join(f"| {name} | {value:.4f} |\n" for name, value in figures.items())
    names = [character.replace("|", r"\|") for character in characters]  # no end of a cell
    lines = zip(names, *(values.tolist() for values in scores.per_class(counts)), strict=True)
    classes = "".join(
        f"| {character} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {support} |\n"
        for character, precision, recall, f1, support in lines
        if support
    )
    try:
        with _closing_writer(log_folder / "test"):
            tf.summary.text("final", f"| figure | test |\n|---|---|\n{rows}", step=epoch)
            head = "| character | precision | recall | F1 | support |\n|---|---|---|---|---|\n"
            tf.summary.text("by_class", head + classes, step=epoch)
            _image("confusion", charts.confusion_matrix(counts, characters), epoch)
            for name, value in figures.items():
                tf.summary.scalar(f"final/{name.replace(' ', '_')}", value, step=epoch)
    except UNWRITABLE as error:
        tell(f"{log_folder}: the final figures were not written: {reason(error)}")


@contextlib.contextmanager
def _closing_writer(folder):
    _make(folder)
    writer = tf.summary.create_file_writer(str(folder))
    try:
        with writer.as_default():
            yield
    finally:
        writer.close()


def _image(tag, picture, step):
    tf.summary.image(tag, picture[None], step=step)


def _network_summary(model):
    lines = io.StringIO()
    model.summary(line_length=96, print_fn=lambda line: lines.write(line + "\n"))
    return lines.getvalue()


def new_log_name(parent, dataset):
    """Names and makes the log folder of a run that begins now, so that no other run takes it.

    Args:
        parent: the folder of the model's runs.
        dataset: full TFDS name.

    Returns:
        The folder's name: the data and when the run began.
    """
    data_name = "-".join(dataset.split("/")[:-1])  # emnist/byclass/3.1.0 -> emnist-byclass
    began = f"{data_name}_{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for number in itertools.count(1):
        name = began if number == 1 else f"{began}_{number}"
        try:
            (parent / name).mkdir(parents=True)
        except FileExistsError:
            if (parent / name).is_dir():
                continue
        except OSError:
            pass  # no logs, then: TensorBoard's callback will say so
        return name


def print_start(folder, state, epochs):
    """Whether a run begins or goes on, on the console, and where.

    Args:
        folder: the run's folder.
        state: `resume.State`.
        epochs: how many in all there are to be now.
    """
    if state.arrays is None:
        tell(f"Starting in {folder}")
        return
    within = f"step {state.step} of epoch {state.epoch + 1}"
    tell(f"Going on in {folder} after {within if state.step else f'epoch {state.epoch}'}")
    if epochs > state.epochs:
        tell(f"  {epochs} epochs in all, not {state.epochs}: the learning rate follows")


def print_settings(loaded, settings, epochs, log_folder):
    """What a run works with, on the console; `loaded` is `data.Data`."""
    tell(f"  data       {loaded.name}, {sum(map(bool, loaded.characters))} classes")
    tell(f"             {len(loaded.train[1])} images to train on")
    tell(f"             {len(loaded.validation[1])} to validate on ({loaded.held_out})")
    tell(f"             {len(loaded.test[1]) if loaded.test else 'none'} to test on, at the end")
    tell(
        f"  model      {settings['model']}, dropout {settings['dropout']}, {settings['precision']}"
    )
    done = f"{counted(epochs, 'epoch')} of {counted(settings['steps_per_epoch'], 'step')}"
    tell(
        f"  training   {done} of {settings['batch_size']}, "
        f"learning rate {settings['learning_rate']}, seed {settings['seed']}"
    )
    tell(f"  logs       {log_folder}")


def print_end(best, state):
    """That a run is finished, on the console, and which weights are its best.

    Args:
        best: the weights file.
        state: `resume.State`.
    """
    tell(f"Finished: {counted(state.epoch, 'epoch')}, {duration(state.seconds)} of training.")
    tell(f"  best weights {best}")
    tell(f"  validation accuracy {state.best['val_accuracy']:.4f}, epoch {state.best['epoch']}")


class Console(keras.callbacks.Callback):
    """A line that follows the training with the time left, and one line that stays an epoch."""

    def __init__(self, epochs, steps, batch_size, state):
        super().__init__()
        self.epochs, self.steps, self.batch_size, self.state = epochs, steps, batch_size, state
        self.live = bool(sys.stdout) and sys.stdout.isatty()
        self.told_speed = devices.has_gpu()

    def on_epoch_begin(self, epoch, logs=None):
        self.began, self.first_step, self.shown = time.monotonic(), self.state.step, 0.0
        self.counted_from = None

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if self.counted_from is None:  # the first step compiles; count from its end
            self.began, self.counted_from = now, batch
            return
        per_step = (now - self.began) / (batch - self.counted_from)
        step = self.first_step + batch + 1
        if not self.told_speed and batch >= 20:
            self.told_speed = True
            self._say(
                f"About {self.batch_size / per_step:.0f} images/s on this processor: "
                f"{duration(per_step * self.steps)} an epoch"
            )
        if self.live and now - self.shown > 0.2:
            self.shown = now
            left = (self.epochs - self.state.epoch) * self.steps - step
            line = (
                f"epoch {self.state.epoch + 1}/{self.epochs}  {bar(step / self.steps)}"
                f" {step}/{self.steps}  {duration(per_step * left)} left"
                f"  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}"
            )
            width = shutil.get_terminal_size().columns - 1
            tell(f"\r{line[:width]:<{width}}", end="")

    def on_epoch_end(self, epoch, logs=None):
        self._say(
            f"epoch {epoch + 1}/{self.epochs}"
            f"  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}"
            f"  val_loss {logs['val_loss']:.4f}  val_accuracy {logs['val_accuracy']:.4f}"
            f"  {duration(time.monotonic() - self.began)}"
        )

    def _say(self, text):
        """A line that stays; on a screen it takes the place of the line that follows."""
        width = shutil.get_terminal_size().columns - 1
        tell(f"\r{text:<{width}}" if self.live else text)


def bar(share):
    """A share in [0, 1] as a bar: [####------]."""
    full = round(10 * share)
    return f"[{'#' * full}{'-' * (10 - full)}]"


def duration(seconds):
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
