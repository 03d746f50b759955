"""What TensorFlow says at its start stays off the console; what a user needs comes through."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading

import pytest
from conftest import ROOT

from quiet import heeding_signals, quiet_libraries, reason, stderr_to, tell

SPEAK = """
import os, sys
from quiet import quiet_libraries
with quiet_libraries(gpu=sys.argv[1] == "gpu"):
    for line in sys.stdin.buffer:
        os.write(2, line)  # past sys.stderr, as libraries do
    print("ours", file=sys.stderr, flush=True)
    if sys.argv[2] == "fail":
        raise SystemExit("ended by an error")
    if sys.argv[2] == "ctrl-c":
        raise KeyboardInterrupt
"""
REMARK = "I0000 00:00:1.5 1 cpu_feature_guard.cc:227] This TensorFlow binary is optimized"
PREAMBLE = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"
NO_DRIVER = "E0000 00:00:1.5 1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)"
NO_START = "E0000 00:00:1.5 1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (803)"
BROKEN_DRIVER = "E0000 00:00:1.5 1 cuda_platform.cc:52] failed: driver version mismatch (803)"
WARNING = "W0000 00:00:1.5 1 gpu_device.cc:2431] Cannot dlopen some GPU libraries."
LINES = [REMARK, PREAMBLE, NO_DRIVER, NO_START, BROKEN_DRIVER, WARNING, "a line of another library"]


def said(kind, end="end", **variables):
    """The lines on stderr, without time stamps of ours."""
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", SPEAK, kind, end],
        input="\n".join(LINES) + "\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment | variables,
    )
    return done.stderr.splitlines()


@pytest.mark.skipif(os.name == "nt", reason="needs a process without a file 2 from its start")
def test_without_a_console_there_is_nothing_to_keep_back():
    code = """if True:
        import contextlib, os, sys
        from quiet import quiet_libraries, stderr_to
        with quiet_libraries(gpu=True), contextlib.suppress(OSError):
            os.write(2, b"a line of a library")
        with open(os.devnull, "wb") as sink, stderr_to(sink):
            os.write(2, b"a line of OpenCV's")
        print("done", sys.stderr)
    """
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, stdout=subprocess.PIPE, cwd=ROOT, preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (0, b"done None\n")


@pytest.mark.skipif(os.name == "nt", reason="a file-size limit needs POSIX")
def test_with_a_full_disk_nothing_is_kept_back():
    code = """if True:
        import os, resource
        from quiet import quiet_libraries
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        free = os.dup(2)
        os.close(free)
        with quiet_libraries(gpu=True):
            os.write(2, b"a line of a library")
        assert os.dup(2) == free
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"a line of a library")


def test_a_log_that_begins_within_goes_on_after_it():
    code = """if True:
        import logging
        from quiet import quiet_libraries
        with quiet_libraries(gpu=True):
            logging.warning("in it")
        logging.warning("after it")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stderr.splitlines() == [b"WARNING:root:in it", b"WARNING:root:after it"]


def test_what_tensorflow_says_on_windows_alone_is_not_shown():
    code = """if True:
        import platform
        from quiet import quiet_libraries
        with quiet_libraries(gpu=True):
            import tensorflow as tf
        platform.system = lambda: "Windows"
        tf.config.list_physical_devices()
        name = "tf.reset_default_graph"
        told = "From keras.py:82: The name %s is deprecated. Please use tf.compat.v1 instead."
        tf.get_logger().warning(told, name)
        tf.get_logger().warning("another")
    """
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if "WARNING:tensorflow" in line]
    assert told == ["WARNING:tensorflow:another"]


def test_letters_that_the_console_lacks_are_told_all_the_same():
    code = """if True:
        import sys
        from quiet import quiet_libraries
        with quiet_libraries(gpu=True):
            print("\\u6f22.png", file=sys.stderr)
    """
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stderr.strip()) == (0, rb"\u6f22.png")


def test_a_line_that_is_no_text_is_told_all_the_same():
    """As of a path in another encoding."""
    code = """if True:
        import os
        from quiet import quiet_libraries
        with quiet_libraries(gpu=True):
            os.write(2, b"no file caf\\xe9\\n")
    """
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, cwd=ROOT, env=environment)
    assert done.returncode == 0 and done.stderr.startswith(b"no file caf")


def test_what_is_said_to_another_stream_within_stays_there():
    """As in a notebook, whose sys.stderr is no console."""
    with contextlib.redirect_stderr(io.StringIO()) as notebook, quiet_libraries(gpu=True):
        print("ours", file=sys.stderr)
    assert notebook.getvalue() == "ours\n"


@pytest.mark.parametrize("made_of_it", [None, ImportError])
def test_ctrl_c_that_a_library_swallows_is_heeded(made_of_it):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), heeding_signals():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if made_of_it:
                    raise made_of_it from None
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_that_raises_nothing_ends_nothing():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *told: heard.append(told[0]))
    try:
        with heeding_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]


def test_ctrl_c_is_left_to_who_has_it_already():
    """As where `nohup` or a notebook does, and in a thread, which may set no handler."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heeding_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    done = []

    def load():
        with heeding_signals():
            done.append(True)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
    assert done


