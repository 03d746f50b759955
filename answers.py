"""Where answers go on disk: the predictions/ folder beside the pictures, the files asked for.

A picture `x.jpg` that was read as A is saved as `predictions/A_x.png`. Where that name is taken, in
any case or spelling, by another picture or by a file not ours, it becomes `A_x_2.png`, ... Each
file names its picture in a PNG text chunk, so that a second run replaces its own answer to the same
picture, and nothing else is ever overwritten, deleted or read again.

An entry is one of loading.py's: its `file`, its `content` (the bytes of a PNG file) and its
`readings`, pairs (character, probability), best first.
"""

import collections
import contextlib
import csv
import errno
import io
import itertools
import os
import re
import shutil
import stat
import sys
import unicodedata
import urllib.parse
import zlib
from pathlib import Path

import cv2

FOLDER = "predictions"
MAX_STEM = 240  # bytes of an answer's name
TEXT_CHUNK = b"tEXtdemo.py\0"  # then the answer's name, "/", the picture's name, both quoted
NO_PICTURE = "."  # in place of the picture's name: what is no answer to one, a panel or a sheet
COLUMNS = ["file", "character", "confidence", "second", "third", "note"]  # of a --csv file
NO_PNG = "no PNG file can be made of it"
PNG_HEAD = 33  # bytes of a PNG's signature and first chunk
PNG_START, PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"


# ---------------------------------------------------------------------------------- predictions/
def save_answers(entries, folders):
    """Saves a batch of answers.

    Args:
        entries: the batch, all of them read.
        folders: a dict, empty at first, to be given again with the next batch: from a folder to
            its Answers, None where it can have none.

    Returns:
        (path, reason) of each file or folder that could not be written.
    """
    failures = []
    for entry in entries:
        folder, source = os.path.split(entry.file)
        folder = os.path.realpath(folder)
        try:
            if folder not in folders:
                folders[folder] = None  # what stops it is said once
                folders[folder] = Answers(folder)
            if folders[folder] is None:
                continue
            path, earlier = folders[folder].place(source, entry.readings[0][0])
        except OSError as error:
            failures.append((error.filename, f"answers are not saved: {error.strerror}"))
            continue
        try:
            _save(path, source, entry.content, earlier)
        except OSError as error:
            failures.append((path, f"not saved: {error.strerror}"))
    return failures


class Answers:
    """One predictions/ folder: which names are free, which files are ours."""

    def __init__(self, pictures_folder):
        self.folder = Path(pictures_folder, FOLDER)
        make_folder(self.folder)
        self.taken = collections.Counter()  # `_folded` names
        self.ours = collections.defaultdict(list)  # picture's name -> names of our answers to it
        for path in self.folder.iterdir():
            self._take(path.name, source_of(path))

    def _take(self, name, source):
        self.taken[_folded(name)] += 1
        if source:
            self.ours[source].append(name)

    def place(self, source, character):
        """(path for a new answer, paths of an earlier run's answers, whose place it takes)."""
        earlier = self.ours.pop(source, [])
        for name in earlier:
            self.taken[_folded(name)] -= 1
        # A dot in front would hide the file; the demo passes over ._x.png, as over a Mac's notes.
        safe = re.sub(r"^\.|[^\w.+-]", lambda match: f"%{ord(match[0]):02X}", character)
        encoding = sys.getfilesystemencoding()  # of Latin-1, say: then it lacks letters
        safe = safe.encode(encoding, "backslashreplace").decode(encoding)
        stem = fitting(f"{safe}_{Path(source).stem}")
        endings = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
        names = (f"{stem}{ending}.png" for ending in endings)
        free = next(name for name in names if not self.taken[_folded(name)])
        self._take(free, source)
        return self.folder / free, [self.folder / name for name in earlier]


def _save(path, source, content, earlier):
    """Writes a PNG file, never over another, with the names of the answer and of the picture.

    The answers of an earlier run go once it is whole, and stay where the disk is full.
    """
    if not content:
        raise OSError(errno.EINVAL, NO_PNG, str(path))
    content = marked(content, path.name, source)
    if source_of(path) == source and path not in earlier:  # of another run, at the same time
        earlier = [*earlier, path]
    again = next((old for old in earlier if _folded(old.name) == _folded(path.name)), None)
    if again:
        write_whole(again, content)
        again.rename(path)
    else:
        write_new(path, content)
    for old in earlier:
        if old != again:
            old.unlink(missing_ok=True)


def _folded(name):
    """One for all names that a disk may take for the same: other case, accents spelled apart."""
    return unicodedata.normalize("NFC", name.casefold())


def marked(content, name, source):
    """A PNG file's bytes, with the text chunk that says what it answers."""
    names = (urllib.parse.quote(os.fsencode(part), safe="") for part in (name, source))
    chunk = TEXT_CHUNK + "/".join(names).encode()
    length, check = len(chunk) - 4, zlib.crc32(chunk)
    chunk = length.to_bytes(4, "big") + chunk + check.to_bytes(4, "big")
    return content[:PNG_HEAD] + chunk + content[PNG_HEAD:]


def fitting(stem):
    """A file name's stem, cut to what all disks take: 255 bytes with a number and `.png`."""
    while len(os.fsencode(stem)) > MAX_STEM:
        stem = stem[:-1]
    return stem


