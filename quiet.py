"""Keeps what TensorFlow says of the machine off the console; what went wrong comes through.

So does Ctrl-C, or another signal, which libraries may swallow.
"""

import contextlib
import errno
import logging
import os
import re
import signal
import sys
import tempfile
import threading

_SHOW_ALL = "TF_CPP_MIN_LOG_LEVEL" in os.environ  # the user's own wish
_one_thread = threading.RLock()  # of those that would be in `quiet_libraries`
# See stderr_to: the files of all within it, the console's descriptor while there are any.
_files_lock, _files, _console = threading.Lock(), [], None
_REMARK = rb"I\d{4} |WARNING: All log messages before absl|.*\bcuInit\b"
_logger = logging.getLogger("tensorflow")  # of its Python half, which writes to sys.stderr


def tell(text, end="\n", stream=None):
    """`print` that goes on where nobody reads any more, or the disk of a log is full."""
    stream = stream or sys.stdout
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def is_unread(error):
    """Whether an OSError says that nobody reads any more, as behind `| head`: EINVAL on Windows."""
    return error.errno == errno.EPIPE or (os.name == "nt" and error.errno == errno.EINVAL)


def reason(error):
    """What went wrong, without what TensorFlow says of its operation and the file."""
    told = getattr(error, "strerror", None) or str(error).strip()  # Python's; TensorFlow's
    first = (told or type(error).__name__).splitlines()[0]
    return first.split(" [Op:")[0].split("}} ")[-1].split("; ")[-1]


@contextlib.contextmanager
def stderr_to(file):
    """Sends file 2, to which libraries write past sys.stderr, to an open file.

    File 2 belongs to the whole process: of several threads within, the last to enter has it, and
    the last to leave restores it.
    """
    global _console
    with _files_lock:
        if not _files:
            with contextlib.suppress(OSError):  # no console at all
                _console = os.dup(2)
        _files.append(file)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        with _files_lock:
            _files.remove(file)
            if _files:
                os.dup2(_files[-1].fileno(), 2)
            elif _console is not None:
                os.dup2(_console, 2)
                os.close(_console)
                _console = None


def _copied_console():
    """A descriptor of what file 2 is outside of `stderr_to`; OSError without a console."""
    with _files_lock:
        return os.dup(2 if _console is None else _console)


@contextlib.contextmanager
def quiet_libraries(gpu):
    """Within it, libraries' lines on stderr wait; at its end those that are no remarks are shown.

    TensorFlow writes some before it looks at TF_CPP_MIN_LOG_LEVEL, so that variable alone is not
    enough; and it calls a missing GPU an error. A user who sets the variable sees everything, at
    once. After Ctrl-C nothing is shown. Of several threads one is within, the others wait. What
    TensorFlow says on Windows alone is left out after it, too.

    Args:
        gpu: whether a GPU is wanted. Then warnings and whatever keeps one from being used are
            shown too, but for the line that there is no NVIDIA driver (303) on the machine at all.
    """
    handle = log = None
    try:
        handle = _copied_console()  # fails without a console, as under pythonw
        log = tempfile.TemporaryFile()  # fails where the disk is full, or read-only
    except OSError:  # absl, which TensorFlow imports, must not ask for a temporary folder then
        os.environ.setdefault("TEST_TMPDIR", os.devnull)
    if log is None:
        if handle is not None:
            os.close(handle)
        yield
        return
    remark = re.compile(_REMARK + (rb".*\b303\b" if gpu else b""))
    encoding = getattr(sys.stderr, "encoding", None)
    console = os.fdopen(handle, "w", encoding=encoding, errors="backslashreplace")
    with _one_thread, log, console:
        before = sys.stderr
        if before is sys.__stderr__:  # ours goes on to the console
            sys.stderr = console
        if not _SHOW_ALL:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1" if gpu else "2"  # from warnings, errors on
            _logger.addFilter(_no_remark)
        try:
            with contextlib.nullcontext() if _SHOW_ALL else stderr_to(log):
                yield
        except KeyboardInterrupt:  # where processes were starting, each tells of it
            log.truncate(0)
            raise
        finally:
            sys.stderr = before
            _redirect_handlers(console, before)
            log.seek(0)
            for line in log:
                if not remark.match(line):
                    tell(line.decode(errors="replace"), end="", stream=sys.stderr)


def _no_remark(record):
    """False for what TensorFlow says on Windows alone: of GPUs, as devices.py does; of Keras."""
    text = record.getMessage()
    return "GPU support is not available" not in text and "is deprecated. Please use" not in text


@contextlib.contextmanager
def heeding_signals():
    """Within it no library swallows what a signal's handler raises: at its end it is raised again.

    Of Ctrl-C a module of pybind11's makes an ImportError, after which Keras does without that
    module, and dm-tree, in TFDS's downloads, an AttributeError. Python drops it, with a traceback,
    where TensorFlow takes down its functions.
    """
    if threading.current_thread() is not threading.main_thread():  # others may set no handlers
        yield
        return
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    before = {number: handler for number, handler in handlers.items() if callable(handler)}
    raised, dropped = [], sys.unraisablehook

    def noting(handler):
        def note(signal_number, frame):
            try:
                handler(signal_number, frame)
            except BaseException as error:
                raised.append(error)
                raise

        return note

    sys.unraisablehook = lambda told: told.exc_value in raised or dropped(told)
    try:
        for number, handler in before.items():
            signal.signal(number, noting(handler))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = dropped
        if raised:
            raise raised[0] from None


def _redirect_handlers(console, stream):
    """Gives a lasting stream to log handlers made within the block, as TensorFlow makes one."""
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", ()):
            if getattr(handler, "stream", None) is console:
                handler.setStream(stream)
