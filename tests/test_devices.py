"""Several devices and several processes: they train the same network as one, and stop together.

The order of a sum depends on how many devices share it, so the weights are the same but for
rounding: mostly at most 3e-6 after these 50 steps. They train without dropout, which draws
otherwise on several devices, and without augmentation: it leaves pixels of almost zero, where
gradients are all rounding and AdamW takes full steps all the same (1e-2 apart after 50 steps; 3e-8
in float64). With some seeds, others on each processor, a sum comes out so close to 0 that rounding
decides what a relu lets through; a few weights are up to 8e-3 apart then (nine in ten numbers at
most 3e-5, 999 in 1000 at most 5e-4), which is allowed for.
"""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, newest_state

import batching
import devices
import machines
import mytrain

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None,
    reason="needs JAX, which the project itself does not: pip install jax",
)

# What a process runs: mytrain.py as the comparison asks for, or as SIGNAL strikes it.
PREPARE = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
import devices, keras, machines, mytrain, normalization, saving, tensorflow as tf
from types import SimpleNamespace
devices.precision = lambda: "float32"
mytrain.AUGMENTATION = {{}}
"""
MAIN = """
if "SIGNAL" in os.environ:
    saving.SAVE_EVERY_S = -1  # a state after every step
    step_done = saving.Recorder.on_train_batch_end

    def struck(self, batch, logs=None):
        if self.state.step == int(os.environ["AT_STEP"]):
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        step_done(self, batch, logs)

    saving.Recorder.on_train_batch_end = struck
sys.exit(mytrain.main(sys.argv[1:]))
"""
# Two trainings: the first on one device, the second on two; as on GPUs, so that JAX, and TensorFlow
# on a single one, take five steps at once.
TENSORFLOW = """
import report
report.LOOKED_AT = 33  # in batches of 32: two devices cannot share the last one's image
devices.has_gpu = lambda: True
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
if mytrain.main([*sys.argv[2:], "--checkpoint_dir", sys.argv[1] + "/one"]):
    sys.exit(1)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
devices.strategy = lambda: mirrored
sys.exit(mytrain.main([*sys.argv[2:], "--checkpoint_dir", sys.argv[1] + "/two"]))
"""
# Shows a moving average of both devices as it is in training, and as it is while validating.
NORMALIZED = """
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
devices.strategy = lambda: mirrored

class Look(saving.Recorder):
    def on_train_batch_end(self, batch, logs=None):
        self.look()
        super().on_train_batch_end(batch, logs)

    def on_test_begin(self, logs=None):
        super().on_test_begin(logs)
        self.look()

    def look(self):
        average = self.model.get_layer("batch_normalization").moving_mean.value
        print("averages", *(part.numpy()[0] for part in average.values))

def network(input_shape, n_classes, dropout):
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(2, 9, strides=9)(inputs)
    x = normalization.BatchNormalization(name="batch_normalization")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(n_classes, "softmax")(x))

mytrain.MODELS["LeNet"] = network
saving.Recorder = Look
sys.exit(mytrain.main(sys.argv[1:]))
"""
JAX = """
devices.has_gpu = lambda: True
both = devices._DataParallel
one = SimpleNamespace(num_replicas_in_sync=1, scope=tf.distribute.get_strategy().scope)
devices._DataParallel = lambda: one
if mytrain.main([*sys.argv[2:], "--checkpoint_dir", sys.argv[1] + "/one"]):
    sys.exit(1)