def source_of(path):
    """Name of the picture that a file answers; None for a file that this program did not write."""
    try:
        if path.suffix.lower() != ".png" or not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as file:
            head = file.read(4096)
    except (OSError, ValueError):  # ValueError: a null character in the name
        return None
    size = int.from_bytes(head[PNG_HEAD : PNG_HEAD + 4], "big")
    chunk = head[PNG_HEAD + 4 : PNG_HEAD + 8 + size]
    if not chunk.startswith(TEXT_CHUNK):
        return None
    own, _, source = chunk.removeprefix(TEXT_CHUNK).partition(b"/")
    own, source = (os.fsdecode(urllib.parse.unquote_to_bytes(part)) for part in (own, source))
    # A copy under another name is the user's; some disks change how an accent is spelled.
    own, name = (unicodedata.normalize("NFC", name) for name in (own, path.name))
    return source if own == name else None


def as_overview(content, path):
    """The bytes of a PNG file that is to be at a path, as those of a sheet or a panel."""
    return marked(content, os.path.basename(os.path.realpath(path)), NO_PICTURE)


def is_overview(path):
    """Whether a file is a sheet or a panel of an earlier run, which no run reads as a picture."""
    return source_of(Path(path)) == NO_PICTURE


def without_answers(folder, names):
    """Those of a folder's file names that are pictures, not answers of an earlier run."""
    if os.path.basename(os.path.abspath(folder)).casefold() != FOLDER:  # Windows' and Macs' disks
        return names
    return [name for name in names if not source_of(Path(folder, name))]


# ----------------------------------------------------------------------------------- whole files
def png(picture):
    """The bytes of a PNG file; OSError where none holds so large a picture: 1,000,000 px a row."""
    with contextlib.suppress(cv2.error, MemoryError):
        packed, content = cv2.imencode(".png", picture)
        if packed:  # OpenCV 4 raises where 5 does not
            return content.tobytes()
    raise OSError(errno.EINVAL, NO_PNG)


def as_png(content, picture):
    """A picture, (height, width, 3) uint8 BGR, as the bytes of a PNG file; b"" where none holds it.

    Its own file's bytes, (n,) uint8, are taken where they are a whole PNG file: that keeps its
    transparency, and saves the time of packing, a quarter of the whole time per picture.
    """
    content = content.tobytes()
    if content.startswith(PNG_START) and content.endswith(PNG_END):
        return content
    with contextlib.suppress(OSError):
        return png(picture)
    return b""


def csv_table(entries):
    """(file, readings, note) of each picture, as a CSV file's bytes.

    A name that is no text keeps its bytes.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for file, readings, note in entries:
        first, *others = [character for character, _ in readings]
        row = [file, first, f"{readings[0][1]:.6f}", *others, "", ""]
        table.writerow([*row[:5], note])
    return text.getvalue().encode("utf-8", sys.getfilesystemencodeerrors())


def save_drawing(folder, picture):
    """Saves a drawing of --draw as the next free drawing_<number>.png; returns its path."""
    make_folder(folder)
    content = png(picture)
    for number in itertools.count(1):
        path = folder / f"drawing_{number}.png"
        with contextlib.suppress(FileExistsError):
            write_new(path, content)
            return path


def make_folder(path):
    """Makes a folder where there is none yet."""
    try:
        path.mkdir(exist_ok=True)
    except FileExistsError as error:
        told = "a file of this name is in the way"
        raise FileExistsError(error.errno, told, str(path)) from None


def write_new(path, content):
    """Writes a file that must not exist yet, whole or not at all."""
    file = path.open("xb")
    try:
        with file:
            file.write(content)
    except BaseException:  # Ctrl-C too
        path.unlink()
        raise


def check_output(path, endings):
    """OSError where `write_whole` would fail, or would write over a file of the user's.

    Args:
        path: of the file to write.
        endings: of files that are pictures: `--sheet *.png` names the first of them.
    """
    target = Path(os.path.realpath(path))
    if target.is_file() and target.suffix.lower() in endings and not is_overview(target):
        raise FileExistsError(None, "it is a picture, and no sheet of an earlier run")
    if _stream(path):
        return
    if os.path.isfile(path):
        # "+": not replaceable where open elsewhere, on Windows, or another's.
        with open(path, "r+b") as file:
            first, head = file.readline(200), ",".join(COLUMNS).encode()
            if first and first.rstrip() != head and not is_overview(target):
                raise FileExistsError(None, "it is there already, and no table of an earlier run")
    if not target.parent.is_dir():
        raise FileNotFoundError(None, f"there is no folder {os.path.dirname(path)}")
    write_whole(path, None)


def _stream(path):
    """1 or 2 where the path is what standard output or error go to, /dev/stdout say; else None."""
    if path == "-":
        return 1
    for number in (1, 2):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), os.fstat(number)):
                return number
    return None


def write_whole(path, content):
    """Writes a file that appears only once it is whole; with None it only tries whether it can."""
    if stream := _stream(path):  # may be a file that the user redirects to
        if content is not None:
            with open(stream, "wb", closefd=False) as file:
                file.write(content)
        return
    if os.path.exists(path) and not os.path.isfile(path):  # a device
        if os.path.isdir(path):
            raise IsADirectoryError(None, "a folder")
        if content is not None:
            Path(path).write_bytes(content)
        return
    target = os.path.realpath(path)  # a link stays a link
    # A name of its own, and short: the target's may be the longest there can be.
    part = Path(target).with_name(f".{os.urandom(4).hex()}.part")
    write_new(part, content or b"")
    try:
        if os.path.exists(target):
            shutil.copymode(target, part)
        if content is not None:
            part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
