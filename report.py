"""What a training shows while it runs: TensorBoard's files and the console's lines."""

import sys
import time

import keras
import tensorflow as tf


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's TensorBoard, which a full disk or a lost folder cannot make training stop.

    The first failure is told; from then on nothing more is written.
    """

    broken = False

    def _guarded(name):
        def hook(self, *args, **kwargs):
            if self.broken:
                return
            try:
                getattr(keras.callbacks.TensorBoard, name)(self, *args, **kwargs)
            except (tf.errors.OpError, OSError) as error:
                self.broken = True
                reason = str(error).split(" [Op:")[0].splitlines()[0].split("; ")[-1]
                print(f"\n{self.log_dir}: no more curves are written: {reason}; training goes on")

        return hook

    set_model = _guarded("set_model")
    on_train_begin = _guarded("on_train_begin")
    on_train_end = _guarded("on_train_end")
    on_test_begin = _guarded("on_test_begin")
    on_test_end = _guarded("on_test_end")
    on_epoch_end = _guarded("on_epoch_end")


class Console(keras.callbacks.Callback):
    """A line that follows the training with the time left, and one line that stays an epoch."""

    def __init__(self, epochs, steps, batch_size, state):
        super().__init__()
        self.epochs, self.steps, self.batch_size, self.state = epochs, steps, batch_size, state
        self.live = sys.stdout.isatty()
        self.told_speed = bool(tf.config.list_physical_devices("GPU"))

    def on_epoch_begin(self, epoch, logs=None):
        self.began, self.first_step, self.shown = time.monotonic(), self.state.step, 0.0

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if batch == 0:  # the first step compiles; count from its end
            self.began = now
            return
        per_step = (now - self.began) / batch
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
            metrics = f"loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}"
            line = (
                f"epoch {self.state.epoch + 1}/{self.epochs}  step {step}/{self.steps}  {metrics}"
            )
            print(f"\r{line}  {duration(per_step * left)} left ", end="", flush=True)

    def on_epoch_end(self, epoch, logs=None):
        self._say(
            f"epoch {epoch + 1}/{self.epochs}"
            f"  loss {logs['loss']:.4f}  accuracy {logs['accuracy']:.4f}"
            f"  val_loss {logs['val_loss']:.4f}  val_accuracy {logs['val_accuracy']:.4f}"
            f"  {duration(time.monotonic() - self.began)}"
        )

    def _say(self, text):
        """A line that stays; on a screen it takes the place of the line that follows."""
        print(f"\r{text:<90}" if self.live else text, flush=True)


def duration(seconds):
    """Seconds as a person says them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