@pytest.mark.parametrize("kind", ["gpu", "no gpu"])
def test_remarks_are_kept_back_and_problems_are_not(kind):
    lines = said(kind)
    assert REMARK not in lines and PREAMBLE not in lines and NO_DRIVER not in lines
    assert {BROKEN_DRIVER, WARNING, "a line of another library", "ours"} <= {*lines}
    assert (NO_START in lines) == (kind == "gpu")


def test_remarks_are_kept_back_after_a_picture_was_read_too():
    code = f"""if True:
        import os, sys
        from quiet import quiet_libraries, stderr_to
        with open(os.devnull, "wb") as sink, stderr_to(sink):
            pass
        with quiet_libraries(gpu=True):
            os.write(2, b"{REMARK}\\n")
            print("ours", file=sys.stderr)
    """
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert (done.returncode, done.stderr) == (0, "ours\n")


def test_what_is_said_within_while_another_thread_keeps_stderr_is_told():
    code = """if True:
        import os, sys
        from quiet import quiet_libraries, stderr_to
        with open(os.devnull, "wb") as sink, stderr_to(sink), quiet_libraries(gpu=True):
            print("ours", file=sys.stderr)
    """
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "ours\n")


@pytest.mark.parametrize(("gpu", "level"), [(True, b"1"), (False, b"2")])
def test_tensorflow_tells_of_warnings_where_a_gpu_is_wanted(gpu, level):
    code = f"""if True:
        import os
        from quiet import quiet_libraries
        with quiet_libraries(gpu={gpu}):
            print(os.environ["TF_CPP_MIN_LOG_LEVEL"], end="")
    """
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    line = [sys.executable, "-c", code]
    assert subprocess.check_output(line, cwd=ROOT, env=environment) == level


def test_who_sets_the_log_level_sees_everything():
    assert said("gpu", TF_CPP_MIN_LOG_LEVEL="0") == [*LINES, "ours"]


def test_an_error_within_comes_through():
    lines = said("gpu", "fail")
    assert lines[-1] == "ended by an error" and WARNING in lines


def test_after_ctrl_c_nothing_of_it_is_shown():
    lines = said("gpu", "ctrl-c")
    assert lines[0] == "ours" and lines[-1] == "KeyboardInterrupt" and not {*LINES} & {*lines}


def test_the_training_script_starts_in_silence():
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    line = [sys.executable, str(ROOT / "mytrain.py"), "--help"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full")
def test_a_log_on_a_full_disk_ends_nothing():
    code = "from quiet import tell\nfor _ in range(3): tell('x' * 10000)\nprint('on', flush=True)"
    command = [sys.executable, "-c", code]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_told_without_a_line_s_end_is_seen_at_once():
    """The line that follows a training."""
    screen = io.TextIOWrapper(io.BytesIO())
    tell("step 1", end="", stream=screen)
    assert screen.buffer.getvalue() == b"step 1"


@pytest.mark.parametrize("first_out", [0, 1])
def test_of_two_within_whoever_is_left_has_stderr(first_out, tmp_path):
    """They need not leave in the order in which they came, being threads; nothing stays open."""
    files = [open(tmp_path / str(n), "w+b") for n in range(2)]
    free = os.dup(2)
    os.close(free)
    within = [stderr_to(file) for file in files]
    for each in within:
        each.__enter__()
    os.write(2, b"both ")
    within[first_out].__exit__(None, None, None)
    os.write(2, b"one")
    within[1 - first_out].__exit__(None, None, None)
    os.write(2, b"none")
    again = os.dup(2)
    os.close(again)
    for file in files:
        file.seek(0)
    told = [file.read() for file in files]
    assert told == ([b"", b"both one"] if first_out == 0 else [b"one", b"both "])
    assert again == free


@pytest.mark.parametrize("order", ["picture, network", "network, picture", "network, network"])
def test_threads_within_give_the_console_back(order):
    """Of a program that reads pictures in one while another loads the network."""
    code = f"""if True:
        import os, sys, threading
        from quiet import quiet_libraries
        from picture import _quiet_stderr
        picture, network = _quiet_stderr, lambda: quiet_libraries(gpu=True)
        def first(block):
            with block():
                is_within.set()
                others.wait(1)
        def second(block):
            is_within.wait()
            with block():
                others.set()
                thread.join(1)
        is_within, others = threading.Event(), threading.Event()
        blocks = {order}
        thread = threading.Thread(target=first, args=blocks[:1])
        other = threading.Thread(target=second, args=blocks[1:])
        for each in (thread, other):
            each.start()
        other.join()
        os.write(2, b"heard\\n")
        print("said", file=sys.stderr)
    """
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stderr == "heard\nsaid\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (RuntimeError("{{node x}} logs/events.1; Disk full [Op:Flush]\nmore"), "Disk full"),
        (RuntimeError("\n first line\nmore"), "first line"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_reason_is_one_line_without_tensorflows_own(error, told):
    assert reason(error) == told
