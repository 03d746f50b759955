"""Training, stopping anywhere and going on: through the real data, files, signals and processes."""

import contextlib
import errno
import io
import itertools
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import conftest
import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from test_data import IMAGE_AND_CLASS, numbered, stored

import batching
import calibration
import devices
import evaluation
import mytrain
import recipe
import report
import resume
import saving
from weights import WeightsError, describe, initial_weights, read_sidecar

SETTINGS = {
    "model": "LeNet",
    "epochs": 2,
    "steps_per_epoch": 40,
    "batch_size": 32,
    "learning_rate": 0.003,
    "dropout": 0.1,
    "seed": 7,
}
BRIEF = {"epochs": 1, "steps_per_epoch": 2}  # where what is learned does not matter


def settings(emnist_dir, folder, **changes):
    """Keyword arguments of a small training."""
    folders = {"checkpoint_dir": folder / "checkpoints", "log_dir": folder / "tblogs"}
    return {**SETTINGS, "data_dir": emnist_dir, **folders, **changes}


def command(**options):
    """The same training as a command line."""
    parts = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, str(ROOT / "mytrain.py"), *parts]


def run_folder(folder):
    return folder / "checkpoints" / "LeNet"


def newest_state(folder):
    """(what is in the newest state's .json, the arrays in its .npz)."""
    return conftest.newest_state(run_folder(folder))


# What is another every time: a speed, a name and time, a graph whose parts come in any order.
CHANGING = {"epoch_images_per_second", "_hparams_/session_start_info", "__run_graph__"}


def curves(folder):
    """What is in the run's TensorBoard files, the same every time: (folder, tag) -> values."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    found = {}
    files = folder.glob("tblogs/**/events.out.tfevents.*")
    # .10. after .9.: the number of the file within a process
    for path in sorted(files, key=lambda file: [int(n) for n in re.findall(r"\d+", file.name)]):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag in CHANGING:
                    continue
                part = path.parent.name if path.parents[2].name == "LeNet" else "."
                key = (part, value.tag)
                found.setdefault(key, []).append((event.step, make_ndarray(value.tensor).tolist()))
    return found


def best_network(folder):
    """A run's network with its best weights."""
    network = mytrain.MODELS["LeNet"](n_classes=62)
    network.load_weights(run_folder(folder) / "best.weights.h5")
    return network


def assert_same_weights(network, other):
    for weights, expected in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(weights, expected, atol=1e-4)


def assert_same_run(folder, whole):
    """States, best weights and curves, bit for bit."""
    (state, arrays), (expected, expected_arrays) = newest_state(folder), newest_state(whole)
    for array, expected_array in zip(arrays, expected_arrays, strict=True):
        np.testing.assert_array_equal(array, expected_array)
    for key in ("epoch", "step", "history", "best", "test"):
        assert state[key] == expected[key], key
    best = "best.weights.h5"
    assert (run_folder(folder) / best).read_bytes() == (run_folder(whole) / best).read_bytes()
    assert curves(folder) == curves(whole)


def best_score(folder, emnist_dir):
    """Accuracy of a run's best weights on the test images."""
    loaded = mytrain.data.load("emnist", emnist_dir)
    network = best_network(folder)
    batches = batching.evaluation_batches(loaded.test, 32)
    return network.evaluate(batches, verbose=0, return_dict=True)["accuracy"]


def noting(function, calls):
    """The function, which leaves its positional arguments in a list besides."""

    def noted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    return noted


@pytest.fixture(scope="module")
def whole_run(emnist_dir, tmp_path_factory):
    """The small training, to its end without a stop: its folder, what was trained on and shown."""
    folder = tmp_path_factory.mktemp("whole")
    trained, shown, confused = [], [], []
    mytrain.MODELS["LeNet"]()  # layers of later networks get higher numbers
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batching, "training_batches", noting(batching.training_batches, trained))
        patched.setattr(report.charts, "gallery", noting(report.charts.gallery, shown))
        matrix = noting(report.charts.confusion_matrix, confused)
        patched.setattr(report.charts, "confusion_matrix", matrix)
        assert mytrain.train(**settings(emnist_dir, folder)) == 0
    return SimpleNamespace(folder=folder, trained=trained, shown=shown, confused=confused)


