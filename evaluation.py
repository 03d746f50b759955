"""The end of a training: the best weights' temperature, and their one score on the test split.

Whoever looks at the test split once, when all choices are made, has an honest figure.
"""

import sys

import batching
import calibration
import devices
import report
import resume
import scores
from quiet import tell


def score_best(network, loaded, recorder):
    """Scores the best weights once on the test split, or says what they scored.

    Args:
        network: the trained network, of which a plain copy takes the best weights.
        loaded: a data.Data.
        recorder: a saving.Recorder, whose state and folder it adds the figures to.

    Returns:
        The exit code: 1 where the last state or the best weights could not be kept.
    """
    state, best = recorder.state, recorder.folder / resume.BEST
    if recorder.failed:
        tell(f"The last state or the best weights are not in {recorder.folder}.", stream=sys.stderr)
        tell("Make room there and start the same command again.", stream=sys.stderr)
        return 1
    if not recorder.best_is_whole():
        tell(f"{best}: gone or damaged; more --epochs make up for it.", stream=sys.stderr)
        return 1
    report.print_end(best, state)
    if state.test is None or (loaded.test and not state.test):  # there was no test split before
        with devices.explaining_memory(state.settings["batch_size"], recorder.folder):
            _score(network, loaded, recorder)
    if state.test:
        tell("  test " + ", ".join(f"{name} {share:.4f}" for name, share in state.test.items()))
    tell(f"For more, start again with more --epochs than {state.epoch}; for a new run, --fresh.")
    return 1 if recorder.failed else 0


def _score(network, loaded, recorder):
    """Puts the temperature and the test split's figures into the recorder's state and folder."""
    state, batch_size = recorder.state, recorder.state.settings["batch_size"]
    plain = devices.local_copy(network)  # the file has no optimizer either
    plain.load_weights(recorder.folder / resume.BEST)
    outputs = predictions(plain, loaded, loaded.validation, batch_size)
    state.description["temperature"] = round(calibration.fit_temperature(*outputs), 4)
    state.test = {}  # done, whether there is a test split or not
    if loaded.test:
        probabilities, labels = predictions(plain, loaded, loaded.test, batch_size)
        state.test = scores.figures(probabilities, labels, loaded.characters)
        counts = scores.confusion(probabilities, labels)
        report.write_test(recorder.log_folder, state.epoch, state.test, counts, loaded.characters)
    recorder.save(describe=True)


def predictions(network, loaded, part, batch_size):
    """Probabilities (n, classes) for all images of a part, and its labels (n,)."""
    probabilities = devices.predict(network, batching.evaluation_batches(part, batch_size))
    used = [bool(character) for character in loaded.characters]  # the others are never an answer
    return probabilities * used, part[1]
