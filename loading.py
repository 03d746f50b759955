"""Pictures on their way to the network: listed, then read and converted ahead of it, in batches.

    with converted(list_pictures(["notes/"])) as batches:   # has begun
        for batch in batches: ...

Many pictures are converted by several processes, begun while TensorFlow starts: converting is many
short steps, and threads wait for each other between them (of 100 cut-outs, two threads 3.6 ms a
picture, one 3.6). Few are converted by threads: a process takes a quarter of a second to start.
"""

import collections
import concurrent.futures
import contextlib
import glob
import itertools
import multiprocessing
import os
import re
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

# Before cv2, for which `picture` sets a limit on the size of pictures.
from picture import PictureError, convert, decode, holds_several, read_bytes  # isort: skip

import cv2
import numpy as np

import answers
from weights import printable

ENDINGS = frozenset(  # what OpenCV decodes; and HEIC, which it does not: it is named then
    ".apng .avif .bmp .dib .exr .gif .hdr .j2k .jfif .jif .jp2 .jpe .jpeg .jpg .pam .pbm .pfm .pgm "
    ".pic .png .pnm .ppm .pxm .ras .sr .tif .tiff .webp .heic .heif".split()
)
BATCH = 128  # pictures; memory stays flat however many there are
BATCH_BYTES = 256 * 2**20  # a batch of photographs ends earlier
AHEAD = 8 * BATCH  # pictures begun before they are asked for: as many as TensorFlow's start allows
AHEAD_BYTES = 32 * 2**20  # the same, in bytes of their files
# More would wait for the network, which takes 1.1 ms a picture; a worker takes 4.3.
WORKERS = min(4, cv2.getNumberOfCPUs())  # of those that this process may use
JOB, JOB_BYTES = 16, 2**20  # pictures that a process gets at a time, bytes of their files
MANY = 64  # pictures for which processes are worth their start


@dataclass
class Entry:
    """One picture on its way; its image and its bytes are dropped once it is saved."""

    file: str
    error: str | None = None
    content: bytes = b""  # a PNG file: the picture's own, or one made of it
    image: np.ndarray | None = None  # (28, 28) float32
    notes: tuple = ()
    readings: tuple = ()  # three of (character, probability), best first


# ----------------------------------------------------------------------------------------- which
def list_pictures(arguments, default=None):
    """Entries for all files, each once: folders in the given order, natural order within each.

    Args:
        arguments: files of any ending, folders, and patterns of both.
        default: the folder whose .png files are read where there are no arguments.
    """
    entries, files = [], {}  # files: folder as given -> [(name, file as given), ...]
    endings = ENDINGS if arguments else {".png"}
    for argument in itertools.chain(*map(matching, arguments or [default])):
        if not os.path.isdir(argument):
            folder, name = os.path.split(argument)
            files.setdefault(folder, []).append((name, argument))
            continue
        try:
            listed = os.listdir(argument)
        except OSError as error:
            entries.append(Entry(argument, error.strerror))
            continue
        names = [
            name
            for name in listed
            # ._x.png is no picture: what a Mac notes of x.png on another's disk.
            if Path(name).suffix.lower() in endings and not name.startswith("._")
        ]
        if not names:
            deeper = any(os.path.isdir(os.path.join(argument, name)) for name in listed)
            hint = "; its subfolders are not looked into" if deeper else ""
            entries.append(Entry(argument, f"no pictures in this folder{hint}"))
        found = files.setdefault(argument, [])
        for name in answers.without_answers(argument, names):
            found.append((name, os.path.join(argument, name)))
    unique = {}
    for folder in files.values():
        for _, file in sorted(folder, key=lambda pair: natural_order(pair[0])):
            if answers.is_overview(file):
                continue
            folder_of, name = os.path.split(file)  # a linked folder is the same folder
            unique.setdefault((os.path.realpath(folder_of), name), Entry(file))
    if not entries and not unique:  # with others, as in `notes/*`, such a folder is passed over
        return [Entry(argument, "only answers of an earlier run") for argument in arguments]
    return entries + list(unique.values())


def matching(argument):
    """What a pattern, `notes/*.png`, stands for: Windows leaves that to the program."""
    return [argument] if os.path.lexists(argument) else glob.glob(argument) or [argument]