@pytest.fixture(scope="module")
def whole(whole_run):
    """Its folder."""
    return whole_run.folder


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of that folder, to be changed."""
    shutil.copytree(whole, tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_leaves_checkpoints_curves_and_a_description(whole):
    names = {path.name for path in run_folder(whole).iterdir()}
    steps = SETTINGS["steps_per_epoch"] + 1
    states = {f"state-{steps * n:09d}.{end}" for n in (1, 2) for end in ("npz", "json")}
    assert names == states | {"best.weights.h5", "best.json", "lock"}
    described = json.loads((run_folder(whole) / "best.json").read_text("utf-8"))
    assert described["model"] == "LeNet" and described["characters"][36] == "a"
    assert described["dataset"].startswith("emnist/byclass/")
    assert described["settings"]["batch_size"] == 32

    state, _ = newest_state(whole)
    validation = curves(whole)["validation", "epoch_accuracy"]
    assert [step for step, _ in validation] == [0, 1]
    np.testing.assert_allclose(
        [value for _, value in validation], [h["val_accuracy"] for h in state["history"]], rtol=1e-6
    )
    assert described["val_accuracy"] == max(h["val_accuracy"] for h in state["history"])
    ((epochs, top_1),) = curves(whole)["test", "final/top_1"]  # which the HParams tab shows
    assert epochs == SETTINGS["epochs"] and top_1 == pytest.approx(state["test"]["top 1"])


def test_it_learns_and_the_best_weights_are_what_was_scored(whole, emnist_dir):
    state, _ = newest_state(whole)
    assert state["test"]["top 1"] > 5 / 62  # five times chance, after 80 steps
    # float32 here, perhaps bfloat16 there
    assert state["test"]["top 1"] == pytest.approx(best_score(whole, emnist_dir), abs=0.02)


def test_an_epoch_s_figures_are_of_its_own_steps(whole):
    _, arrays = newest_state(whole)
    loss, images, right, images_again = (float(array) for array in arrays[-4:])  # the metrics'
    assert images == images_again == SETTINGS["steps_per_epoch"] * SETTINGS["batch_size"]
    last = newest_state(whole)[0]["history"][-1]
    assert (last["loss"], last["accuracy"]) == pytest.approx((loss / images, right / images))


def test_stopped_by_every_signal_it_ends_bit_for_bit_the_same(whole, emnist_dir, tmp_path):
    """Every signal at a random moment, then to the end; SIGHUP is a lost connection.

    At last nobody reads its lines, as in `mytrain.py | true`; `| head` reads some at first.
    """
    if os.name == "nt":
        pytest.skip("Windows has no such signals")
    line = command(**settings(emnist_dir, tmp_path))
    generator = np.random.default_rng(11)
    codes = []
    for number in (signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        process = subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # pytest under nohup
        )
        # The speed is told after 20 steps, or an epoch ends before that.
        for text in process.stdout:
            if text.startswith((b"About", b"epoch")):
                break
        time.sleep(generator.uniform(0.0, 0.1))
        process.send_signal(number)
        output = process.stdout.read().decode()
        codes.append(process.wait(timeout=120))
        if codes[-1] in (129, 130, 143):
            assert "Start the same command again" in output
    assert codes == [130, -signal.SIGKILL, 143, 129], output

    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        run.stdout.close()
        errors = run.stderr.read()
    assert run.returncode == 0 and "Traceback" not in errors, errors
    assert_same_run(tmp_path, whole)
    assert not list(run_folder(tmp_path).glob("*.part"))


def test_stopped_at_an_epoch_s_last_step_it_ends_with_the_epoch(emnist_dir, tmp_path, monkeypatch):
    step_done = saving.Recorder.on_train_batch_end

    def struck(self, batch, logs=None):
        self.signal_number = signal.SIGTERM if batch == 1 else None
        step_done(self, batch, logs)

    monkeypatch.setattr(saving.Recorder, "on_train_batch_end", struck)
    with pytest.raises(saving.Stopped):
        mytrain.train(**settings(emnist_dir, tmp_path, **(BRIEF | {"epochs": 2})))
    state, _ = newest_state(tmp_path)
    assert (state["epoch"], state["step"], len(state["history"])) == (1, 0, 1)


def test_stopped_in_validation_it_says_so_and_keeps_the_epoch(
    emnist_dir, tmp_path, monkeypatch, capfd
):
    def struck(self, batch, logs=None):
        signal.raise_signal(signal.SIGTERM)
        monkeypatch.undo()

    monkeypatch.setattr(saving.Recorder, "on_test_batch_end", struck)
    with pytest.raises(saving.Stopped):
        mytrain.train(**settings(emnist_dir, tmp_path, **(BRIEF | {"epochs": 2})))
    assert "Stopping after this validation; once more" in capfd.readouterr().err
    state, _ = newest_state(tmp_path)
    assert (state["epoch"], state["step"]) == (1, 0)


def test_no_live_line_comes_between_stopping_and_stopped(emnist_dir, tmp_path, monkeypatch, capsys):
    step_done = saving.Recorder.on_train_batch_end

    def struck(self, batch, logs=None):
        self.signal_number = signal.SIGINT if batch == 1 else None  # the first after the compiling
        step_done(self, batch, logs)

    monkeypatch.setattr(saving.Recorder, "on_train_batch_end", struck)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(saving.Stopped):
        mytrain.train(**settings(emnist_dir, tmp_path, **(BRIEF | {"steps_per_epoch": 3})))
    assert capsys.readouterr().out.splitlines()[-1].startswith("  logs ")


def test_a_second_signal_stops_at_once_and_then_they_are_as_before(tmp_path, capfd):
    before = signal.getsignal(signal.SIGTERM)
    recorder = saving.Recorder(tmp_path, tmp_path, None)
    with pytest.raises(saving.Stopped), recorder.catching_signals():
        signal.raise_signal(signal.SIGTERM)
        assert recorder.signal_number == signal.SIGTERM
        assert "Stopping after this step" in capfd.readouterr().err
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
@pytest.mark.parametrize(("handler", "heard"), [(signal.SIG_IGN, False), (signal.SIG_DFL, True)])
def test_a_lost_connection_is_heard_unless_nohup_ignores_it(handler, heard):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        assert (signal.SIGHUP in saving.stopping_signals()) == heard
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_run_says_so_and_more_epochs_go_on(copy, emnist_dir, capsys, monkeypatch):
    precision = newest_state(copy)[0]["settings"]["precision"]
    other = "mixed_bfloat16" if precision == "float32" else "float32"
    monkeypatch.setattr(mytrain.devices, "precision", lambda: other)  # on another machine
    assert mytrain.train(**settings(emnist_dir, copy)) == 0
    output = capsys.readouterr().out
    assert "Finished: 2 epochs" in output and "more --epochs than 2" in output
    assert mytrain.train(**settings(emnist_dir, copy, epochs=3)) == 0
    assert "after epoch 2" in capsys.readouterr().out
    state, _ = newest_state(copy)
    assert len(state["history"]) == 3
    # The test score is of the new best weights, not the old.
    assert state["test"]["top 1"] == pytest.approx(best_score(copy, emnist_dir), abs=0.02)
    assert [step for step, _ in curves(copy)["train", "epoch_loss"]] == [0, 1, 2]
    rates = dict(curves(copy)["train", "by_step/learning_rate"])
    assert rates[100] > 1e-4  # which would be 0 where the first two epochs were planned to end


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 16), ("learning_rate", 0.5), ("dropout", 0.2), ("seed", 8)],
)
def test_other_settings_are_refused_with_both_values(copy, emnist_dir, name, value):
    with pytest.raises(resume.ResumeError) as refusal:
        mytrain.train(**settings(emnist_dir, copy, **{name: value}))
    message = str(refusal.value)
    before = newest_state(copy)[0]["settings"][name]
    assert name in message and str(before) in message and str(value) in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["emnist/byclass/3.1.0", "emnist/byclass:3.1.0", "EMNIST/byclass"])
def test_a_set_may_be_named_in_full_to_go_on_with_its_version(copy, emnist_dir, capsys, name):
    assert mytrain.train(**settings(emnist_dir, copy, dataset=name)) == 0
    assert "Finished: 2 epochs" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["emnist/letters", "emnist/by", "mnist", "emnist/byclass/3.0.0"])
def test_another_set_is_refused_before_it_is_loaded(copy, tmp_path, name):
    with pytest.raises(resume.ResumeError, match=f"dataset emnist, this start {name}"):
        mytrain.train(**settings(tmp_path / "no data here", copy, dataset=name))


def test_other_images_under_the_same_name_are_refused(copy, emnist_dir, monkeypatch):
    load = mytrain.data.load

    def another(*args):
        loaded = load(*args)
        loaded.train[0][0] = 0
        return loaded

    monkeypatch.setattr(mytrain.data, "load", another)
    with pytest.raises(resume.ResumeError, match="go on with the images and labels that it had"):
        mytrain.train(**settings(emnist_dir, copy))


@pytest.mark.parametrize(("part", "name"), [("RECIPE", "weight_decay"), ("AUGMENTATION", "grain")])
def test_another_recipe_is_refused(part, name, copy, emnist_dir, monkeypatch):
    monkeypatch.setitem(getattr(mytrain, part), name, 0.25)
    with pytest.raises(resume.ResumeError, match=rf"recipe .*, this start .*'{name}': 0\.25"):
        mytrain.train(**settings(emnist_dir, copy))


def test_fewer_epochs_than_planned_are_refused(copy, emnist_dir):
    with pytest.raises(resume.ResumeError, match="epochs 2, this start 1"):
        mytrain.train(**settings(emnist_dir, copy, epochs=1))


def test_curves_in_a_log_folder_that_a_run_comes_back_to_stay(copy, emnist_dir, capsys):
    here = settings(emnist_dir, copy)
    first = [step for step, _ in curves(copy)["train", "epoch_loss"]]
    assert mytrain.train(**(here | {"epochs": 3, "log_dir": copy / "elsewhere"})) == 0
    assert "the curves so far are not there" in capsys.readouterr().out
    assert mytrain.train(**(here | {"epochs": 4})) == 0
    assert first == [0, 1]
    assert [step for step, _ in curves(copy)["train", "epoch_loss"]] == [0, 1, 3]


def test_curves_in_a_log_folder_that_was_away_for_a_time_stay(copy, emnist_dir):
    here, logs, away = settings(emnist_dir, copy), copy / "tblogs", copy / "away"
    logs.rename(away)
    logs.touch()
    assert mytrain.train(**(here | {"epochs": 3})) == 0
    logs.unlink()
    away.rename(logs)
    assert mytrain.train(**(here | {"epochs": 4})) == 0
    assert [step for step, _ in curves(copy)["train", "epoch_loss"]] == [0, 1, 3]


def test_a_copy_goes_on_without_the_original_s_curves(emnist_dir, tmp_path, capsys):
    """Only the checkpoints are copied; both runs then write below the same log folder."""
    more = settings(emnist_dir, tmp_path, **BRIEF)
    assert mytrain.train(**more) == 0
    for name in ("tried", "tried later"):
        shutil.copytree(tmp_path / "checkpoints", tmp_path / name)
    more["epochs"] = 2
    assert mytrain.train(**more) == 0
    longer = curves(tmp_path)
    assert [step for step, _ in longer["train", "epoch_loss"]] == [0, 1]
    capsys.readouterr()
    assert mytrain.train(**(more | {"checkpoint_dir": tmp_path / "tried"})) == 0
    told = capsys.readouterr().out
    assert f"A copy of {run_folder(tmp_path).resolve()}" in told and "not there" not in told
    runs = sorted((tmp_path / "tblogs" / "LeNet").iterdir(), key=lambda run: run.stat().st_ctime)
    assert len(runs) == 2
    shutil.rmtree(runs[1])
    assert curves(tmp_path) == longer
    # Also where the original was renamed since.
    run_folder(tmp_path).rename(tmp_path / "checkpoints" / "renamed")
    assert mytrain.train(**(more | {"checkpoint_dir": tmp_path / "tried later"})) == 0
    (new,) = set((tmp_path / "tblogs" / "LeNet").iterdir()) - {runs[0]}
    shutil.rmtree(new)
    assert curves(tmp_path) == longer


def test_a_run_that_was_moved_is_no_copy(tmp_path, monkeypatch):
    folder, logs = tmp_path / "LeNet", tmp_path / "tblogs"
    (logs / "train").mkdir(parents=True)
    folder.mkdir()
    events = logs / "train" / "events.out.tfevents.1"
    events.write_bytes(b"some")
    monkeypatch.chdir(tmp_path)
    sizes, place = resume.log_sizes(logs), resume.place(Path("LeNet"), Path("tblogs"))
    monkeypatch.chdir(logs)
    state = resume.State({}, {}, log_name="", epochs=1, log_sizes=sizes, place=place)
    moved = folder.rename(tmp_path / "moved")
    assert not resume.is_copy(moved, logs, state)
    events.write_bytes(b"and more, which only the original can have written")
    assert resume.is_copy(moved, logs, state)
    events.write_bytes(b"some")
    (logs / "events.out.tfevents.2").write_bytes(b"another start's")
    assert resume.is_copy(moved, logs, state)
    (logs / "events.out.tfevents.2").unlink()
    folder.mkdir()
    (folder / "state-000000000.json").write_text('{"log_name": "of an earlier copying"}')
    for text, is_copy in (
        ('{"log_name": ""}', True),  # the original, though it has not gone on
        ('{"log_name": "another"}', False),  # a new run in its place
        ("", False),
        ("{}", False),
    ):
        (folder / "state-000000001.json").write_text(text)
        assert resume.is_copy(moved, logs, state) == is_copy
    shutil.rmtree(folder)
    events.write_bytes(b"and more, by itself")
    assert not resume.is_copy(moved.rename(folder), logs, state)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what is loaded")
@pytest.mark.parametrize("library", ["numpy", "tensorflow"])
def test_ctrl_c_while_libraries_are_loaded_just_ends_it(library, tmp_path):
    run = subprocess.Popen(command(checkpoint_dir=tmp_path), stderr=subprocess.PIPE, text=True)
    while f"{os.sep}{library}{os.sep}" not in Path(f"/proc/{run.pid}/maps").read_text():
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    errors = run.communicate()[1]
    assert "Traceback" not in errors and "Stopped" not in errors
    assert run.returncode == -signal.SIGINT
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("way", ["an AttributeError is made of it", "garbage swallows it"])
def test_a_signal_that_a_library_swallows_before_the_training_stops_it(
    way, number, emnist_dir, emnist_builder, tmp_path, monkeypatch, capsys
):
    """As dm-tree does in TFDS's downloads, and TensorFlow's functions where they are taken down."""

    class Garbage:
        def __del__(self):
            signal.raise_signal(number)

    def split_generators(builder, dl_manager):
        with contextlib.suppress(KeyboardInterrupt, saving.Stopped):
            signal.raise_signal(number)
        raise AttributeError("'Promise' object has no attribute 'keys'")

    def network(*args, build=mytrain._network):
        Garbage()
        return build(*args)

    data_dir = emnist_dir
    if way == "garbage swallows it":
        monkeypatch.setattr(mytrain, "_network", network)
    else:
        data_dir = tmp_path / "data"
        monkeypatch.setattr(emnist_builder, "_split_generators", split_generators)
    handler = signal.default_int_handler if number == signal.SIGINT else mytrain._stop
    before = signal.signal(number, handler)
    try:
        with pytest.raises((KeyboardInterrupt, saving.Stopped)):
            mytrain.train(**settings(data_dir, tmp_path, **BRIEF))
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    states = [json.loads(path.read_text()) for path in run_folder(tmp_path).glob("state-*.json")]
    assert all(state["epoch"] == state["step"] == 0 for state in states)
    told = capsys.readouterr()
    assert "Traceback" not in told.err and "epoch 1" not in told.out


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_ctrl_c_saves_where_nobody_reads_its_errors_either(emnist_dir, tmp_path):
    """As in `mytrain.py 2>&1 | tee log`, where tee ends first."""
    line = command(**settings(emnist_dir, tmp_path, epochs=50))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        while not run.stdout.readline().startswith((b"About", b"epoch")):
            assert run.poll() is None
        run.stdout.close()
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=120) == 130
    state, _ = newest_state(tmp_path)
    assert state["step"] or state["epoch"]


DOWNLOADING = """
import runpy, sys
sys.path[:0] = sys.argv[1:3]
import conftest
conftest.point_emnist_to(sys.argv.pop(3))
del sys.argv[1:3]
runpy.run_path(sys.path[0] + "/mytrain.py", run_name="__main__")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_downloads_it_ends_at_once(number, stalling_url, tmp_path):
    """Python would wait for TFDS's threads: for the last of 562 MB."""
    first = [sys.executable, "-c", DOWNLOADING, str(ROOT), str(ROOT / "tests"), stalling_url]
    folders = [f"--{name}_dir={tmp_path / name}" for name in ("data", "checkpoint", "log")]
    with subprocess.Popen([*first, *folders], stderr=subprocess.PIPE, text=True) as run:
        while not any(tmp_path.glob("data/downloads/*/*")):
            assert run.poll() is None, "it ended before it could be stopped"
            time.sleep(0.01)
        time.sleep(1)  # before, a library may swallow it: it is heeded after the download then
        run.send_signal(number)
        told = run.communicate(timeout=20)[1]
    assert run.returncode == 128 + number
    assert told.splitlines()[-1] == "Stopped. Start the same command again to go on."
    assert not [path for path in tmp_path.glob("data/downloads/*/*") if path.is_dir()]