devices._DataParallel = both
sys.exit(mytrain.main([*sys.argv[2:], "--checkpoint_dir", sys.argv[1] + "/two"]))
"""


def options(emnist_dir, folder):
    """50 steps; 37 images to validate on, which do not fill two batches."""
    return [
        *("--model=LeNet", "--epochs=2", "--steps_per_epoch=25", "--batch_size=32"),
        *("--dropout=0", "--seed=1", f"--data_dir={emnist_dir}", f"--log_dir={folder / 'tblogs'}"),
    ]


def on_jax(cache, device_count=1, **more):
    """The environment of a process on the JAX backend, with virtual devices.

    What is compiled once is found in the cache the next time: half of the time goes there.
    """
    flags = f"--xla_force_host_platform_device_count={device_count}"
    own = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    cached = {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    return {**os.environ, **own, **cached, "XLA_FLAGS": flags, **more}


def run(program, *arguments, env=os.environ):
    """A process that runs a program with what it prepares; its stderr goes to stdout."""
    line = [sys.executable, "-c", PREPARE + program, *map(str, arguments)]
    return subprocess.Popen(
        line, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def assert_same(checkpoint_dir, other_dir):
    """Weights, averages, optimizer, metrics and history of two finished runs."""
    (one, one_arrays), (other, other_arrays) = (
        newest_state(folder / "LeNet") for folder in (checkpoint_dir, other_dir)
    )
    assert one["epoch"] == other["epoch"] == 2
    apart = [np.abs(a - b).ravel() for a, b in zip(one_arrays, other_arrays, strict=True)]
    most, nearly_all = np.quantile(np.concatenate(apart), [0.9, 0.999])
    assert most < 1e-4 and nearly_all < 1e-3
    for figures, expected in zip(one["history"], other["history"], strict=True):
        assert figures == pytest.approx(expected, abs=0.03)  # one of 37 images to validate on
    assert one["test"] == pytest.approx(other["test"], abs=0.03)


def test_two_devices_of_tensorflow_train_what_one_trains(emnist_dir, tmp_path):
    process = run(TENSORFLOW, tmp_path, *options(emnist_dir, tmp_path))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "no more curves" not in output, output
    assert_same(tmp_path / "two", tmp_path / "one")


def test_two_devices_validate_with_the_averages_that_are_saved(emnist_dir, tmp_path):
    """Each normalises its part of a batch apart, and has moving averages of its own."""
    brief = ["--epochs=1", "--steps_per_epoch=2", f"--checkpoint_dir={tmp_path}"]
    process = run(NORMALIZED, *options(emnist_dir, tmp_path), *brief)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    seen = [line.split()[1:] for line in output.splitlines() if line.startswith("averages")]
    *_, (one, other), (validating, also) = seen
    assert one != other and validating == also == one, seen


@pytest.fixture(scope="module")
def jax_runs(emnist_dir, tmp_path_factory):
    """A folder with the checkpoints of one device and of two, on JAX in one process."""
    folder = tmp_path_factory.mktemp("jax")
    process = run(JAX, folder, *options(emnist_dir, folder), env=on_jax(folder / "cache", 2))
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "UserWarning" not in output, output
    return folder


@needs_jax
def test_two_devices_of_jax_train_what_one_trains(jax_runs):
    assert_same(jax_runs / "two", jax_runs / "one")


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def two_processes(
    emnist_dir, folder, cache, struck=None, signal_number=0, step=0, more=(), counts=(1, 1), last=()
):
    """Starts the training in two processes and waits for both: [(exit code, output), ...].

    Args:
        struck: which of them gets a signal, and of which number, after which step.
        more: options for both; `last`: for the second alone.
        counts: of their devices.
    """
    address = free_address()
    line = [*options(emnist_dir, folder), f"--checkpoint_dir={folder / 'checkpoints'}", *more]
    processes = []
    for number in range(2):
        own = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
        if number == struck:
            own |= {"SIGNAL": str(int(signal_number)), "AT_STEP": str(step)}
        own_line = [*line, *last] if number == 1 else line
        processes.append(run(MAIN, *own_line, env=on_jax(cache, counts[number], **own)))
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, outputs)]


@needs_jax
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_two_processes_train_what_one_trains_whatever_stops_them(emnist_dir, jax_runs, tmp_path):
    """One is killed, then asked to stop; both times both end, and at last go on to the end."""
    cache = jax_runs / "cache"
    (code, text), (killed, _) = two_processes(emnist_dir, tmp_path, cache, 1, signal.SIGKILL, 9)
    assert killed == -signal.SIGKILL and code == 1, text
    assert text.count(machines.AGAIN) == 2, text  # at its start, at its end
    assert "Traceback" not in text

    ends = two_processes(emnist_dir, tmp_path, cache, 1, signal.SIGTERM, 18)
    assert [code for code, _ in ends] == [143, 143], ends
    assert all("Start the same command again to go on." in text for _, text in ends)
    assert newest_state(tmp_path / "checkpoints" / "LeNet")[0]["step"] == 20

    ends = two_processes(emnist_dir, tmp_path, cache)
    assert [code for code, _ in ends] == [0, 0], ends
    assert "Finished" in ends[0][1] and "Finished" not in ends[1][1]
    assert_same(tmp_path / "checkpoints", jax_runs / "one")
    events = [*(tmp_path / "tblogs").glob("LeNet/*/train/*")]
    pids = {path.name.split(".")[-3] for path in events}  # the part before the last two
    assert 1 <= len(pids) <= 3, "of three starts, in each of which the first process alone writes"

    ends = two_processes(emnist_dir, tmp_path, cache, more=["--learning_rate=0.5"])
    assert [code for code, _ in ends] == [1, 1], ends
    assert all("learning_rate" in text and "Traceback" not in text for _, text in ends)


@needs_jax
def test_machines_with_other_numbers_of_devices_are_one_line(emnist_dir, jax_runs, tmp_path):
    for code, text in two_processes(emnist_dir, tmp_path, jax_runs / "cache", counts=(1, 2)):
        assert code == 1 and "as many devices each, not 1, 2." in text, text
        assert "Traceback" not in text


@needs_jax
def test_weights_for_one_machine_alone_are_one_line(emnist_dir, jax_runs, tmp_path):
    best = jax_runs / "one" / "LeNet" / "best.weights.h5"
    ends = two_processes(emnist_dir, tmp_path, jax_runs / "cache", last=[f"--weights={best}"])
    for code, text in ends:
        assert code == 1 and re.search("--weights is [0-9a-f]{12} here, none on the first", text)
        assert "Traceback" not in text
    assert not (tmp_path / "checkpoints").exists()


def test_options_that_are_not_the_first_machine_s_are_one_line(monkeypatch):
    ours = {"model": "LeNet", "weights": None, "epochs": 3, "fresh": False}
    monkeypatch.setattr(machines, "from_first", lambda make: ours | theirs)
    for name, there, told in [
        ("epochs", 2, "--epochs is 3 here, 2 on the first machine"),
        ("weights", "5a1e", "--weights is none here, 5a1e on the first machine"),
        ("fresh", True, "--fresh is False here, True on the first machine"),
    ]:
        theirs = {name: there}
        with pytest.raises(devices.DevicesError, match=told):
            machines.check_options(ours)
    theirs = {}
    machines.check_options(ours)


@needs_jax
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_waits_for_the_other_machines_is_one_line(number, tmp_path):
    own = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": free_address(),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": "0",
    }
    environment = on_jax(tmp_path, **own)
    del environment["TF_CPP_MIN_LOG_LEVEL"]  # with it everything is shown
    line = [sys.executable, str(ROOT / "mytrain.py"), f"--checkpoint_dir={tmp_path / 'c'}"]
    process = subprocess.Popen(
        line,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout.readline().startswith("Waiting for the other machines")
        time.sleep(1)
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number
    assert output == "Stopped. Start the same command again to go on.\n"
    assert not (tmp_path / "c").exists()


@needs_jax
@pytest.mark.parametrize("own_number", ["0", "1"])
def test_a_machine_that_never_comes_is_one_line(own_number, tmp_path):
    own = {
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": free_address(),
        "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
        "KERAS_DISTRIBUTION_PROCESS_ID": own_number,
    }
    environment = on_jax(tmp_path, **own)
    del environment["TF_CPP_MIN_LOG_LEVEL"]  # with it everything is shown
    impatient = "import mytrain, sys; mytrain.machines.PATIENCE_S = 2; sys.exit(mytrain.main([]))"
    process = subprocess.Popen(
        [sys.executable, "-c", impatient],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0
    assert output.count("did not come") == 1 and output.endswith(f"{machines.AGAIN}\n")
    assert len(output.splitlines()) == 2


def test_ended_by_force_a_process_still_says_what_to_do():
    """As JAX ends all others when the first machine, which watches over them, is gone."""
    process = run("machines._watch(); os.abort()")
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0 and output.count(machines.AGAIN) == 1
    process = run("machines._watch()")
    assert machines.AGAIN not in process.communicate(timeout=60)[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups")
def test_who_would_say_what_to_do_hears_no_ctrl_c_and_may_be_dismissed_twice(capfd):
    machines._watch()
    assert os.getpgid(machines._watcher.pid) != os.getpgrp()
    for _ in range(2):
        machines._dismiss_watcher()
    assert machines._watcher.poll() == 0 and capfd.readouterr().out == ""


@pytest.mark.parametrize("at_once", range(1, 11))
def test_machines_look_at_each_others_signals_within_twenty_steps(monkeypatch, at_once):
    monkeypatch.setattr(machines, "share", lambda: (0, 2))
    both = SimpleNamespace(process_allgather=lambda number: np.array([number, 15]))
    monkeypatch.setattr(machines, "_multihost", lambda: both)
    steps = range(0, 2000, at_once)
    looked = [step for step in steps if machines.agreed_signal(None, step, at_once) == 15]
    assert looked[0] == 0 and max(np.diff(looked)) < 20


@pytest.fixture
def on_two_machines(monkeypatch):
    """Runs a function of the machine's number on two; returns what each returned, or raised.

    Two threads stand for them, which exchange arrays as JAX does.
    """
    own, gathered, barrier = threading.local(), [None, None], threading.Barrier(2, timeout=10)

    def process_allgather(array):
        gathered[own.number] = array
        barrier.wait()
        both = np.stack(gathered)
        barrier.wait()
        return both

    def run_both(function):
        ends = [None, None]

        def act(number):
            own.number = number
            try:
                ends[number] = function(number)
            except Exception as error:
                ends[number] = error

        threads = [threading.Thread(target=act, args=[number]) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return ends

    both = SimpleNamespace(
        process_allgather=process_allgather,
        broadcast_one_to_all=lambda array: process_allgather(array)[0],
    )
    monkeypatch.setattr(machines, "share", lambda: (own.number, 2))
    monkeypatch.setattr(machines, "_multihost", lambda: both)
    return run_both


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("no such file", "no such file"),
        ("", "ValueError"),
        ("caf\udce9", r"caf\udce9"),  # a name that is no text
        ("x" + 3000 * "\u6f22", "x" + 666 * "\u6f22" + "\ufffd"),  # cut within a letter
    ],
)
@pytest.mark.parametrize("failing", [0, 1])
def test_where_one_machine_fails_the_others_say_why(on_two_machines, failing, words, told):
    error = ValueError(words)

    def fail():
        raise error

    ends = on_two_machines(lambda number: machines.together(fail if number == failing else int))
    assert ends[failing] is error and error.told
    assert isinstance(ends[1 - failing], machines.DevicesError)
    assert str(ends[1 - failing]) == f"Machine {failing + 1} of 2: {told}"


def test_the_others_begin_when_the_first_machine_is_done(on_two_machines):
    done = []

    def make():
        time.sleep(0.05 * (not done))
        done.append(machines.share()[0])
        return done[-1]

    assert on_two_machines(lambda number: machines.first_then_others(make)) == [0, 1]
    assert done == [0, 1]


def test_what_the_first_machine_alone_makes_all_of_them_have(on_two_machines):
    made = []

    def make():
        made.append(machines.share()[0])
        return {"step": [1, None]}

    assert on_two_machines(lambda number: machines.from_first(make)) == 2 * [{"step": [1, None]}]
    assert made == [0]


def test_a_signal_of_one_machine_is_that_of_all(on_two_machines):
    def agreed(signals):
        return on_two_machines(lambda number: machines.agreed_signal(signals[number], 0, 1))

    assert agreed([None, 15]) == agreed([15, None]) == [15, 15]
    assert agreed([None, None]) == [None, None]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("for the user"), "for the user\n"),
        (
            RuntimeError("UNKNOWN: Gloo: closed\nat a place"),
            f"\nAnother machine is gone, or cannot be reached. {machines.AGAIN}\n"
            "  (UNKNOWN: Gloo: closed)\n",
        ),
        (RuntimeError("of a programmer's"), "RuntimeError: of a programmer's\n"),
    ],
)
def test_an_error_that_the_others_were_not_told_of_ends_a_machine_at_once(
    error, told, monkeypatch, capsys
):
    def end(code):
        raise SystemExit(code)

    monkeypatch.setattr(machines, "share", lambda: (0, 2))
    monkeypatch.setattr(os, "_exit", end)
    with pytest.raises(SystemExit) as ended, machines.ending_together((ValueError,)):
        raise error
    said = capsys.readouterr().err
    assert ended.value.code == 1 and said.endswith(told)
    assert ("Traceback" in said) == told.startswith("RuntimeError")


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_that_all_were_told_of_ends_nothing_at_once(count, monkeypatch):
    monkeypatch.setattr(machines, "share", lambda: (0, count))
    told, alone = ValueError("told"), ValueError("of one machine alone")
    told.told = True
    for error in (told, machines.DevicesError("of another"), *([alone] if count == 1 else [])):
        with pytest.raises(type(error), match=str(error)), machines.ending_together((ValueError,)):
            raise error


def test_what_goes_wrong_in_a_library_that_waits_comes_through():
    with pytest.raises(ValueError, match="invalid literal"):
        machines._hearing_signals(int, "x")


def test_shares_of_a_batch_are_its_rows():
    generator = np.random.default_rng(1)
    part = generator.integers(0, 255, (100, 28, 28, 1)).astype(np.uint8), np.arange(100)
    whole = next(iter(batching.training_batches(part, 24, 5, 3, mytrain.AUGMENTATION)))
    shares = [
        next(iter(batching.training_batches(part, 24, 5, 3, mytrain.AUGMENTATION, share=(k, 3))))
        for k in range(3)
    ]
    images, labels = (np.concatenate([share[i] for share in shares]) for i in range(2))
    np.testing.assert_array_equal(labels, whole[1])
    np.testing.assert_allclose(images, whole[0], atol=1e-5)


def test_validation_for_several_devices_counts_every_image_once():
    images = np.arange(37, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(37)
    seen, weighed, loss = [], [], 0.0
    for number in range(2):
        batches = batching.validation_batches((images, labels), 16, 2, share=(number, 2))
        for some, some_labels, weights in batches.as_numpy_iterator():
            assert len(some) == 8
            np.testing.assert_allclose(some.ravel() * 255, some_labels, atol=1e-5)
            seen += some_labels[weights > 0].tolist()
            weighed += weights[weights > 0].tolist()
            loss += (weights * some_labels).mean() / 6  # of six such parts
    assert sorted(seen) == labels.tolist()
    assert len(set(weighed)) == 1 and loss == pytest.approx(labels.mean())


def test_a_batch_that_devices_cannot_share_is_one_line():
    four = SimpleNamespace(num_replicas_in_sync=4)
    devices.check_batch_size(128, four)
    with pytest.raises(devices.DevicesError, match=r"--batch_size 126: 4 .* 124 or 128\?"):
        devices.check_batch_size(126, four)
    with pytest.raises(devices.DevicesError, match=r"share it; 4\?"):
        devices.check_batch_size(3, four)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(9, 0), (8, 0)], "mixed_bfloat16"),
        ([(7, 0), (9, 0)], "mixed_float16"),  # the oldest one decides
        ([(9, 0), (6, 1)], "float32"),
        ([(0, 0)], "float32"),
    ],
)
def test_the_oldest_gpu_decides_on_the_precision(monkeypatch, capabilities, expected):
    monkeypatch.setattr(devices, "_gpus", lambda: capabilities)
    monkeypatch.setattr(devices, "_capability", lambda gpu: gpu)
    assert devices.precision() == expected


@pytest.mark.parametrize(
    ("flags", "jax", "expected"),
    [
        ("amx_bf16", False, "mixed_bfloat16"),
        ("avx512_bf16", False, "mixed_bfloat16"),
        ("avx512f", False, "float32"),
        ("amx_bf16", True, "float32"),
    ],
)
def test_a_processor_s_instructions_decide_on_the_precision(
    monkeypatch, tmp_path, flags, jax, expected
):
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flags} sse2")
    monkeypatch.setattr(devices, "_gpus", lambda: [])
    monkeypatch.setattr(devices, "on_jax", lambda: jax)
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path / "cpuinfo")
    assert devices.precision() == expected


def test_a_system_that_does_not_describe_its_processor_gets_full_precision(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "_gpus", lambda: [])
    monkeypatch.setattr(devices, "Path", lambda _: tmp_path / "not there")
    assert devices.precision() == "float32"


@pytest.mark.parametrize(
    ("gpu", "capability"),
    [
        (SimpleNamespace(compute_capability="9.0"), (9, 0)),
        (SimpleNamespace(compute_capability="gfx90a"), (0, 0)),  # AMD's
        (SimpleNamespace(), (0, 0)),
    ],
)
def test_jax_tells_a_gpu_s_capability_or_none(monkeypatch, gpu, capability):
    monkeypatch.setattr(devices, "on_jax", lambda: True)
    assert devices._capability(gpu) == capability


@pytest.mark.parametrize("details", [{"compute_capability": (9, 0)}, {}])
def test_tensorflow_tells_a_gpu_s_capability_or_none(monkeypatch, details):
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    assert devices._capability("a GPU") == details.get("compute_capability", (0, 0))


@pytest.mark.parametrize(
    ("count", "words"), [(1, "Training on 1 GPU.\n"), (2, "Training on 2 GPUs.\n")]
)
def test_it_counts_the_gpus_and_shares_batches_among_several(monkeypatch, capsys, count, words):
    """Though TensorFlow runs already, as in a notebook, and will not hear of their memory."""

    asked = []

    def runs_already(gpu, growth):
        asked.append(growth)
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(devices, "_gpus", lambda: ["a GPU"] * count)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", runs_already)
    mirrored = isinstance(devices.strategy(), tf.distribute.MirroredStrategy)
    assert mirrored == (count > 1) and capsys.readouterr().out == words
    assert asked == [True] * count  # or TensorFlow takes all of it, and none is left for others


@pytest.mark.parametrize(
    ("cores", "words"), [({3}, "1 processor core,"), ({0, 5}, "2 processor cores,")]
)
def test_it_counts_the_cores_that_it_may_use(monkeypatch, capsys, cores, words):
    """As of `taskset`, or a cluster's share of a large machine."""
    monkeypatch.setattr(devices, "_gpus", lambda: [])
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: cores, raising=False)
    devices.strategy()
    assert words in capsys.readouterr().out


def test_a_system_that_gives_each_process_all_cores_has_them_counted(monkeypatch, capsys):
    monkeypatch.setattr(devices, "_gpus", lambda: [])
    monkeypatch.delattr(devices.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(devices.os, "cpu_count", lambda: 3)
    devices.strategy()
    assert "3 processor cores," in capsys.readouterr().out


def test_a_backend_that_cannot_train_is_one_line(monkeypatch, tmp_path, capsys):
    """PyTorch's, which the tests do not install, would fail at an epoch's end."""
    monkeypatch.setattr(machines.keras.backend, "backend", lambda: "torch")
    assert mytrain.main(["--checkpoint_dir", str(tmp_path / "c")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("Training needs Keras on TensorFlow") and message.count("\n") == 1
    assert not (tmp_path / "c").exists()


def test_several_machines_without_jax_are_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "127.0.0.1:1")
    assert mytrain.main(["--checkpoint_dir", str(tmp_path / "c")]) == 1
    message = capsys.readouterr().err
    assert "KERAS_BACKEND=jax" in message and message.count("\n") == 1
    assert not (tmp_path / "c").exists()