def natural_order(name):
    """Sort key under which 2 stands before 10 and case is ignored."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if part.isdecimal() and part.isascii() else part for part in parts], name


# --------------------------------------------------------------------------------------- one file
def look(file):
    """Reads and converts one picture.

    Returns:
        picture: (height, width, 3) uint8, BGR.
        image: (28, 28) float32 in [0, 1].
        notes: list of str, what the reader should know of it.
        content: the file's bytes, (n,) uint8.

    Raises:
        PictureError: it cannot be read, whatever the reason.
    """
    try:
        content = read_bytes(file)
        picture = decode(content)
        image, notes = convert(picture)
        if holds_several(content):
            notes.append("one page or frame of several")
        return picture, image, notes, content
    except PictureError:
        raise
    except Exception as error:  # no picture may end the reading of all others
        told = printable(f"cannot be read: {type(error).__name__}: {error}")
        raise PictureError(told) from None


def load(file):
    """The `error`, `image`, `notes` and `content` of a file's Entry: less than the picture."""
    try:
        picture, image, notes, content = look(file)
        return None, image, notes, answers.as_png(content, picture)
    except PictureError as error:
        return str(error), None, (), b""


# ------------------------------------------------------------------------------------ many files
@contextlib.contextmanager
def converted(entries):
    """Begins to load entries; within it, an iterator over lists of them in their order.

    A list holds at most BATCH of them and little more than BATCH_BYTES.
    """
    pool = _pool(len(entries))
    try:
        yield batches(_ahead(pool, entries))
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(count):
    """Processes for many pictures, where the system has what they need; threads for few."""
    if count >= MANY and WORKERS > 1:
        with contextlib.suppress(OSError, ImportError, NotImplementedError):
            return concurrent.futures.ProcessPoolExecutor(
                WORKERS, multiprocessing.get_context("spawn"), initializer=_begin_worker
            )
    return concurrent.futures.ThreadPoolExecutor(WORKERS)


@contextlib.contextmanager
def _without_ctrl_c():
    """Processes begun within it do not hear Ctrl-C, not even while they import; this one waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker():
    """In a process of its own: Ctrl-C is the first one's to see, and with it all end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # a core is one worker's
    # glibc keeps memory that is freed for the next picture once as much was freed in one piece; of
    # smaller pictures it returns the pages each time: a cut-out takes 4.3 ms then, not 4.6.
    np.empty(2**21, np.uint8)
    if hasattr(os, "nice"):  # what TensorFlow's start leaves: 1,000 pictures in 4.6 s, not 5.3
        os.nice(5)


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


def _ahead(pool, entries):
    """Entries loaded, in order: some jobs are begun at once, another whenever one is done."""
    jobs = _jobs(entries, JOB if isinstance(pool, concurrent.futures.ProcessPoolExecutor) else 1)
    waiting = collections.deque()  # (a job's entries, bytes of their files, what is made of them)

    def begin():
        while len(waiting) <= WORKERS or _room(waiting):
            job, size = next(jobs, (None, 0))
            if job is None:
                break
            future = None
            # OSError and the like: no process, no thread is to be had.
            with _without_ctrl_c(), contextlib.suppress(OSError, ValueError, RuntimeError):
                future = pool.submit(_load_all, [entry.file for entry in job])
            waiting.append((job, size, future))

    def results():
        while waiting:
            job, _, future = waiting.popleft()
            for entry, loaded in zip(job, _result(future, job), strict=True):
                if entry.error is None:
                    entry.error, entry.image, entry.notes, entry.content = loaded
            begin()
            yield from job

    begin()
    return results()


def _jobs(entries, together):
    """(entries, bytes of their files) for one worker at a time: so many, or a large file alone."""
    job, total = [], 0
    for entry in entries:
        size = 0
        with contextlib.suppress(OSError, ValueError):  # ValueError: a null character in the name
            size = os.path.getsize(entry.file)
        if job and (len(job) == together or total + size > JOB_BYTES):
            yield job, total
            job, total = [], 0
        job.append(entry)
        total += size
    if job:
        yield job, total


def _room(waiting):
    """Whether more may be begun within AHEAD and AHEAD_BYTES."""
    return (
        sum(len(job) for job, _, _ in waiting) < AHEAD
        and sum(size for _, size, _ in waiting) < AHEAD_BYTES
    )


def _load_all(files):
    return [load(file) for file in files]


def _result(future, job):
    """What a worker made of a job; where it died, or could not send it, it is made here."""
    if future is not None:
        with contextlib.suppress(Exception):
            return future.result()
    return _load_all([entry.file for entry in job])


def batches(entries):
    """Lists of entries, of at most BATCH and little more than BATCH_BYTES of content."""
    batch, size = [], 0
    for entry in entries:
        batch.append(entry)
        size += len(entry.content)
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