def test_best_weights_that_just_do_not_fit_do_not_crash(whole, emnist_dir, tmp_path):
    """HDF5 itself ends in a segmentation fault where the last few bytes do not fit."""
    limited = pytest.importorskip("resource", reason="limits are a Unix thing")
    size = (run_folder(whole) / resume.BEST).stat().st_size - 8000
    done = subprocess.run(
        command(**settings(emnist_dir, tmp_path, **BRIEF)),
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: limited.setrlimit(limited.RLIMIT_FSIZE, (size, size)),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "the best weights were not saved: File too large" in done.stdout


def test_the_best_weights_are_scored_whatever_the_network_holds(copy, emnist_dir):
    """Here what it began with, since nothing is left to train."""
    state = resume.read_state(run_folder(copy))
    expected, state.test = state.test, None
    resume.write_state(run_folder(copy), state)
    assert mytrain.train(**settings(emnist_dir, copy)) == 0
    assert newest_state(copy)[0]["test"] == pytest.approx(expected, abs=0.02)


def test_a_run_without_a_test_split_is_left_until_there_is_one(tmp_path, monkeypatch, capsys):
    stored(tmp_path, IMAGE_AND_CLASS, numbered, count=200)
    brief = settings(tmp_path, tmp_path, **BRIEF, dataset="my_letters")
    assert mytrain.train(**brief) == 0
    trained, _ = newest_state(tmp_path)
    assert trained["test"] == {}
    best = run_folder(tmp_path) / "best.json"
    before = best.stat().st_mtime_ns
    assert mytrain.train(**brief) == 0
    assert best.stat().st_mtime_ns == before

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    load = mytrain.data.load
    with monkeypatch.context() as tested:

        def with_test_split(*args):
            return replace(load(*args), test=load(*args).validation)

        tested.setattr(mytrain.data, "load", with_test_split)
        with monkeypatch.context() as patched:
            patched.setattr(resume, "write_state", full)
            assert mytrain.train(**brief) == 1
        assert "the state was not saved" in capsys.readouterr().out
        assert mytrain.train(**brief) == 0
        assert "  test top 1 " in capsys.readouterr().out
        scored, _ = newest_state(tmp_path)
        assert "top 1" in scored["test"] and scored["seconds"] == trained["seconds"]

    shutil.rmtree(tmp_path / "my_letters")  # and made again, of other pictures
    stored(tmp_path, IMAGE_AND_CLASS, lambda k: numbered(k + 2), count=200)
    with pytest.raises(resume.ResumeError, match="data_fingerprint"):
        mytrain.train(**brief)


def test_a_backend_that_is_not_there_is_one_line(tmp_path):
    file = tmp_path / "keras.json"
    file.write_text('{"backend": "jaxx"}')
    for variable, value, told in (
        ("KERAS_BACKEND", "jaxx", "KERAS_BACKEND=jaxx: "),
        ("KERAS_HOME", str(tmp_path), f'"backend": "jaxx" in {file}: '),
    ):
        done = subprocess.run(
            [sys.executable, ROOT / "mytrain.py", "--help"],
            env=os.environ | {variable: value},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert done.stderr.startswith(told)


def test_fresh_moves_the_old_run_aside(copy, emnist_dir, monkeypatch):
    """The new one computes in the precision of this machine, if the old one was begun elsewhere."""
    old, begun = (run_folder(copy) / "best.weights.h5").read_bytes(), []
    monkeypatch.setattr(mytrain.devices, "precision", lambda: "mixed_bfloat16")
    monkeypatch.setattr(saving.Recorder, "begin", noting(saving.Recorder.begin, begun))
    assert mytrain.train(**settings(emnist_dir, copy, seed=9, fresh=True, **BRIEF)) == 0
    keras.mixed_precision.set_global_policy("float32")  # again, for what else this process tests
    assert [network.layers[1].compute_dtype for _, network in begun] == ["bfloat16"]
    (aside,) = [path for path in (copy / "checkpoints").iterdir() if path != run_folder(copy)]
    assert (aside / "best.weights.h5").read_bytes() == old
    assert newest_state(copy)[0]["epoch"] == 1


def test_fresh_moves_nothing_where_nothing_is(tmp_path, capsys):
    with resume.open_folder(tmp_path / "LeNet"):
        pass
    assert resume.move_aside(tmp_path / "LeNet") is None
    assert [path.name for path in tmp_path.iterdir()] == ["LeNet"]
    assert capsys.readouterr().out == ""


def test_a_folder_that_cannot_be_moved_aside_is_one_line(copy, monkeypatch):
    def busy(*_):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", busy)
    with pytest.raises(resume.ResumeError, match="cannot be moved aside: Device or resource busy"):
        resume.move_aside(run_folder(copy))


def test_fresh_moves_nothing_when_the_data_cannot_be_had(copy, emnist_dir):
    with pytest.raises(mytrain.data.DataError):
        mytrain.train(**settings(emnist_dir, copy, dataset="no_such_set", fresh=True))
    assert (run_folder(copy) / "best.weights.h5").exists()


@pytest.mark.parametrize(
    ("where", "begun"), [("data.load", False), ("report.print_settings", True)]
)
def test_stopped_with_fresh_it_says_which_run_goes_on(
    where, begun, copy, emnist_dir, monkeypatch, capsys
):
    monkeypatch.setattr(f"mytrain.{where}", lambda *_: signal.raise_signal(signal.SIGINT))
    assert mytrain.main([*command(**settings(emnist_dir, copy, seed=9))[2:], "--fresh"]) == 130
    said = capsys.readouterr()
    assert 'go on, without --fresh if it said "Starting in" above.' in said.err
    assert ("Starting in" in said.out) == begun == (not [*run_folder(copy).glob("best.*")])


def damage_nothing_left(path):
    path.unlink()


def damage_empty(path):
    path.write_bytes(b"")


def damage_cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_other(path):
    """Whole, but of the state before."""
    shutil.copy(sorted(path.parent.glob(f"state-*{path.suffix}"))[0], path)


DAMAGES = [damage_nothing_left, damage_empty, damage_cut, damage_bit, damage_other]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("end", ["npz", "json"])
def test_a_damaged_state_gives_way_to_the_one_before(copy, capsys, damage, end):
    folder = run_folder(copy)
    newest = sorted(folder.glob(f"state-*.{end}"))[-1]
    damage(newest)
    state = resume.read_state(folder)
    assert state.epoch == 1
    if (damage, end) != (damage_nothing_left, "json"):  # without its .json it never was
        assert newest.stem in capsys.readouterr().out
    left = [path.suffix for path in folder.glob(f"{newest.stem}*")]
    assert {*left} <= {".damaged"}, "it would be written over"


@pytest.mark.parametrize("text", ["{}", "[]", "1", "[" * 10**5])
def test_json_that_is_no_state_is_damage(copy, text):
    sorted(run_folder(copy).glob("state-*.json"))[-1].write_text(text)
    assert resume.read_state(run_folder(copy)).epoch == 1


def test_a_figure_that_was_altered_is_damage(copy):
    newest = sorted(run_folder(copy).glob("state-*.json"))[-1]
    newest.write_text(newest.read_text("utf-8").replace('"seconds": ', '"seconds": 1'), "utf-8")
    assert resume.read_state(run_folder(copy)).epoch == 1


def test_after_damage_the_run_ends_the_same(copy, whole, emnist_dir):
    damage_bit(sorted(run_folder(copy).glob("state-*.npz"))[-1])
    assert mytrain.train(**settings(emnist_dir, copy)) == 0
    (expected, expected_arrays), (state, arrays) = newest_state(whole), newest_state(copy)
    for array, expected_array in zip(arrays, expected_arrays, strict=True):
        np.testing.assert_array_equal(array, expected_array)
    assert state["history"] == expected["history"]
    assert curves(copy) == curves(whole)


def test_best_weights_of_a_damaged_state_stay_the_best(copy):
    folder = run_folder(copy)
    described = json.loads((folder / "best.json").read_text("utf-8"))
    assert described["epoch"] == 2
    damage_bit(sorted(folder.glob("state-*.npz"))[-1])
    state = resume.read_state(folder)
    assert state.epoch == 1 and state.best["epoch"] == 2
    assert state.best["val_accuracy"] == described["val_accuracy"]
    assert state.best["sha256"] == resume.file_digest(folder / "best.weights.h5")


def test_no_whole_state_left_is_refused_and_nothing_is_touched(copy):
    for path in run_folder(copy).glob("state-*.npz"):
        damage_cut(path)
    best = (run_folder(copy) / "best.weights.h5").read_bytes()
    with pytest.raises(resume.ResumeError, match="--fresh"):
        resume.read_state(run_folder(copy))
    with pytest.raises(resume.ResumeError, match="--fresh"):  # and still is the next time
        resume.read_state(run_folder(copy))
    assert (run_folder(copy) / "best.weights.h5").read_bytes() == best


@pytest.mark.parametrize("left", ["state-*.json.damaged", "best.weights.h5"])
def test_a_run_of_which_one_part_alone_is_left_is_none_that_begins(copy, left):
    """Its best weights would be written over."""
    folder = run_folder(copy)
    for path in folder.glob("state-*.json"):
        path.rename(f"{path}.damaged")
    for path in {*folder.iterdir()} - {*folder.glob(left)}:
        path.unlink()
    with pytest.raises(resume.ResumeError, match="no whole state to go on from; --fresh"):
        resume.read_state(folder)


def test_best_weights_that_are_gone_are_named(copy, capsys):
    (run_folder(copy) / "best.weights.h5").unlink()
    assert resume.read_state(run_folder(copy)).best is None
    assert "best.weights.h5: gone" in capsys.readouterr().out


def test_damaged_best_weights_are_named(copy, capsys):
    damage_bit(run_folder(copy) / "best.weights.h5")
    damaged = (run_folder(copy) / "best.weights.h5").read_bytes()
    assert resume.read_state(run_folder(copy)).best is None
    assert "best.weights.h5: damaged" in capsys.readouterr().out
    assert (run_folder(copy) / "best.weights.h5.damaged").read_bytes() == damaged


@pytest.mark.parametrize("change", [{"epoch": None}, {"settings": {"seed": 2}}, None])
def test_best_weights_that_are_not_the_run_s_are_named(copy, capsys, change):
    """Put there by hand, with their description, or with none: a mean of several, another run's."""
    folder = run_folder(copy)
    best = folder / "best.weights.h5"
    best.write_bytes(best.read_bytes() + b"other")
    about = json.loads((folder / "best.json").read_text("utf-8"))
    about |= {"sha256": resume.file_digest(best)} | (change or {})
    about = change and {key: value for key, value in about.items() if value is not None}
    (folder / "best.json").write_text(json.dumps(about), "utf-8")
    assert resume.read_state(folder).best is None
    assert "best.weights.h5: damaged, or not this run's" in capsys.readouterr().out


@pytest.mark.parametrize("moment", ["before both", "between them", "best.json empty", "gone"])
def test_a_kill_while_the_best_weights_take_their_place_is_completed(copy, moment):
    """Rule 4: the state knows new best weights, best.weights.h5 or best.json not yet."""
    folder = run_folder(copy)
    new, described = (folder / "best.weights.h5").read_bytes(), (folder / "best.json").read_text()
    (folder / "best.json").write_text(described.replace('"sha256": "', '"sha256": "0'))
    if moment == "best.json empty":  # after a power cut, on some disks
        (folder / "best.json").write_bytes(b"")
    if moment == "gone":
        (folder / "best.json").unlink()
    if moment == "before both":
        (folder / "best.waiting.weights.h5").write_bytes(new)
        (folder / "best.weights.h5").write_bytes(b"the old ones")
    state = resume.read_state(folder)
    assert state.best is not None
    assert (folder / "best.weights.h5").read_bytes() == new
    assert (folder / "best.json").read_text() == described
    assert not (folder / "best.waiting.weights.h5").exists()


def test_best_weights_that_cannot_be_used_are_one_line(copy):
    (run_folder(copy) / "best.weights.h5").unlink()
    (run_folder(copy) / "best.weights.h5").mkdir()
    with pytest.raises(resume.ResumeError, match="best.weights.h5: cannot be used: "):
        resume.read_state(run_folder(copy))


def small_state(step, **changes):
    """A state of a run that has no best weights yet."""
    arrays = [np.full(3, step)]
    return resume.State({"steps_per_epoch": 99}, {}, "", 1, step=step, arrays=arrays, **changes)


def test_the_newest_of_all_states_counts_and_the_one_before_it_is_kept(tmp_path, capsys):
    """Here of ten; one's .npz is gone when it is its turn to be removed."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(resume, "KEPT_STATES", 10)
        for step in (4, 8, 1, 6, 9, 3, 0, 7, 2, 5):
            resume.write_state(tmp_path, small_state(step))
    state = resume.read_state(tmp_path)
    assert state.step == 9 and state.arrays[0].tolist() == [9, 9, 9]
    assert capsys.readouterr().out == ""
    (tmp_path / "state-000000003.npz").unlink()
    resume.write_state(tmp_path, small_state(10))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"state-{n:09d}.{end}" for n in (9, 10) for end in ("npz", "json")}


@pytest.fixture
def reaching_the_disk(monkeypatch):
    """What is done to files, as it is done: ("flushed", name) and ("named", new name)."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("Linux tells what a handle is of")
    fsync, replace_file, done = os.fsync, os.replace, []

    def noted_fsync(handle):
        done.append(("flushed", Path(os.readlink(f"/proc/self/fd/{handle}")).name))
        fsync(handle)

    def noted_replace(old, new):
        done.append(("named", new.name))
        replace_file(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return done


def test_a_state_is_on_the_disk_before_what_counts_on_it(tmp_path, reaching_the_disk):
    """Rule 3: each of the two files, then its name; a power cut may come between any of these."""
    resume.write_state(tmp_path, small_state(1))
    assert reaching_the_disk == [
        (what, name)
        for file in ("state-000000001.npz", "state-000000001.json")
        for what, name in (
            ("flushed", f"{file}.part"),
            ("named", file),
            ("flushed", tmp_path.name),
        )
    ]


def test_best_weights_are_on_the_disk_before_they_wait_for_a_state(tmp_path, reaching_the_disk):
    best = saving.BestCheckpoint(tmp_path, small_state(0))
    best.set_model(small_network())
    best.on_epoch_end(0, {"val_accuracy": 0.5, "val_loss": 2.0})
    flushed = "flushed", resume.NEW  # the room for them, then they
    assert reaching_the_disk == [flushed, flushed, ("named", resume.WAITING)]


def test_a_write_that_is_stopped_leaves_the_state_before_it(tmp_path, monkeypatch):
    def stopped(handle):
        raise KeyboardInterrupt

    resume.write_state(tmp_path, small_state(1))
    monkeypatch.setattr(os, "fsync", stopped)
    with pytest.raises(KeyboardInterrupt):
        resume.write_state(tmp_path, small_state(1, seconds=1.0))
    assert not [*tmp_path.glob("*.part")] and resume.read_state(tmp_path).seconds == 0


def test_a_state_of_another_network_is_one_line(tmp_path):
    recorder = saving.Recorder(tmp_path, tmp_path, small_state(0))
    with pytest.raises(resume.ResumeError, match="its state is of another network; use --fresh"):
        recorder.begin(small_network())


def test_a_state_of_a_network_of_another_width_is_one_line(tmp_path):
    recorder = recorder_in_training(tmp_path)
    recorder.state.arrays[0] = np.zeros(5)
    with pytest.raises(resume.ResumeError, match="its state is of another network; use --fresh"):
        recorder.begin(small_network())


def test_best_weights_are_whole_where_they_are_those_that_the_state_knows(tmp_path):
    recorder, best = saving.Recorder(tmp_path, tmp_path, small_state(0)), tmp_path / resume.BEST
    assert not recorder.best_is_whole()
    best.write_bytes(b"some")
    assert not recorder.best_is_whole()
    recorder.state.take_best(1, 0.5, resume.file_digest(best))
    assert recorder.best_is_whole()
    best.write_bytes(b"others")
    assert not recorder.best_is_whole()
    best.unlink()
    assert not recorder.best_is_whole()


def test_logs_that_cannot_be_cut_back_are_told(tmp_path, monkeypatch, capsys):
    """As on Windows, where another program has them open."""
    old, new = (tmp_path / f"events.out.tfevents.{number}" for number in (1, 2))
    old.write_bytes(b"known, and what came after")
    new.write_bytes(b"all of it came after")
    state = small_state(0, log_sizes={old.name: 5})
    recorder = saving.Recorder(tmp_path, tmp_path, state)

    def in_use(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "truncate", in_use)
        patched.setattr(Path, "unlink", in_use)
        recorder._cut_back_logs()
    assert capsys.readouterr().out.count("cannot be cut back (Permission denied)") == 2
    recorder._cut_back_logs()
    assert old.read_bytes() == b"known" and not new.exists()


def test_logs_that_are_shorter_than_the_state_knows_stay_as_they_are(tmp_path, capsys):
    """After a power cut: made as long as they were, they would end in zeros."""
    events = tmp_path / "events.out.tfevents.1"
    events.write_bytes(b"known")
    state = small_state(0, log_sizes={events.name: 9})
    saving.Recorder(tmp_path, tmp_path, state)._cut_back_logs()
    assert events.read_bytes() == b"known" and capsys.readouterr().out == ""


def test_logs_of_a_start_that_came_to_no_other_state_go_at_the_next(tmp_path, capsys):
    """The first state was written before them."""
    events = tmp_path / "events.out.tfevents.1"
    events.write_bytes(b"of steps that are done again")
    saving.Recorder(tmp_path, tmp_path, small_state(0))._cut_back_logs()
    assert not events.exists() and capsys.readouterr().out == ""


def test_a_state_knows_how_long_the_logs_are(tmp_path, capsys):
    events = tmp_path / "events.out.tfevents.1"
    events.write_bytes(b"some")
    recorder = saving.Recorder(tmp_path, tmp_path, small_state(0))
    recorder.save()
    assert resume.read_state(tmp_path).log_sizes == {events.name: 4}
    assert capsys.readouterr().out == ""


def test_the_time_of_training_is_counted_once_and_without_scoring(tmp_path, monkeypatch):
    clock = iter([100, 110, 115, 200, 201])
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    state = small_state(0)
    state.take_best(1, 0.5, "its digest")
    recorder, seconds = saving.Recorder(tmp_path, tmp_path, state), []
    for scoring in (False, False, True, False):
        recorder.save(describe=scoring)
        seconds.append(state.seconds)
    assert seconds == [10, 15, 15, 16]


def recorder_in_training(folder):
    """The recorder of a new run of a small network, before its first step."""
    state = small_state(0)
    state.arrays = None
    recorder = saving.Recorder(folder, folder / "logs", state)
    recorder.begin(small_network())
    recorder.on_epoch_begin(0)
    return recorder


def test_within_an_epoch_a_state_is_written_every_four_minutes(tmp_path, monkeypatch):
    now = [0]
    monkeypatch.setattr(saving, "time", SimpleNamespace(monotonic=lambda: now[0]))
    recorder, written = recorder_in_training(tmp_path), []
    for batch in range(12):  # of a minute and a second each
        now[0] += 61
        recorder.on_train_batch_end(batch, {"loss": 1.0})
        written.append(resume.read_state(tmp_path).step)
    assert written == [0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12]


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_at_that_step(loss, tmp_path):
    """Not when a state is due: minutes later, or after a validation that may call it the best."""
    recorder = recorder_in_training(tmp_path)
    recorder.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(saving.NotFinite):
        recorder.on_train_batch_end(1, {"loss": loss})
    assert recorder.state.step == 2 and resume.read_state(tmp_path).step == 0


def test_best_weights_are_described_as_soon_as_they_have_their_place(tmp_path):
    """The demo may read them while the training goes on, or where it was stopped."""
    (tmp_path / resume.BEST).write_bytes(b"old")
    (tmp_path / "best.json").write_text('{"epoch": 1}')
    (tmp_path / resume.WAITING).write_bytes(b"new")
    digest = resume.file_digest(tmp_path / resume.WAITING)
    recorder = saving.Recorder(tmp_path, tmp_path, small_state(0))
    recorder.state.take_best(2, 0.75, digest)
    recorder.save()
    assert recorder.best_is_whole() and not (tmp_path / resume.WAITING).exists()
    described = json.loads((tmp_path / "best.json").read_text("utf-8"))
    known = {"epoch": 2, "val_accuracy": 0.75, "sha256": digest, "temperature": 1.0}
    assert described == known


def test_best_weights_that_were_not_saved_are_forgotten_once_better_ones_are(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    best = saving.BestCheckpoint(tmp_path, small_state(0))
    best.set_model(small_network())
    with monkeypatch.context() as patched:
        patched.setattr(resume, "file_digest", full)  # when they are written
        best.on_epoch_end(0, {"val_accuracy": 0.5, "val_loss": 2.0})
    assert best.failed and best.state.best is None
    assert not [*tmp_path.iterdir()]  # on a full disk nothing is in the way
    best.on_epoch_end(1, {"val_accuracy": 0.25, "val_loss": 3.0})
    assert not best.failed and best.state.best["epoch"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [resume.WAITING]


def test_best_weights_that_cannot_take_their_place_are_told(tmp_path, capsys):
    (tmp_path / resume.WAITING).write_bytes(b"new")
    (tmp_path / resume.BEST).mkdir()
    recorder = saving.Recorder(tmp_path, tmp_path, small_state(0))
    recorder.save()
    told = capsys.readouterr().out
    assert told.startswith(f"\n{tmp_path}: the best weights were not saved: ")
    assert "Errno" not in told and not recorder.best_is_whole()
    assert (tmp_path / resume.WAITING).exists()


def test_a_kill_before_the_first_state_is_whole_is_a_new_run(tmp_path):
    (tmp_path / "state-000000000.npz").write_bytes(b"written, its .json not yet")
    (tmp_path / resume.WAITING).write_bytes(b"of a run whose states had no room")
    assert resume.read_state(tmp_path) is None
    assert not (tmp_path / resume.WAITING).exists()  # the new run's first state knows none


def test_a_file_that_cannot_be_read_for_now_is_not_called_damaged(copy, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(resume, "file_digest", refused)
        with pytest.raises(resume.ResumeError, match="cannot be read: Permission denied"):
            resume.read_state(run_folder(copy))
    assert resume.read_state(run_folder(copy)).epoch == 2


class Killed(BaseException):
    """Stands for a kill at a place that a test chooses."""


def test_states_between_epochs_are_as_good(whole, emnist_dir, tmp_path, monkeypatch):
    """Saved after every step, killed within both epochs, gone on from the last save."""
    monkeypatch.setattr(saving, "SAVE_EVERY_S", -1)
    write_state = resume.write_state
    for moment in (17, SETTINGS["steps_per_epoch"] + 31):

        def write_and_die(folder, state, moment=moment):
            write_state(folder, state)
            if state.epoch * SETTINGS["steps_per_epoch"] + state.step == moment:
                raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(resume, "write_state", write_and_die)
            mytrain.train(**settings(emnist_dir, tmp_path))
    monkeypatch.undo()
    assert mytrain.train(**settings(emnist_dir, tmp_path)) == 0
    (expected, expected_arrays), (state, arrays) = newest_state(whole), newest_state(tmp_path)
    for array, expected_array in zip(arrays, expected_arrays, strict=True):
        np.testing.assert_array_equal(array, expected_array)
    assert (state["history"], state["best"]) == (expected["history"], expected["best"])
    assert curves(tmp_path) == curves(whole)


def test_best_weights_of_an_epoch_whose_save_failed_keep_their_score(
    whole, emnist_dir, tmp_path, monkeypatch
):
    """The disk is full at the end of the first epoch; the second saves both."""
    write_state = resume.write_state

    def full_once(folder, state):
        if (state.epoch, state.step) == (1, 0):
            raise OSError(28, "No space left on device")
        write_state(folder, state)

    monkeypatch.setattr(resume, "write_state", full_once)
    assert mytrain.train(**settings(emnist_dir, tmp_path)) == 0
    assert newest_state(tmp_path)[0]["best"] == newest_state(whole)[0]["best"]
    best = "best.weights.h5"
    assert (run_folder(tmp_path) / best).read_bytes() == (run_folder(whole) / best).read_bytes()


def test_waiting_weights_that_no_state_knows_are_dropped(copy):
    folder = run_folder(copy)
    before = (folder / "best.weights.h5").read_bytes()
    (folder / "best.waiting.weights.h5").write_bytes(b"half")
    (folder / "best.new.weights.h5").write_bytes(b"half")
    (folder / "state-000000999.npz").write_bytes(b"half")
    (folder / "state-000000001.npz").write_bytes(b"its .json was removed, then a kill")
    (folder / "state-000000998.json.part").write_bytes(b"half")
    assert resume.read_state(folder).epoch == 2
    assert (folder / "best.weights.h5").read_bytes() == before
    names = {path.name for path in folder.iterdir()}
    assert not names & {
        "best.waiting.weights.h5",
        "best.new.weights.h5",
        "state-000000999.npz",
        "state-000000001.npz",
        "state-000000998.json.part",
    }


def test_two_at_once_the_second_is_refused(tmp_path):
    with resume.open_folder(tmp_path):
        with pytest.raises(resume.ResumeError, match=f"process {os.getpid()}"):
            resume.open_folder(tmp_path)
        (tmp_path / "lock").write_text("")  # which it has, but has not signed yet
        with pytest.raises(resume.ResumeError, match="process unknown"):
            resume.open_folder(tmp_path)
    with resume.open_folder(tmp_path):  # the lock is free again
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows locks otherwise")
def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, capsys):
    def unable(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unable)
    with resume.open_folder(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert "no locks on this file system" in capsys.readouterr().out


def test_a_dead_process_does_not_block(tmp_path):
    (tmp_path / "lock").write_text("1")
    with resume.open_folder(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_not_a_number_stops_and_keeps_the_last_good_state(emnist_dir, tmp_path, capsys):
    # Such steps overflow float32 at once.
    assert mytrain.train(**settings(emnist_dir, tmp_path, learning_rate=1e30)) == 1
    message = capsys.readouterr().err
    assert "no longer a number, at epoch 1, step" in message and "--learning_rate" in message
    _, arrays = newest_state(tmp_path)
    assert all(np.isfinite(array).all() for array in arrays)


def vast(input_shape, class_count, dropout):
    """A network that fits no memory."""
    images = keras.Input(input_shape)
    large = keras.layers.UpSampling2D(10**6)(images)  # 28 million pixels wide: petabytes
    large = keras.layers.GlobalAveragePooling2D()(large)
    return keras.Model(images, keras.layers.Dense(class_count, "softmax")(large), name="LeNet")


def test_a_step_that_does_not_fit_the_memory_is_one_message(
    emnist_dir, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(mytrain.MODELS, "LeNet", vast)
    assert mytrain.main(command(**settings(emnist_dir, tmp_path))[2:]) == 1
    message = capsys.readouterr().err
    assert "steps of 32 images" in message and "smaller --batch_size" in message
    assert str(run_folder(tmp_path)) in message
    assert newest_state(tmp_path)[0]["step"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "OOM when allocating tensor with shape[9,9] and type float",
        "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes.",
        "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
    ],
)
def test_every_way_to_say_that_memory_is_full_is_one_message(text, tmp_path):
    with pytest.raises(devices.OutOfMemory, match="steps of 32 images"):
        with devices.explaining_memory(32, tmp_path):
            raise RuntimeError(text)


@pytest.mark.parametrize("text", ["No space left on device", "ZOOM/x.npz; No space left on device"])
def test_a_full_disk_is_not_taken_for_a_full_memory(text, tmp_path):
    error = tf.errors.ResourceExhaustedError(None, None, text)
    with pytest.raises(tf.errors.ResourceExhaustedError, match=text):
        with devices.explaining_memory(32, tmp_path):
            raise error


def test_no_memory_for_a_batch_is_no_memory_either(tmp_path):
    with pytest.raises(devices.OutOfMemory, match="steps of 32 images"):
        with devices.explaining_memory(32, tmp_path):
            np.empty((2**50,), np.float64)


def test_a_weight_that_is_no_number_is_not_saved(tmp_path):
    """A step can make it, with a loss that was one."""
    arrays = [np.ones(3), np.array([1, np.inf])]
    state = resume.State({"steps_per_epoch": 1}, {}, log_name="", epochs=1, arrays=arrays)
    with pytest.raises(saving.NotFinite):
        saving.Recorder(tmp_path, tmp_path, state).save()
    assert not [*tmp_path.iterdir()]


def test_a_failing_disk_is_told_and_harms_nothing(whole, emnist_dir, tmp_path, capfd):
    """A limit on the size of files stands for the full disk: some fit, the states do not."""
    limited = pytest.importorskip("resource", reason="limits are a Unix thing")
    size = max(path.stat().st_size for path in run_folder(whole).glob("state-*.npz"))
    brief = settings(emnist_dir, tmp_path, **(BRIEF | {"epochs": 2}))
    before = limited.getrlimit(limited.RLIMIT_FSIZE)
    limited.setrlimit(limited.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        code = mytrain.main(command(**brief)[2:])
    finally:
        limited.setrlimit(limited.RLIMIT_FSIZE, before)
    output, errors = capfd.readouterr()
    assert code == 1, errors
    assert "the state was not saved" in output and "Traceback" not in errors
    assert not list(run_folder(tmp_path).glob("state-*"))
    # Where the weights alone fitted, they wait for a state that never came.
    assert (run_folder(tmp_path) / resume.WAITING).exists()
    assert mytrain.train(**brief) == 0
    assert newest_state(tmp_path)[0]["epoch"] == 2


BAD_OPTIONS = [
    ("--model", "GoogLeNet"),
    ("--epochs", "0"),
    ("--steps_per_epoch", "many"),
    ("--batch_size", "-1"),
    ("--learning_rate", "nan"),
    ("--dropout", "1"),
    ("--seed", "1.5"),
    ("--data_dir", ""),
    ("--log_dir", ""),
]


@pytest.mark.parametrize(("name", "value"), BAD_OPTIONS)
def test_a_bad_option_is_refused_before_anything_is_touched(name, value, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        mytrain.main([name, value, "--checkpoint_dir", str(tmp_path / "c")])
    assert end.value.code == 2
    assert name in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_from_a_program_folders_may_be_strings_and_an_unknown_model_makes_none(
    emnist_dir, tmp_path
):
    with pytest.raises(ValueError, match="'Lenet': there are LeNet, AlexNet"):
        mytrain.train(model="Lenet", checkpoint_dir=tmp_path / "c", log_dir=tmp_path / "l")
    assert not list(tmp_path.iterdir())
    strings = {name: str(tmp_path / name) for name in ("checkpoint_dir", "log_dir")}
    assert mytrain.train(**SETTINGS | BRIEF | strings, data_dir=str(emnist_dir)) == 0
    about = read_sidecar(tmp_path / "checkpoint_dir" / "LeNet" / "best.weights.h5")
    images = len(mytrain.data.load("emnist", emnist_dir).validation[1])
    assert about["val_images"] == images
    assert f" % on {images} validation images (" in describe(Path("best.weights.h5"), about)


def test_a_tilde_is_the_user_s_home_where_the_shell_leaves_it(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for name in ("data_dir", "checkpoint_dir", "log_dir", "weights"):
        assert vars(mytrain._parser().parse_args([f"--{name}=~/x"]))[name] == tmp_path / "x"


def test_a_refused_number_is_told_its_bounds(capsys):
    for name, value, bounds in (("--dropout", "1", "0 to below 1"), ("--epochs", "0", "1 to ")):
        with pytest.raises(SystemExit):
            mytrain.main([name, value])
        assert f"{value!r}: must be a" in (told := capsys.readouterr().err) and bounds in told


def test_a_signal_before_training_begins_stops_it(monkeypatch):
    heard = saving.stopping_signals()[1:]
    before = [signal.getsignal(number) for number in heard]
    monkeypatch.setattr(sys, "argv", ["mytrain.py", "--help"])
    try:
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "mytrain.py"), run_name="__main__")
        for number in heard:
            with pytest.raises(saving.Stopped):
                signal.raise_signal(number)
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        mytrain.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for action in mytrain._parser()._actions:
        assert action.option_strings[-1] in text
    for heading in ("data:", "network:", "training:", "output:", "examples:"):
        assert f"\n{heading}\n" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "None" not in text


def console_after(steps, monkeypatch, first=0, apart=1, live=True):
    """After some steps in the second of three epochs of 30, each a look at the clock `apart` s."""
    clock = itertools.count(step=apart)
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    console = report.Console(3, 30, 32, SimpleNamespace(epoch=1, step=first))
    console.live = live
    console.on_epoch_begin(1)
    for batch in range(steps):
        console.on_train_batch_end(batch, {"loss": 1.0, "accuracy": 0.5})
    return console


def test_the_live_line_tells_the_time_left(monkeypatch, capsys):
    console_after(3, monkeypatch, first=10)
    line = capsys.readouterr().out.split("\r")[-1]
    assert line.startswith("epoch 2/3  [####------] 13/30  47 s left  loss 1.0000"), line


def test_the_live_line_is_no_longer_than_the_screen_is_wide(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    console = console_after(2, monkeypatch)
    (line,) = capsys.readouterr().out.split("\r")[1:]
    assert len(line) == 39 and line.startswith("epoch 2/3  [#---------] 2/30  58 s left")
    figures = {"loss": 1, "accuracy": 0.5, "val_loss": 2, "val_accuracy": 0.25}
    console.on_epoch_end(1, figures)
    words = "epoch 2/3  loss 1.0000  accuracy 0.5000  val_loss 2.0000  val_accuracy 0.2500  2 s"
    assert capsys.readouterr().out == f"\r{words}\n"


@pytest.mark.parametrize("told", [True, False])
def test_a_processor_s_speed_is_told_once_after_twenty_steps(told, monkeypatch, capsys):
    monkeypatch.setattr(devices, "has_gpu", lambda: not told)
    console_after(30, monkeypatch, apart=2, live=False)
    line = "About 16 images/s on this processor: 60 s an epoch\n"
    assert capsys.readouterr().out == (line if told else "")


def test_without_a_console_nothing_follows_the_training(monkeypatch):
    """As under pythonw."""
    monkeypatch.setattr(sys, "stdout", None)
    assert not report.Console(3, 30, 32, None).live


@pytest.mark.parametrize(
    ("epoch", "step", "epochs", "told"),
    [
        (1, 7, 3, ["step 7 of epoch 2"]),
        (2, 0, 3, ["epoch 2"]),
        (2, 0, 4, ["epoch 2", "  4 epochs in all, not 3: the learning rate follows"]),
    ],
)
def test_where_a_run_goes_on_is_told(epoch, step, epochs, told, capsys):
    state = resume.State({}, {}, "", 3, epoch=epoch, step=step, arrays=[])
    report.print_start(Path("here"), state, epochs)
    where, *more = told
    assert capsys.readouterr().out.splitlines() == [f"Going on in here after {where}", *more]


def test_where_a_run_begins_and_what_it_ends_with_is_told(capsys):
    state = resume.State({}, {}, "", 3, epoch=3, seconds=100)
    state.best = {"val_accuracy": 0.87654, "epoch": 2}
    report.print_start(Path("here"), state, 3)
    report.print_end(Path("here", "best.weights.h5"), state)
    assert capsys.readouterr().out.splitlines() == [
        "Starting in here",
        "Finished: 3 epochs, 2 min of training.",
        f"  best weights {Path('here', 'best.weights.h5')}",
        "  validation accuracy 0.8765, epoch 2",
    ]


@pytest.mark.parametrize("tested", [5, None])
def test_what_a_run_works_with_is_told(tested, capsys):
    train, validation, test = (
        (np.zeros((n or 0, 28, 28, 1), np.uint8), np.zeros(n or 0, int)) for n in (40, 7, tested)
    )
    parts = train, validation, tested and test
    loaded = mytrain.data.Data("emnist/digits/3.1.0", ["0", "", "1"], *parts, "held out")
    report.print_settings(loaded, SETTINGS | {"precision": "float32"}, 2, Path("logs"))
    assert capsys.readouterr().out.splitlines() == [
        "  data       emnist/digits/3.1.0, 2 classes",
        "             40 images to train on",
        "             7 to validate on (held out)",
        f"             {tested or 'none'} to test on, at the end",
        "  model      LeNet, dropout 0.1, float32",
        "  training   2 epochs of 40 steps of 32, learning rate 0.003, seed 7",
        "  logs       logs",
    ]


def test_one_is_no_plural():
    assert [report.counted(number, "step") for number in (0, 1, 2)] == [
        "0 steps",
        "1 step",
        "2 steps",
    ]


def test_durations_are_said_as_people_say_them():
    said = [report.duration(seconds) for seconds in (45, 89, 90, 720, 5340, 5400, 12000)]
    assert said == ["45 s", "89 s", "2 min", "12 min", "89 min", "1 h 30 min", "3 h 20 min"]


def test_unknown_data_is_one_line_and_exit_code_1(tmp_path, capsys):
    line = ["--dataset=no_such_set", f"--data_dir={tmp_path}", f"--checkpoint_dir={tmp_path / 'c'}"]
    assert mytrain.main([*line, f"--log_dir={tmp_path / 't'}"]) == 1
    assert capsys.readouterr().err.startswith("no_such_set: no dataset of this name")


@pytest.mark.parametrize("name", ["a file", "too long" * 32, "caf\udce9"])
def test_logs_that_cannot_be_written_do_not_stop_a_training(name, emnist_dir, tmp_path, capsys):
    """A file where a folder should be; a folder whose name is no text, which TensorFlow needs."""
    (tmp_path / "a file").touch()
    changes = BRIEF | {"log_dir": tmp_path / name}
    assert mytrain.main(command(**settings(emnist_dir, tmp_path, **changes))[2:]) == 0
    output = capsys.readouterr().out
    assert output.count("no more curves are written") == 1
    assert output.count("the final figures were not written") == 1
    assert "__wrapped__" not in output and "Errno" not in output  # for programmers
    assert newest_state(tmp_path)[0]["epoch"] == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no colon in names")
def test_folders_may_have_any_name(emnist_dir, tmp_path, monkeypatch):
    """Braces, which Keras would fill in, and letters that the console's encoding does not have."""
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    folder = tmp_path / "{a} {epoch} 手: %s"
    options = {"checkpoint_dir": folder, "log_dir": folder, "data_dir": emnist_dir}
    line = [f"--{name}={value}" for name, value in (SETTINGS | options | BRIEF).items()]
    assert mytrain.main(line) == 0
    assert (folder / "LeNet" / "best.json").exists() and list(folder.glob("LeNet/emnist*/train"))
    assert b"{a} {epoch} \\u624b: %s" in console.detach().getvalue()


def test_best_weights_that_do_not_reach_the_disk_do_not_stop_a_training(
    emnist_dir, tmp_path, monkeypatch, capsys
):
    flush = resume.flush

    def fail_for_new_weights(path, *mode):
        if path.name == resume.NEW:
            raise OSError(errno.ENOSPC, "no space")
        flush(path, *mode)

    monkeypatch.setattr(resume, "flush", fail_for_new_weights)
    brief = settings(emnist_dir, tmp_path, **(BRIEF | {"epochs": 2}))
    assert mytrain.train(**brief) == 1
    assert capsys.readouterr().out.count("the best weights were not saved: No space left") == 2
    state, _ = newest_state(tmp_path)
    assert state["epoch"] == 2 and state["best"] is None
    monkeypatch.undo()
    assert mytrain.train(**(brief | {"epochs": 3})) == 0
    assert newest_state(tmp_path)[0]["best"]["epoch"] == 3
    monkeypatch.setattr(resume, "flush", fail_for_new_weights)
    monkeypatch.setattr(saving.BestCheckpoint, "_is_better", lambda *_: True)
    assert mytrain.train(**(brief | {"epochs": 4})) == 1
    assert newest_state(tmp_path)[0]["best"]["epoch"] == 3


def test_other_best_weights_are_neither_scored_nor_calibrated():
    state = resume.State({}, {"temperature": 1.3}, "", epochs=2, test={"top 1": 0.5})
    state.take_best(2, 0.75, "its digest")
    assert state.best == {"epoch": 2, "val_accuracy": 0.75, "sha256": "its digest"}
    assert state.description == {"temperature": 1.0} and state.test is None


def test_of_equal_accuracies_the_lower_loss_is_the_best(tmp_path):
    state = resume.State(settings={}, description={}, log_name="", epochs=7)

    def epochs(*figures):
        """The best epoch after each of those with these validation figures, from a start on."""
        best = saving.BestCheckpoint(tmp_path, state)
        best.set_model(mytrain.MODELS["LeNet"](n_classes=62))
        for accuracy, loss in figures:
            logs = {"val_accuracy": accuracy, "val_loss": loss}
            best.on_epoch_end(len(state.history), logs)
            state.history.append(logs)
            yield state.best["epoch"]

    assert [*epochs((0.5, 2.0), (0.5, 2.1), (0.5, 1.9))] == [1, 1, 3]
    assert [*epochs((0.5, 1.9), (0.4, 1.0), (0.5, 1.8), (0.6, 3.0))] == [3, 3, 6, 7]
    digest = resume.file_digest(tmp_path / resume.WAITING)
    # The state of the last two epochs is lost, the best weights are not: as without the loss.
    del state.history[5:]
    assert [*epochs((0.5, 1.8), (0.6, 3.0), (0.6, 3.0), (0.6, 2.9))] == [7, 7, 7, 9]
    assert resume.file_digest(tmp_path / resume.WAITING) == state.best["sha256"] != digest


def test_a_leftover_that_cannot_be_removed_is_one_line(emnist_dir, tmp_path):
    (run_folder(tmp_path) / "state.part").mkdir(parents=True)
    with pytest.raises(resume.ResumeError, match=r"state\.part: cannot be removed"):
        mytrain.train(**settings(emnist_dir, tmp_path))


def test_a_folder_lost_in_the_middle_is_made_again(whole, emnist_dir, tmp_path, monkeypatch):
    write_state = resume.write_state

    def lose_folder_after_first_epoch(folder, state):
        write_state(folder, state)
        if state.epoch == 1:
            shutil.rmtree(folder)

    monkeypatch.setattr(resume, "write_state", lose_folder_after_first_epoch)
    assert mytrain.train(**settings(emnist_dir, tmp_path)) == 0
    assert newest_state(tmp_path)[0]["history"] == newest_state(whole)[0]["history"]


@pytest.mark.parametrize("place", ["checkpoints", "checkpoints/LeNet"])
def test_a_checkpoint_folder_that_cannot_be_is_one_line(place, emnist_dir, tmp_path):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("in the way")
    with pytest.raises(resume.ResumeError, match="cannot be used for checkpoints"):
        mytrain.train(**settings(emnist_dir, tmp_path))


def test_the_temperature_of_the_best_weights_is_fitted_on_validation_data(copy, emnist_dir):
    path = run_folder(copy) / "best.json"
    described = json.loads(path.read_text("utf-8"))
    loaded = mytrain.data.load("emnist", emnist_dir)
    network = best_network(copy)
    images, labels = loaded.validation
    temperature = calibration.fit_temperature(network.predict(images / 255, verbose=0), labels)
    assert described["temperature"] == pytest.approx(temperature, rel=0.01) != 1

    path.write_text(json.dumps(described | {"temperature": 1.0}), "utf-8")  # killed before it
    resume.read_state(run_folder(copy))
    assert json.loads(path.read_text("utf-8")) == described


@pytest.mark.parametrize(
    ("left", "what_to_do"),
    [
        ("a whole best, no state", "Make room there and start the same command again."),
        ("a state, no best", "best.weights.h5: gone or damaged; more --epochs make up for it."),
    ],
)
def test_weights_that_are_not_those_of_the_last_state_are_not_scored(
    left, what_to_do, tmp_path, capsys
):
    recorder, best = saving.Recorder(tmp_path, tmp_path, small_state(0)), tmp_path / resume.BEST
    best.write_bytes(b"some")
    recorder.state.take_best(1, 0.5, resume.file_digest(best))
    recorder.failed = left.endswith("no state")
    if left.endswith("no best"):
        best.unlink()
    assert evaluation.score_best(None, None, recorder) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.endswith(f"{what_to_do}\n") and str(tmp_path) in told.err


def test_a_score_that_does_not_fit_the_memory_is_one_message_too(emnist_dir, tmp_path):
    network, best = vast((28, 28, 1), 62, 0), tmp_path / resume.BEST
    network.save_weights(best)
    state = resume.State(SETTINGS, {}, log_name="", epochs=1)
    state.take_best(1, 0.5, resume.file_digest(best))
    recorder = saving.Recorder(tmp_path, tmp_path, state)
    loaded = mytrain.data.load("emnist", emnist_dir)
    with pytest.raises(devices.OutOfMemory, match="steps of 32 images"):
        evaluation.score_best(network, loaded, recorder)


def test_what_no_character_has_is_no_answer(emnist_dir):
    """emnist/letters has 37 outputs, of which 26 are used; smoothed labels give all a share."""
    loaded = mytrain.data.load("emnist/letters", emnist_dir)
    network = mytrain.MODELS["LeNet"](n_classes=37)
    probabilities, labels = evaluation.predictions(network, loaded, loaded.validation, 32)
    assert probabilities.shape == (len(labels), 37)
    used = [bool(character) for character in loaded.characters]
    assert (probabilities.min(axis=0) > 0).tolist() == used and sum(used) == 26
    assert (probabilities[:, np.logical_not(used)] == 0).all()


def test_the_console_counts_the_classes_that_there_are_as_the_demo_does(emnist_dir, capsys):
    loaded = mytrain.data.load("emnist/letters", emnist_dir)
    report.print_settings(loaded, SETTINGS | {"precision": "float32"}, 1, Path("logs"))
    assert f"{loaded.name}, 26 classes\n" in capsys.readouterr().out
    about = {"model": "LeNet", "dataset": loaded.name, "characters": loaded.characters}
    assert f"{loaded.name}, 26 classes" in describe(Path("best.weights.h5"), about)


def test_a_short_run_has_weaker_augmentation(whole_run):
    passes = mytrain.FULL_AUGMENTATION
    for enough in (passes, 5 * passes):
        amounts = recipe.augmentation(mytrain.AUGMENTATION, enough, passes)
        assert amounts == mytrain.AUGMENTATION
    (((_, labels), batch_size, _, _, augmentation, _),) = whole_run.trained
    planned = SETTINGS["epochs"] * SETTINGS["steps_per_epoch"] * batch_size
    weaker = (planned / len(labels) / passes) ** 0.5
    assert 0 < weaker < 1
    assert augmentation == {
        name: pytest.approx(weaker * largest) for name, largest in mytrain.AUGMENTATION.items()
    }


def test_a_network_is_made_and_compiled_as_its_settings_say():
    def network(**changes):
        known = SETTINGS | {"precision": "float32"} | changes
        state = resume.State(known, {}, "", epochs=3)
        return mytrain._network(state, 10, tf.distribute.get_strategy())

    one, again, other = network(dropout=0.25), network(), network(seed=8)
    for weights, same, others in zip(one.get_weights(), again.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(weights, same)
        assert weights.ndim == 1 or not np.array_equal(weights, others)  # biases begin at zero
    rates = [layer.rate for layer in one.layers if isinstance(layer, keras.layers.Dropout)]
    assert {*rates} == {0.25} and one.output_shape == (None, 10)
    optimizer = one.optimizer
    assert optimizer.weight_decay == mytrain.RECIPE["weight_decay"]
    rates = []
    for step in (4, 119, 120):  # of 120, four of them to rise
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates[1] > 1e-7
    assert rates[::2] == pytest.approx([SETTINGS["learning_rate"], 0], abs=1e-9)


def test_the_samples_shown_are_those_that_each_epoch_began_with(whole_run):
    """In the order, and changed in the way, that belong to the run's seed."""
    ((train, batch_size, _, _, changes, _),) = whole_run.trained
    shown = curves(whole_run.folder)["train", "augmented"]
    assert [epoch for epoch, _ in shown] == [0, 1]
    for epoch, (_, _, png) in shown:
        first = epoch * SETTINGS["steps_per_epoch"]
        batches = batching.training_batches(train, batch_size, SETTINGS["seed"], first, changes)
        expected = report.charts.image_grid(next(iter(batches))[0].numpy()[: report.SHOWN])
        np.testing.assert_array_equal(tf.io.decode_png(png), expected)


def test_the_kernels_shown_are_the_first_layer_s(whole):
    _, (epoch, (_, _, png)) = curves(whole)["train", "first_layer"]
    assert newest_state(whole)[0]["best"]["epoch"] == epoch + 1
    kernels = best_network(whole).layers[1].get_weights()[0]
    np.testing.assert_array_equal(tf.io.decode_png(png), report.charts.kernels(kernels))


def small_network(steps=100, **changes):
    """A network of 4 numbers to 3 classes, compiled for so many steps."""
    layers = keras.layers
    network = keras.Sequential(
        [layers.Input((4,)), layers.BatchNormalization(), layers.Dense(3, "softmax")]
    )
    known = {"warm_up": 0.1, "weight_decay": 0.0, "smoothing": 0.0, "averaged": 0.5}
    recipe.compile_network(network, 0.01, steps, **(known | changes))
    network.optimizer.build(network.trainable_variables)
    return network


def test_the_learning_rate_rises_and_then_falls_to_zero():
    optimizer = small_network().optimizer
    rates = []
    for step in (0, 5, 10, 55, 100):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx([0, 0.005, 0.01, 0.005, 0], abs=1e-8)


@pytest.mark.parametrize(("steps", "expected"), [(1, [0, 0.01]), (2, [0, 0.01, 0])])
def test_the_learning_rate_of_a_run_of_one_or_two_steps_begins_at_zero_too(steps, expected):
    optimizer = small_network(steps).optimizer
    rates = []
    for step in range(steps + 1):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert rates == pytest.approx(expected, abs=1e-8)


def test_kernels_decay_and_nothing_else_does():
    network = small_network(weight_decay=0.5)
    variables = network.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    network.optimizer.iterations.assign(10)  # where the learning rate is the highest
    network.optimizer.apply([np.zeros(variable.shape, np.float32) for variable in variables])
    left = {variable.name: float(np.mean(variable)) for variable in variables}
    decayed = {"gamma": 1, "beta": 1, "kernel": 1 - 0.01 * 0.5, "bias": 1}
    assert left == pytest.approx(decayed, abs=1e-6)


@pytest.mark.parametrize(("averaged", "steps"), [(0.5, 50), (0.01, 10), (100, 1000)])
def test_the_average_looks_back_on_a_share_of_the_steps(averaged, steps):
    optimizer = small_network(averaged=averaged).optimizer
    assert optimizer.use_ema and optimizer.ema_momentum == pytest.approx(1 - 1 / steps)


def test_what_is_scored_and_kept_is_the_average_of_the_weights(whole):
    _, arrays = newest_state(whole)
    assert newest_state(whole)[0]["best"]["epoch"] == SETTINGS["epochs"]
    best = best_network(whole).get_weights()
    network, others = arrays[: len(best) + 1], arrays[len(best) + 1 :]  # dropout's seed is one
    for weights in best:
        assert not any(np.array_equal(weights, array) for array in network)
        assert any(np.array_equal(weights, array) for array in others)  # the optimizer's


def test_the_loss_smooths_the_labels(whole, emnist_dir):
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], np.float32)
    smoothing = mytrain.RECIPE["smoothing"]
    smoothed_cross_entropy = recipe.SmoothedCrossEntropy(smoothing).call
    rest = smoothing / 3
    by_hand = [
        -(1 - smoothing) * np.log(row[label]) - rest * np.log(row).sum()
        for row, label in zip(probabilities, (1, 0))
    ]
    for labels in ([1, 0], [[1], [0]]):
        loss = smoothed_cross_entropy(np.array(labels), probabilities)
        np.testing.assert_allclose(loss, by_hand, rtol=1e-5)

    # The loss of a training's curves is this one.
    state, _ = newest_state(whole)
    best = state["history"][state["best"]["epoch"] - 1]
    loaded = mytrain.data.load("emnist", emnist_dir)
    network = best_network(whole)
    images, labels = loaded.validation
    loss = smoothed_cross_entropy(labels, network.predict(images / 255, verbose=0))
    loss = float(np.mean(loss))  # 2.30; unsmoothed 1.84
    assert best["val_loss"] == pytest.approx(loss, rel=1e-3)


def test_many_steps_at_once_train_what_single_ones_train(whole, emnist_dir, tmp_path, monkeypatch):
    """As on a GPU; stopped within an epoch, too, where the steps left are no multiple of ten."""
    monkeypatch.setattr(mytrain.devices, "has_gpu", lambda: True)
    called = []
    step_done = saving.Recorder.on_train_batch_end

    def noting(self, batch, logs=None):
        step_done(self, batch, logs)
        called.append(self.state.step)
        if len(called) == 1:
            self.signal_number = signal.SIGINT

    monkeypatch.setattr(saving.Recorder, "on_train_batch_end", noting)
    monkeypatch.setattr(mytrain, "STEPS_AT_ONCE", 4)
    with pytest.raises(saving.Stopped):
        mytrain.train(**settings(emnist_dir, tmp_path))
    assert called == [4] and newest_state(tmp_path)[0]["step"] == 8
    monkeypatch.setattr(mytrain, "STEPS_AT_ONCE", 10)
    assert mytrain.train(**settings(emnist_dir, tmp_path)) == 0
    assert called[1:] == [*range(16, 41, 8), *range(8, 41, 8)]
    # The description of the network tells how many steps at once.
    monkeypatch.setattr(sys.modules[__name__], "CHANGING", CHANGING | {"keras"})
    assert_same_run(tmp_path, whole)


def test_pictures_and_speeds_stand_at_their_epochs(whole, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "CHANGING", set())
    shown = curves(whole)
    tags = [("validation", "confusion"), ("validation", "surest_errors"), ("train", "augmented")]
    for tag in [*tags, ("train", "first_layer"), ("train", "epoch_images_per_second")]:
        assert [step for step, _ in shown[tag]] == [0, 1], tag
    assert all(speed > 0 for _, speed in shown["train", "epoch_images_per_second"])


def test_the_settings_are_told_with_their_values(whole):
    ((_, text),) = curves(whole)["train", "settings"]
    for name, value in SETTINGS.items():
        assert f"| {name} | {value} |\n".encode() in text, name


def test_the_surest_errors_are_shown_as_what_they_are(whole_run, emnist_dir):
    images, labels = mytrain.data.load("emnist", emnist_dir).validation
    known = {image.tobytes(): label for image, label in zip(images, labels)}
    assert len(whole_run.shown) == SETTINGS["epochs"]
    for images, labels, answers, confidences, _ in whole_run.shown:
        assert 0 < len(images) <= report.SHOWN
        assert [known[image.tobytes()] for image in np.uint8(np.rint(255 * images))] == [*labels]
        assert (labels != answers).all() and (np.diff(confidences) <= 0).all()
    assert len(whole_run.shown[0][0]) == report.SHOWN


def test_rows_of_the_confusion_matrices_are_what_the_images_were(whole_run, emnist_dir):
    loaded = mytrain.data.load("emnist", emnist_dir)
    parts = [loaded.validation] * SETTINGS["epochs"] + [loaded.test]
    for (counts, _), (_, labels) in zip(whole_run.confused, parts, strict=True):
        np.testing.assert_array_equal(counts.sum(axis=1), np.bincount(labels, minlength=62))


def test_an_epoch_may_be_steps_taken_at_once(emnist_dir, tmp_path, monkeypatch):
    """It has no speed then: that is counted from the end of the first group."""
    monkeypatch.setattr(mytrain.devices, "has_gpu", lambda: True)
    monkeypatch.setattr(report, "EVERY", 3)  # steps 3 and 6 are within a group: told at its end
    assert mytrain.train(**settings(emnist_dir, tmp_path, steps_per_epoch=4)) == 0
    shown = curves(tmp_path)
    assert [step for step, _ in shown["train", "epoch_loss"]] == [0, 1]
    for name in ("loss", "accuracy"):
        assert [step for step, _ in shown["train", f"by_step/{name}"]] == [4, 8]
    rates = dict(shown["train", "by_step/learning_rate"])
    assert rates[4] > rates[8] == pytest.approx(0, abs=1e-9) and [*rates] == [4, 8]


def test_curves_by_step_count_from_the_start_of_the_run(tmp_path, monkeypatch):
    """Here from step 5 of the second epoch of 10 steps on; a second later all five are done."""
    monkeypatch.setattr(report, "EVERY", 4)
    clock = SimpleNamespace(monotonic=itertools.count().__next__)
    monkeypatch.setattr(report, "time", clock)
    steps = {"steps_per_epoch": 10, "batch_size": 32}
    state = resume.State(steps, {"characters": "xyz"}, "", 3, epoch=1, step=5)
    nothing = np.zeros((0, 28, 28, 1), np.uint8), np.zeros(0, int)
    board = report.TensorBoard(tmp_path / "tblogs" / "LeNet" / "run", state, nothing, None)
    board.set_model(small_network())
    board.on_train_begin()
    board.on_epoch_begin(1)
    for batch in range(5):
        board.on_train_batch_end(batch, {"loss": batch, "accuracy": 0.5})
        if batch == 0:
            # It is on the disk at once: a state that is saved now knows of it.
            assert curves(tmp_path)["train", "by_step/loss"] == [(16, 0)]
    board.on_test_begin()
    board.on_test_end({"loss": 1.0})
    assert board.speed == 4 * 32  # images/s, without the first step, which compiles
    board.on_train_end()
    assert curves(tmp_path)["train", "by_step/loss"] == [(16, 0), (20, 4)]
    assert curves(tmp_path)["train", "by_step/accuracy"] == [(16, 0.5), (20, 0.5)]


def test_runs_that_begin_in_the_same_second_have_logs_of_their_own(tmp_path):
    names = {report.new_log_name(tmp_path, "emnist/byclass/3.1.0") for _ in range(3)}
    assert names == {path.name for path in tmp_path.iterdir()} and len(names) == 3
    assert all(name.startswith("emnist-byclass_") for name in names)


def test_steps_at_once_fill_an_epoch_and_the_rest_of_one():
    for steps, step, expected in [(2000, 0, 10), (469, 0, 7), (2000, 1996, 4), (2000, 7, 1)]:
        assert recipe.steps_at_once(10, steps, step) == expected
    assert recipe.steps_at_once(1, 2000, 0) == 1


def test_a_training_begins_with_the_weights_it_is_given(whole, copy, emnist_dir, tmp_path):
    best = run_folder(whole) / "best.weights.h5"
    given = settings(emnist_dir, tmp_path, weights=best, learning_rate=1e-8, **BRIEF)
    assert mytrain.train(**given) == 0
    assert_same_weights(best_network(tmp_path), best_network(whole))
    other = tmp_path / "other.weights.h5"  # it goes on with none but them
    for name in ("best.weights.h5", "best.json"):
        file = run_folder(tmp_path) / name
        shutil.copy(file, other.with_name(name.replace("best", "other")))
    begun_with = resume.file_digest(best)[:12]
    told = rf"--weights: its run began with others \(SHA-256 {begun_with}...\); leave them out, "
    with pytest.raises(resume.ResumeError, match=told):
        mytrain.train(**(given | {"weights": other}))
    told = "--weights: its run began without any; leave them out, "
    with pytest.raises(resume.ResumeError, match=told):
        mytrain.train(**settings(emnist_dir, copy, weights=best))  # which began at random
    assert mytrain.train(**(given | {"weights": None, "epochs": 2})) == 0  # they may be gone
    assert newest_state(tmp_path)[0]["settings"]["weights"] == resume.file_digest(best)


@pytest.mark.parametrize(
    ("names", "classes", "order"),
    [
        ("abcd", "abcd", [0, 1, 2, 3]),
        ("abcd", "dcba", [3, 2, 1, 0]),
        ("abcd", "xbaz", [2, 1, 0, 3]),
        (["", "a", "", "b"], ["b", "", "a", ""], [3, 0, 1, 2]),
    ],
)
def test_a_training_begins_with_each_output_at_its_class(names, classes, order, tmp_path):
    network = mytrain.MODELS["LeNet"](n_classes=4)
    network.save_weights(tmp_path / "given.weights.h5")
    about = {"model": "LeNet", "input_shape": [28, 28, 1], "characters": [*names]}
    (tmp_path / "given.json").write_text(json.dumps(about), "utf-8")
    values = initial_weights(tmp_path / "given.weights.h5", "LeNet", [*classes])
    begun = mytrain.MODELS["LeNet"](n_classes=4)
    begun.set_weights(values)
    images = np.random.default_rng(1).random((5, 28, 28, 1), np.float32)
    np.testing.assert_allclose(begun(images), np.array(network(images))[:, order], rtol=1e-5)


def test_weights_are_read_before_fresh_moves_them_aside(copy, emnist_dir, capsys):
    kept = run_folder(copy) / "kept"
    kept.mkdir()
    for name in ("best.weights.h5", "best.json"):
        (run_folder(copy) / name).rename(kept / name)
    best = kept / "best.weights.h5"
    changes = BRIEF | {"learning_rate": 1e-8, "fresh": True}
    with pytest.raises(WeightsError, match="not the weights of a LeNet with 10 classes"):
        mytrain.train(**settings(emnist_dir, copy, dataset="emnist/mnist", weights=best, **changes))
    assert best.exists(), "the old run was moved aside for nothing"
    before = mytrain.MODELS["LeNet"](n_classes=62)
    before.load_weights(best)
    assert mytrain.train(**settings(emnist_dir, copy, weights=best, **changes)) == 0
    said = capsys.readouterr().out
    assert "Moved the old run to" in said
    assert_same_weights(best_network(copy), before)
    (aside,) = [path for path in (copy / "checkpoints").iterdir() if path != run_folder(copy)]
    assert f"--weights is {aside / 'kept' / 'best.weights.h5'} now" in said


@pytest.mark.parametrize(
    ("model", "name", "reason"),
    [
        ("AlexNet", "best.weights.h5", "not the weights of a AlexNet with 62 classes"),
        ("LeNet", "gone.weights.h5", "gone.weights.h5: missing"),
        ("LeNet", "best.json", "only '.weights.h5' files"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(model, name, reason, whole, emnist_dir, tmp_path):
    given = settings(emnist_dir, tmp_path, model=model, weights=run_folder(whole) / name)
    with pytest.raises(WeightsError, match=reason):
        mytrain.train(**given)


@contextlib.contextmanager
def tensorboard(folder):
    """The real server on a run's folder; gives its address once it has read all three parts."""
    line = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder / "tblogs")]
    line += ["--port", "0", "--load_fast=false"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    try:
        for text in process.stderr:
            if found := re.search(r"http://localhost:\d+/", text):
                break
        deadline, tags = time.monotonic() + 30, {}
        while len(tags) < 3 and time.monotonic() < deadline:
            with urllib.request.urlopen(f"{found[0]}data/plugin/scalars/tags") as answer:
                tags = json.load(answer)
            time.sleep(0.2)
        yield found[0]
    finally:
        process.kill()
        process.wait()


def test_tensorboard_itself_shows_the_curves_and_pictures(whole):
    """Through the server's own interface: runs, a curve, images, the texts."""
    name = newest_state(whole)[0]["log_name"]
    run = os.path.join("LeNet", name)  # TensorBoard names it as a path
    train, validation, test = (os.path.join(run, p) for p in ("train", "validation", "test"))

    with tensorboard(whole) as address:

        def ask(what):
            with urllib.request.urlopen(f"{address}data/plugin/{what}") as answer:
                return json.load(answer)

        assert set(ask("scalars/tags")) == {train, validation, test}
        points = ask(f"scalars/scalars?run={urllib.parse.quote(validation)}&tag=epoch_accuracy")
        assert [step for _, step, _ in points] == [0, 1]
        tags = ask("images/tags")
        assert set(tags[validation]) == {"confusion", "surest_errors"}
        assert set(tags[train]) == {"augmented", "first_layer"}
        assert set(tags[test]) == {"confusion"}
        tags = ask("text/tags")
        assert set(tags[train]) == {"settings", "network"}
        assert set(tags[test]) == {"final", "by_class"}
        graphs = ask("graphs/info")[train]
        assert graphs["run_graph"] and graphs["tags"]["keras"]["conceptual_graph"]
        of_train = f"{address}data/plugin/graphs/graph?run={urllib.parse.quote(train)}"
        with urllib.request.urlopen(of_train) as graph:
            assert b"conv2d" in graph.read()
        names = {row["name"] for row in ask_for_hparams(address)["hparamInfos"]}
        assert {"model", "dataset", "learning_rate"} <= names
        (trial,) = ask_for_hparams(address, "session_groups")["sessionGroups"]
        figures = {value["name"]["tag"]: value["value"] for value in trial["metricValues"]}
        last = newest_state(whole)[0]
        assert trial["name"] == f"LeNet/{name}" and trial["hparams"]["seed"] == SETTINGS["seed"]
        expected = last["history"][-1]["val_accuracy"], last["test"]["top 1"]
        assert (figures["epoch_accuracy"], figures["final/top_1"]) == pytest.approx(expected)


def ask_for_hparams(address, what="experiment"):
    """What TensorBoard's HParams tab asks for when it opens."""
    headers = {"Content-Type": "application/json"}
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    asked = {"experimentName": ""}
    if what == "session_groups":
        asked |= {"allowedStatuses": statuses, "startIndex": 0, "sliceSize": 9, "colParams": []}
    question = urllib.request.Request(
        f"{address}data/plugin/hparams/{what}", json.dumps(asked).encode(), headers
    )
    with urllib.request.urlopen(question) as answer:
        return json.load(answer)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.mark.skipif(not CHROMIUM, reason="needs chromium")
def test_a_browser_shows_runs_and_images(whole, tmp_path):
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    line += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    line += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom"]
    name = newest_state(whole)[0]["log_name"]
    with tensorboard(whole) as address:
        done = subprocess.run([*line, f"{address}#timeseries"], capture_output=True, timeout=120)
    page = done.stdout.decode()
    for part in ("train", "validation", "test"):
        assert f"LeNet/{name}/{part}" in page
    for tag in ("augmented", "confusion", "first_layer", "surest_errors"):
        assert f">{tag}</span>" in page, tag
    assert re.search(r'<img [^>]*src="data/plugin/timeseries/imageData', page)
