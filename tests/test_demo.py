"""demo.py through its real parts: picture files, a small network, windows on a virtual screen."""

import contextlib
import csv
import errno
import gc
import hashlib
import io
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import h5py
import keras
import numpy as np
import pytest
from PIL import Image

import answers
import demo
import loading
import model
import panel
import weights as weights_file

ROOT = Path(__file__).resolve().parent.parent
POSIX = os.name == "posix"
LINE = re.compile(
    r"^(\S.*?) {3,}(\S+) +([\d.]+) %   (\S+) +([\d.]+) %   (\S+) +([\d.]+) %(?:   (.*))?$"
)


# -------------------------------------------------------------------------------------- helpers
def glyph(character="7", colour=(160, 60, 20), size=128, thickness=9, shift=(0, 0)):
    """A character as a person would draw it: uint8 BGR (size, size, 3), coloured on white."""
    picture = np.full((size, size, 3), 255, np.uint8)
    scale = size / 40
    (w, h), _ = cv2.getTextSize(character, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    corner = (size - w) // 2 + shift[0], (size + h) // 2 + shift[1]
    cv2.putText(
        picture, character, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, thickness, cv2.LINE_AA
    )
    return picture


def encoded(picture, ending=".png"):
    return cv2.imencode(ending, picture)[1].tobytes()


def write_picture(path, *args, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(glyph(*args, **kwargs), path.suffix.lower() or ".png"))
    return path


def write_weights(network, path, **changes):
    """Weights and the .json beside them, as resume.py leaves them; `changes` to the .json."""
    path.parent.mkdir(parents=True, exist_ok=True)
    network.save_weights(path)
    return write_sidecar(path, **changes)


def write_sidecar(path, **changes):
    about = {
        "model": "LeNet",
        "input_shape": list(model.INPUT_SHAPE),
        "characters": list(model.CHARACTERS),
        "dataset": "drawn by the test",
        "epoch": 7,
        "val_accuracy": 0.8765,
        "temperature": 1.0,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    } | changes
    about = {key: value for key, value in about.items() if value is not ...}
    sidecar = path.with_name(path.name.removesuffix(".weights.h5") + ".json")
    sidecar.write_text(json.dumps(about, ensure_ascii=False), "utf-8")
    return path


@pytest.fixture(scope="session")
def network():
    """A LeNet of 62 outputs that knows L, 7 and O as `glyph` draws them."""
    keras.utils.set_random_seed(1)
    network = model.LeNet_inference(dropout=0.0)
    images, labels = [], []
    for character in "L7O":
        for thickness in (5, 9, 13):
            images.append(demo.to_emnist(glyph(character, thickness=thickness)))
            labels.append(model.CHARACTERS.index(character))
    x, y = np.array(images * 4)[..., None], np.array(labels * 4)
    for _ in range(15):
        network.train_on_batch(x, y)
    return network


@pytest.fixture(scope="session")
def weights(network, tmp_path_factory):
    return write_weights(network, tmp_path_factory.mktemp("weights") / "best.weights.h5")


@pytest.fixture
def run(weights, monkeypatch, tmp_path, capsys):
    """Runs demo.main in this process, in tmp_path: exit code, lines of stdout, lines of stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, weights=weights):
        capsys.readouterr()
        code = demo.main(["--no-window", "--weights", str(weights), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run


@pytest.fixture
def clone(weights, tmp_path):
    """A fresh clone with three pictures and shipped weights; returns its folder."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    for number, character in ((1, "L"), (2, "7"), (10, "O")):
        write_picture(folder / "assets" / f"{number}.png", character)
    shutil.copytree(weights.parent, folder / "checkpoints" / "shipped")
    return folder


def bare_environment():
    """Without a display, and with TensorFlow as loud as it comes."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "TF_CPP_MIN_LOG_LEVEL")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    return kept | {"PYTHONIOENCODING": "utf-8"}


def start(folder, *arguments, environment=None, **options):
    """demo.py as a process of its own, without a display."""
    return subprocess.Popen(
        [sys.executable, str(folder / "demo.py"), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=bare_environment() | (environment or {}),
        **options,
    )


# ------------------------------------------------------------------------------- the lines printed
def test_reads_what_is_drawn_in_natural_order(run, tmp_path):
    for name, character in (("x10.png", "O"), ("x2.PNG", "7"), ("X1.jpg", "L"), ("x3.bmp", "7")):
        write_picture(tmp_path / "in" / name, character)
    (tmp_path / "in" / "notes.txt").write_text("not a picture, by its ending")
    (tmp_path / "in" / "._x2.PNG").write_bytes(b"what a Mac leaves beside it on another's disk")
    code, out, err = run("in")
    assert (code, err) == (0, [])
    lines = [LINE.match(line).groups() for line in out[1:-1]]
    folder = f"in{os.sep}"
    read = [(file.removeprefix(folder), character) for file, character, *_ in lines]
    assert read == [("X1.jpg", "L"), ("x2.PNG", "7"), ("x3.bmp", "7"), ("x10.png", "O")]
    assert len({line.index(" %") for line in out[1:-1]}) == 1, "columns are aligned"
    assert out[-1] == "4 read, 0 unsure, 0 not read"


def test_names_that_look_like_options_are_files_behind_two_dashes(run, tmp_path):
    for name in ("-x.png", "y.png"):
        write_picture(tmp_path / name, "L")
    code, out, err = run("--", "-x.png", "y.png")
    assert (code, err) == (0, []) and [line.split()[0] for line in out[1:-1]] == ["-x.png", "y.png"]
    assert sorted(saved(tmp_path)) == ["L_-x.png", "L_y.png"]


def test_a_pattern_that_the_shell_left_as_it_is(run, tmp_path):  # as those of Windows do
    for name in ("x10.png", "x2.png", "y.png", "[x]1.png", "x1.png"):
        write_picture(tmp_path / "in" / name, "L")
    (tmp_path / "in" / "x.txt").write_text("no picture")
    code, out, err = run(os.path.join("in", "x*.png"), "[x]1.png", os.path.join("in", "[x]1.png"))
    assert code == 1 and err == ["[x]1.png: no such file"]
    read = [os.path.basename(line.split()[0]) for line in out[1:-1]]
    assert read == ["[x]1.png", "x1.png", "x2.png", "x10.png"]
    code, _, err = run(os.path.join("in", "z*.png"))
    assert code == 1 and err == [f"{os.path.join('in', 'z*.png')}: no such file"]


def test_an_empty_name_is_shown_as_one(run, tmp_path):  # of a variable that is not set
    write_picture(tmp_path / "x.png", "L")
    code, out, err = run("", "x.png")
    assert code == 1 and err == ["'': no such file"] and list(saved(tmp_path)) == ["L_x.png"]


def test_first_line_says_which_weights(run, tmp_path, weights):
    write_picture(tmp_path / "x.png")
    first = run("x.png")[1][0]
    for part in ("LeNet", "drawn by the test", "62 classes", "87.65 %", weights.name):
        assert part in first


def test_named_files_are_tried_whatever_their_ending_and_once(run, tmp_path):
    write_picture(tmp_path / "x.png")
    shutil.copy(tmp_path / "x.png", tmp_path / "x.unknown")
    code, out, err = run("x.unknown", "--no-window", "x.png", tmp_path / "x.png")
    assert (code, err, len(out)) == (0, [], 1 + 2 + 1)


def test_unsure_below_the_stated_confidence_and_notes(run, tmp_path, monkeypatch):
    picture = np.hstack([glyph("L"), glyph("O")])
    (tmp_path / "two.png").write_bytes(encoded(picture))
    monkeypatch.setattr(demo, "UNSURE_BELOW", 1.1)
    code, out, _ = run("two.png", "--csv", "out.csv")
    assert code == 0 and out[1].endswith("   unsure, several characters?")
    (row,) = csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8"))
    assert row["note"] == "unsure, several characters?"


def test_one_long_name_does_not_push_the_others_answers_away(run, tmp_path):
    for name in ("x.png", "y" * 60 + ".png"):
        write_picture(tmp_path / name, "L")
    out = run("x.png", "y" * 60 + ".png")[1]
    assert [line.index("   L  ") for line in out[1:-1]] == [48, 64]


def test_a_complaint_comes_behind_the_lines_before_it(tmp_path, monkeypatch):
    """Where both go to one file, as with `> log 2>&1`."""
    log = tmp_path / "log"
    with log.open("a") as out, log.open("a") as err:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        print("x.png   L")
        demo.complain("y.png", "no such file")
    assert log.read_text().splitlines() == ["x.png   L", "y.png: no such file"]


def test_a_batch_s_lines_are_seen_before_the_next_is_read(weights, tmp_path, monkeypatch):
    """By a program that reads them from a pipe, as here from a file."""
    write_picture(tmp_path / "x.png", "L")
    log, seen, save = tmp_path / "log", [], answers.save_answers

    def noting(entries, folders):
        seen.append(log.read_text())
        return save(entries, folders)

    monkeypatch.setattr(answers, "save_answers", noting)
    with log.open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        demo.main([str(tmp_path / "x.png"), "--no-window", "--weights", str(weights)])
    assert "x.png   L " in seen[0]


def test_letters_that_the_console_lacks_are_escaped(weights, tmp_path, monkeypatch):
    path = write_picture(tmp_path / "\u6f22.png", "L")
    screens = {}
    for name in ("stdout", "stderr"):
        screens[name] = io.TextIOWrapper(io.BytesIO(), "ascii")
        monkeypatch.setattr(sys, name, screens[name])
    code = demo.main([str(path), "\u5b57.png", "--no-window", "--weights", str(weights)])
    told = {name: screen.buffer.getvalue() for name, screen in screens.items()}
    assert code == 1 and rb"\u6f22.png   L " in told["stdout"]
    assert told["stderr"] == rb"\u5b57.png: no such file" + os.linesep.encode()


def test_charset_restricts_and_renormalises(run, tmp_path):
    write_picture(tmp_path / "x.png", "O")
    for charset in ("digits", "upper", "lower", "letters"):
        table = tmp_path / "out.csv"
        assert run("x.png", "--charset", charset, "--csv", table)[0] == 0
        (row,) = csv.DictReader(table.open(encoding="utf-8"))
        assert {row["character"], row["second"], row["third"]} <= set(demo.CHARSETS[charset])
    rows = np.array([0.6, 0.3, 0.1, 0.0], np.float32)
    assert demo.rank(rows, ("O", "0", "1", "a"), "digits") == (
        ("0", pytest.approx(0.75)),
        ("1", pytest.approx(0.25)),
    )
    assert demo.rank(rows, ("O", "0", "1", "a"), "lower") == (("a", 1.0),), "sum 0 is no division"
    sure = np.array([0, 0, 1, 0], np.float32)  # as emnist/letters, whose first output is not used
    assert [character for character, _ in demo.rank(sure, ("", "a", "b", "c"))] == ["b", "a", "c"]


def test_the_csv_s_columns_are_what_their_heads_say():
    of_three = "x.png", (("L", 0.7), ("l", 0.2), ("1", 0.1)), "unsure"
    of_one = "y.png", (("a", 0.6543214),), "several characters?"
    assert answers.csv_table([of_three, of_one]).decode().splitlines() == [
        "file,character,confidence,second,third,note",
        "x.png,L,0.700000,l,1,unsure",
        "y.png,a,0.654321,,,several characters?",
    ]


def test_csv_is_utf8_with_paths_as_given(run, tmp_path):
    names = ["ä ö,漢.png", "b.png"]
    for name in names:
        write_picture(tmp_path / "in" / name, "L")
    (tmp_path / "in" / "bad.png").write_text("text")
    out = tmp_path / "out.csv"
    out.write_text("file,character,confidence,second,third,note\r\nold,X,1.0000,Y,Z,\r\n")
    code = run("in", "--csv", out)[0]
    assert code == 1
    with open(out, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "character", "confidence", "second", "third", "note"]
    assert {row[0] for row in rows[1:]} == {os.path.join("in", name) for name in names}
    assert all(row[1] == "L" and 0 <= float(row[2]) <= 1 for row in rows[1:])
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_outputs_that_cannot_be_written_are_found_out_first(run, tmp_path):
    picture = write_picture(tmp_path / "x.png")
    (tmp_path / "folder.png").mkdir()
    os.link(picture, tmp_path / "X.PNG-too.png")  # as on disks that do not tell case apart
    before = picture.read_bytes()
    for option, path in (
        ("--csv", "missing/out.csv"),
        ("--csv", "folder.png"),
        ("--csv", "x.png"),
        ("--sheet", "X.PNG-too.png"),
        ("--sheet", "missing/out.png"),
        ("--sheet", "folder.png"),
    ):
        code, out, err = run("x.png", option, path)
        assert code == 2 and len(out) == 1 and len(err) == 1 and path in err[0]
    assert picture.read_bytes() == before
    assert not (tmp_path / "predictions").exists()


def test_sheet_holds_all_pictures(run, tmp_path):
    for number in range(3):
        write_picture(tmp_path / "in" / f"{number}.png", "L7O"[number])
    assert run("in", "--sheet", "sheet.png")[0] == 0
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[:2] == (252, 736)  # three cells


def test_a_picture_that_cannot_be_read_is_not_on_the_sheet(run, tmp_path):
    write_picture(tmp_path / "in" / "x.png", "L")
    (tmp_path / "in" / "bad.png").write_text("no picture")
    assert run("in", "--sheet", "sheet.png")[0] == 1
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[:2] == (252, 272)  # one cell


# ------------------------------------------------------------------------------------ bad input
def test_a_folder_of_bad_files_gives_a_line_each(run, tmp_path):
    folder = tmp_path / "in"
    whole = encoded(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    huge = b"IHDR" + (30_000).to_bytes(4, "big") * 2 + whole[24:29]  # 2.7 GB
    good = [write_picture(folder / name, "L") for name in ("good.png", "gut_äß.png", "漢字.png")]
    bad = {
        "empty.png": b"",
        "text.png": b"this is not a picture",
        "truncated.png": whole[:40],
        "blank.png": encoded(np.full((50, 50, 3), 255, np.uint8)),
        "bomb.png": whole[:12] + huge + zlib.crc32(huge).to_bytes(4, "big") + whole[33:],
        "pickle.png": pickle.dumps({"a": 1}),
        "phone.HEIC": b"\0\0\0\x18ftypheic" + bytes(100),
    }
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    bad_names = [*bad, "folder.png"]
    if POSIX:
        os.mkfifo(folder / "fifo.png")
        (folder / "loop.png").symlink_to("loop.png")
        (folder / "nowhere.png").symlink_to("does not exist")
        bad_names += ["fifo.png", "loop.png", "nowhere.png"]
        good.append(write_picture(folder / "new\nline\x1b[31m.png", "L"))
    if sys.platform == "linux":  # others have no names that are not text
        raw = os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png")
        Path(raw).write_bytes(good[0].read_bytes())
        good.append(Path(raw))
    code, out, err = run("in", "missing.png")
    assert code == 1
    assert len(err) == len(bad_names) + 1, err
    for name in [*bad_names, "missing.png"]:
        (line,) = [line for line in err if f"{name}: " in line]
        assert len(line.split(": ", 1)[1]) > 4, line
    assert len(out) == 1 + len(good) + 1
    assert all(line.isprintable() for line in out + err)
    assert out[-1] == f"{len(good)} read, 0 unsure, {len(err)} not read"
    assert len(list((folder / "predictions").iterdir())) == len(good)


def damaged_corpus():
    """{file name: bytes}: eight formats, each damaged in a dozen ways."""
    generator = np.random.default_rng(5)
    page = generator.integers(200, 256, (48, 48, 3)).astype(np.uint8)
    cv2.putText(page, "L", (10, 40), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (90, 30, 20), 3)
    damages = {
        "cut-1": lambda b: b[: len(b) // 10],
        "cut-5": lambda b: b[: len(b) // 2],
        "cut-9": lambda b: b[: -len(b) // 10],
        "bit-head": lambda b: b[:9] + bytes([b[9] ^ 16]) + b[10:],
        "bit-size": lambda b: b[:18] + bytes([b[18] ^ 64]) + b[19:],
        "bit-middle": lambda b: b[: len(b) // 2] + b"\xff" + b[len(b) // 2 + 1 :],
        "zeros": lambda b: b[:32] + bytes(len(b) - 32),
        "noise": lambda b: b[:32] + generator.bytes(len(b) - 32),
        "no-head": lambda b: b[16:],
        "swapped": lambda b: b[len(b) // 2 :] + b[: len(b) // 2],
        "ones": lambda b: b[:24] + b"\xff" * 16 + b[40:],
        "repeated": lambda b: b[:64] + b[32:],
    }
    corpus = {}
    for ending in ("png", "jpg", "bmp", "tiff", "webp", "gif", "ppm", "jp2"):
        content = cv2.imencode(f".{ending}", page)[1].tobytes()
        for name, damage in damages.items():
            corpus[f"{name}-{ending}.{ending}"] = damage(content)
    return corpus


def test_a_hundred_damaged_pictures_give_a_line_each(run, tmp_path):
    folder = tmp_path / "in"
    good = [write_picture(folder / f"good-{n}.png", "L") for n in range(3)]
    for mode, ending in (("CMYK", "jpg"), ("LA", "png"), ("P", "gif"), ("I;16", "png")):
        picture = Image.fromarray(cv2.imread(str(good[0]))[..., 0])
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
        picture.convert(mode).save(folder / f"good-{mode[:2]}.{ending}")
        good.append(folder / f"good-{mode[:2]}.{ending}")
    corpus = damaged_corpus()
    assert len(corpus) == 96
    for name, content in corpus.items():
        (folder / name).write_bytes(content)
    code, out, err = run("in", "--csv", "out.csv")
    assert code == 1
    lines = out[1:-1] + err
    for name in [*corpus, *(path.name for path in good)]:
        assert sum(name in line for line in lines) == 1, name  # read, or named with its reason
    assert len(lines) == len(corpus) + len(good)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        answers = {Path(row["file"]).name: row["character"] for row in csv.DictReader(file)}
    assert {path.name for path in good} <= answers.keys()
    assert all(answers[path.name] == "L" for path in good)


def test_unexpected_trouble_with_one_picture_spares_the_others(run, tmp_path, monkeypatch):
    write_picture(tmp_path / "a.png", "L", size=100)
    write_picture(tmp_path / "b.png", "L")

    def convert(picture):
        if len(picture) == 100:
            raise cv2.error("some\nassertion")
        return convert_really(picture)

    convert_really = loading.convert
    monkeypatch.setattr(loading, "convert", convert)
    code, out, err = run("a.png", "b.png")
    assert (code, len(out), len(err)) == (1, 3, 1) and "a.png: cannot be read" in err[0]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_no_permission_is_named(run, tmp_path):
    write_picture(tmp_path / "x.png").chmod(0)
    code, _, err = run("x.png")
    assert code == 1 and "permission" in err[0]


def test_empty_folder_and_empty_assets(run, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(demo, "ASSETS", tmp_path / "in")
    for arguments in (["in"], []):
        code, out, err = run(*arguments)
        assert code == 1 and err == ["in: no pictures in this folder"]
    write_picture(tmp_path / "in" / "x.jpg")
    assert run()[2] == ["in: no pictures in this folder"]  # assets/*.png are read by default
    told = "out: no pictures in this folder; its subfolders are not looked into"
    write_picture(tmp_path / "out" / "deeper" / "x.png")
    assert run("out")[2] == [told]


def test_batches_stream_in_order_and_hold_few_pictures(run, tmp_path, monkeypatch):
    for number in range(23):
        write_picture(tmp_path / "in" / f"{number}.png", "L7O"[number % 3])
    monkeypatch.setattr(loading, "BATCH", 5)
    monkeypatch.setattr(demo, "BATCH", 5)
    sizes, all_of_them = [], []

    def save_answers(entries, folders):
        all_of_them.extend(entries)
        sizes.append([entry.image is not None and entry.content != b"" for entry in entries])
        return []

    monkeypatch.setattr(answers, "save_answers", save_answers)
    out = run("in")[1]
    assert [LINE.match(line)[2] for line in out[1:-1]] == list("L7O" * 8)[:23]
    assert [len(size) for size in sizes] == [5, 5, 5, 5, 3] and all(map(all, sizes))
    assert not any(entry.content or entry.image is not None for entry in all_of_them)
    big = [loading.Entry(str(n), content=bytes(81)) for n in range(7)]
    monkeypatch.setattr(loading, "BATCH_BYTES", 2 * 81)
    assert [len(batch) for batch in loading.batches(big)] == [3, 3, 1]


def test_a_picture_deleted_before_it_is_shown_is_blank(tmp_path):
    entry = loading.Entry(str(tmp_path / "gone.png"), readings=(("L", 0.9),))
    picture, image, readings, *_ = demo.reread(entry)
    assert (picture == 255).all() and image is None and readings == entry.readings
    assert demo.sheet([entry]).startswith(answers.PNG_START)


# -------------------------------------------------------------------------------- saved answers
def saved(folder):
    return {path.name: path.read_bytes() for path in (folder / "predictions").iterdir()}


def relabel(network, tmp_path, characters):
    """Weights whose classes are called something else: the same pictures get other answers."""
    folder = tmp_path / f"relabelled {len(list(tmp_path.iterdir()))}"
    return write_weights(network, folder / "best.weights.h5", characters=list(characters))


def test_saved_answer_is_the_picture_under_the_character_read(run, tmp_path):
    path = write_picture(tmp_path / "in" / "my.pic.jpg", "L")
    before = path.read_bytes()
    assert run("in")[0] == 0
    assert list(saved(tmp_path / "in")) == ["L_my.pic.png"]
    picture = cv2.imread(str(tmp_path / "in" / "predictions" / "L_my.pic.png"))
    assert np.array_equal(picture, cv2.imread(str(path)))
    assert path.read_bytes() == before
    with Image.open(tmp_path / "in" / "predictions" / "L_my.pic.png") as answer:
        answer.load()  # checks what OpenCV passes over
        assert answer.text == {"demo.py": "L_my.pic.png/my.pic.jpg"}


def test_a_png_keeps_its_depth_and_transparency_when_saved(run, tmp_path):
    picture = glyph("L")
    see_through = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    see_through[:9, :9, 3] = 0
    (tmp_path / "in").mkdir()
    kinds = {"deep.png": picture.astype(np.uint16) << 8, "see-through.png": see_through}
    for name, pixels in kinds.items():
        (tmp_path / "in" / name).write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    whole = write_picture(tmp_path / "in" / "trailed.png", "L")
    whole.write_bytes(whole.read_bytes() + b"not a PNG's end")
    assert run("in")[0] == 0
    answers_now = tmp_path / "in" / "predictions"
    for name, pixels in kinds.items():
        again = cv2.imread(str(answers_now / f"L_{name}"), cv2.IMREAD_UNCHANGED)
        assert again.dtype == pixels.dtype and np.array_equal(again, pixels)
    content = (answers_now / "L_trailed.png").read_bytes()
    assert content.endswith(answers.PNG_END)  # packed anew
    assert np.array_equal(cv2.imread(str(answers_now / "L_trailed.png")), picture)


def test_second_run_replaces_its_own_answers_only(run, network, tmp_path):
    write_picture(tmp_path / "in" / "x.png", "L")
    run("in")
    (answer,) = (tmp_path / "in" / "predictions").iterdir()
    users = {
        "copy of answer.png": answer.read_bytes(),
        "l_x.png": b"the user's, and in the way where case is ignored",
        "notes.txt": b"user",
    }
    if Path(str(answer).lower()).exists():
        pytest.skip("this disk ignores case")
    for name, content in users.items():
        (tmp_path / "in" / "predictions" / name).write_bytes(content)
    # Read as l now: L_x.png is outdated, l_x.png is the user's.
    lower = relabel(network, tmp_path, model.CHARACTERS.swapcase())
    assert run("in", weights=lower)[0] == 0
    now = saved(tmp_path / "in")
    assert sorted(now) == sorted([*users, "l_x_2.png"])
    assert {name: now[name] for name in users} == users
    assert run("in", weights=lower)[0] == 0
    assert saved(tmp_path / "in") == now


def test_an_answer_that_changes_its_case_takes_the_earlier_one_s_place(run, network, tmp_path):
    write_picture(tmp_path / "in" / "x.png", "L")
    run("in")
    lower = relabel(network, tmp_path, model.CHARACTERS.swapcase())
    for _ in range(2):
        assert run("in", weights=lower)[0] == 0
        assert [*saved(tmp_path / "in")] == ["l_x.png"]


def test_what_the_user_puts_into_predictions_meanwhile_stays(tmp_path):
    def entry(name, character):
        path = write_picture(tmp_path / name, "L")
        readings = ((character, 0.9),)
        return SimpleNamespace(file=str(path), content=path.read_bytes(), readings=readings)

    assert answers.save_answers([entry("x.png", "A")], {}) == []
    earlier, folders = saved(tmp_path), {}
    assert answers.save_answers([entry("y.png", "L")], folders) == []  # has looked at the folder
    users = tmp_path / "predictions" / "B_x.png"
    users.write_bytes(b"the user's")
    ((path, _),) = answers.save_answers([entry("x.png", "B")], folders)
    assert path == users and users.read_bytes() == b"the user's"
    assert earlier.items() <= saved(tmp_path).items()


def test_two_runs_at_once_answer_the_same_pictures(tmp_path):
    content = encoded(glyph("L"))
    entries = [
        SimpleNamespace(file=str(tmp_path / name), content=content, readings=(("L", 0.9),))
        for name in ("x.png", "x.jpg", "y.png")
    ]
    earlier = [SimpleNamespace(file=entries[2].file, content=content, readings=(("A", 0.9),))]
    assert answers.save_answers(earlier, {}) == []
    runs = {}, {}  # each has looked at the folder before the other is through
    for entry in entries:
        for folders in runs:
            assert answers.save_answers([entry], folders) == []
    assert sorted(saved(tmp_path)) == ["L_x.png", "L_x_2.png", "L_y.png"]


def test_a_picture_of_which_no_png_can_be_made_has_no_answer(tmp_path):
    picture = np.zeros((1, 1_000_001, 3), np.uint8)
    with pytest.raises(OSError, match="no PNG file can be made of it"):  # a sheet's fate
        answers.png(picture)
    wide = answers.as_png(np.zeros(9, np.uint8), picture)
    assert wide == b""
    entry = SimpleNamespace(file=str(tmp_path / "x.bmp"), content=wide, readings=(("L", 0.9),))
    assert answers.save_answers([entry], {}) == [
        (tmp_path / "predictions" / "L_x.png", "not saved: no PNG file can be made of it")
    ]
    assert saved(tmp_path) == {}


@pytest.mark.skipif(not POSIX, reason="Windows asks before it makes links")
def test_a_link_to_an_answer_is_the_user_s(tmp_path):
    """It would be removed, or what it leads to written over."""
    entry = SimpleNamespace(
        file=str(tmp_path / "x.png"), content=encoded(glyph("L")), readings=(("L", 0.9),)
    )
    answers.save_answers([entry], {})
    kept = (tmp_path / "predictions" / "L_x.png").rename(tmp_path / "L_x.png")
    assert answers.source_of(kept) == "x.png"
    link = tmp_path / "predictions" / "L_x.png"
    link.symlink_to(kept)
    assert answers.source_of(link) is None


def test_a_drawing_gets_the_next_free_number(tmp_path):
    folder = tmp_path / "assets"
    assert answers.save_drawing(folder, glyph("L")).name == "drawing_1.png"
    users = folder / "drawing_2.png"
    users.write_bytes(b"the user's")
    assert answers.save_drawing(folder, glyph("7")).name == "drawing_3.png"
    assert users.read_bytes() == b"the user's"
    assert np.array_equal(cv2.imread(str(folder / "drawing_1.png")), glyph("L"))


@pytest.mark.skipif(not POSIX, reason="elsewhere names are text")
def test_a_name_that_is_no_text_keeps_its_bytes_in_the_csv():
    rows = answers.csv_table([(os.fsdecode(b"caf\xe9.png"), (("L", 0.9),), "")])
    assert rows.splitlines()[1].startswith(b"caf\xe9.png,L,0.9000")


@pytest.mark.skipif(not POSIX, reason="Windows has a limit on whole paths")
@pytest.mark.parametrize(
    "letter", ["x" * 249, "x" * 251, "\u5b57" * 83], ids=["249", "251", "83x3"]
)
def test_a_name_as_long_as_can_be_is_answered_again(run, tmp_path, letter):
    write_picture(tmp_path / "in" / (letter + ".png"), "L")
    for _ in range(2):
        code, _, err = run("in", "--csv", "y" * 251 + ".csv")
        assert (code, err) == (0, [])
    assert len(saved(tmp_path / "in")) == 1


def test_names_that_collide_are_numbered_and_stay(run, tmp_path):
    names = ["x.png", "x.jpg", "x.bmp"]
    if not (tmp_path / "in").mkdir() and POSIX and not (tmp_path / "IN").exists():
        names.append("X.png")  # a disk that tells case apart
    for name in names:
        write_picture(tmp_path / "in" / name, "L")
    for _ in range(2):
        assert run("in")[0] == 0
        now = saved(tmp_path / "in")
        assert len(now) == len({name.casefold() for name in now}) == len(names)
    sources = [answers.source_of(tmp_path / "in" / "predictions" / name) for name in now]
    assert sorted(sources) == sorted(names)


def test_accents_may_be_spelled_either_way(run, tmp_path):
    """A Mac takes both for one name; its older disks, and networks, change the spelling."""
    one, apart = "\u00e9.png", "e\u0301.png"
    for name in (one, apart):
        write_picture(tmp_path / "in" / name, "L")
    pictures = len([*(tmp_path / "in").iterdir()])  # 1 on a Mac
    assert run("in")[0] == 0
    now = {unicodedata.normalize("NFC", name) for name in saved(tmp_path / "in")}
    assert len(now) == pictures

    write_picture(tmp_path / "other" / one, "L")
    assert run("other", "--sheet", "other/" + one.replace(".", "s."))[0] == 0
    for path in [*tmp_path.glob("other/*s.png"), *tmp_path.glob("other/predictions/*")]:
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    code, out, _ = run("other")
    assert (code, out[-1]) == (0, "1 read, 0 unsure, 0 not read")
    assert len(saved(tmp_path / "other")) == 1


def test_an_answer_stays_where_the_new_one_cannot_be_written(run, tmp_path, monkeypatch):
    write_picture(tmp_path / "notes" / "x.png", "L")
    run("notes")
    (answer,) = (tmp_path / "notes" / "predictions").iterdir()
    before = answer.read_bytes()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(answers, "write_new", full)
    code, _, errors = run("notes")
    assert code == 1 and "No space left" in errors[-1]
    assert [*(tmp_path / "notes" / "predictions").iterdir()] == [answer]
    assert answer.read_bytes() == before


@pytest.mark.parametrize("write", [answers.write_new, answers.write_whole])
def test_ctrl_c_while_a_file_is_written_leaves_no_part_of_it(tmp_path, monkeypatch, write):
    class Interrupted(io.FileIO):
        def write(self, content):
            super().write(content[: len(content) // 2])
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "open", lambda path, mode: Interrupted(path, mode))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "sheet.png", encoded(glyph("L")))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="has no /dev/stdout")
def test_a_csv_on_redirected_standard_output_is_appended(weights, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    log = tmp_path / "log.txt"
    log.write_text("earlier\n")
    command = [sys.executable, ROOT / "demo.py", "x.png", "--no-window", "--csv", "/dev/stdout"]
    with log.open("a") as out:
        subprocess.run([*command, "--weights", weights], cwd=tmp_path, stdout=out, check=True)
    lines = log.read_text().splitlines()
    assert lines[0] == "earlier" and "1 read" in lines[-3]
    assert lines[-2].startswith("file,character") and lines[-1].startswith("x.png,")


@pytest.mark.skipif(not os.path.exists("/dev/stderr"), reason="has no /dev/stderr")
def test_a_csv_on_redirected_standard_error_is_appended(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("earlier\n")
    code = "import answers; answers.write_whole('/dev/stderr', b'table\\n')"
    with log.open("a") as err:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=err, check=True)
    assert log.read_text() == "earlier\ntable\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
def test_a_sheet_is_written_where_the_csv_cannot_be(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    code, _, err = run("x.png", "--csv", "/dev/full", "--sheet", "sheet.png")
    assert code == 1 and len(err) == 1 and err[0].startswith("/dev/full: not written: ")
    assert (tmp_path / "sheet.png").exists()


def test_a_sheet_among_the_pictures_is_none_of_them(run, tmp_path):
    write_picture(tmp_path / "in" / "x.png", "L")
    sheet = os.path.join("in", "sheet.PNG")
    for arguments in (
        ["in"],
        ["in"],
        [os.path.join("in", "x.png"), sheet],
    ):  # what `in/*` expands to
        code, out, err = run(*arguments, "--sheet", sheet)
        assert (code, err) == (0, []) and "1 read" in out[-1]
    assert "1 read" in run("in")[1][-1]
    copy = shutil.copy(
        tmp_path / sheet, tmp_path / "in" / "mine.png"
    )  # the user's, as answers' are
    assert "2 read" in run("in")[1][-1] and os.path.exists(copy)


def test_pictures_of_the_user_s_are_no_place_for_outputs(run, tmp_path):
    for name in ("a.PNG", "b.png"):
        write_picture(tmp_path / name, "L")
    before = (tmp_path / "a.PNG").read_bytes()
    for option in ("--sheet", "--csv"):
        code, _, err = run(option, "a.PNG", "b.png")  # what `--sheet *.PNG` expands to
        assert code == 2
        assert err == ["a.PNG: cannot be written: it is a picture, and no sheet of an earlier run"]
        assert (tmp_path / "a.PNG").read_bytes() == before


def test_a_folder_that_is_not_there_is_named(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    for option, name in (("--csv", "o.csv"), ("--sheet", "o.png")):
        code, out, err = run("x.png", option, f"missing/{name}")
        assert code == 2 and "read," not in "".join(out)
        assert err == [f"missing/{name}: cannot be written: there is no folder missing"]


def test_a_file_called_predictions_stays_and_is_told(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    (tmp_path / "predictions").write_text("the user's")
    code, out, err = run("x.png")
    assert code == 1 and out[-1].startswith("1 read")
    (line,) = err
    assert line.endswith("predictions: answers are not saved: a file of this name is in the way")
    assert (tmp_path / "predictions").read_text() == "the user's"


def test_an_answer_of_an_earlier_run_is_no_place_for_a_sheet(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    assert run("x.png")[0] == 0
    before = saved(tmp_path)
    code, _, err = run("x.png", "--sheet", os.path.join("predictions", "L_x.png"))
    assert code == 2 and err[0].endswith(": it is a picture, and no sheet of an earlier run")
    assert saved(tmp_path) == before


def test_a_folder_is_no_place_for_an_output(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    (tmp_path / "notes").mkdir()
    code, _, err = run("x.png", "--csv", "notes")
    assert (code, err) == (2, ["notes: cannot be written: a folder"])


def test_to_try_whether_an_output_can_be_written_changes_nothing(tmp_path):
    table = tmp_path / "out.csv"
    table.write_bytes(answers.csv_table([("x.png", (("L", 0.9),), "")]))
    before = table.read_bytes()
    for name in ("out.csv", "new.csv"):
        answers.check_output(str(tmp_path / name), loading.ENDINGS)
    assert [*tmp_path.iterdir()] == [table] and table.read_bytes() == before


def test_a_file_of_the_user_s_is_no_place_for_a_csv(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    labels = tmp_path / "labels.csv"
    corrected = ",".join(answers.COLUMNS) + ",right\nx.png,L,0.9,,,,l\n"
    for theirs in ("file,character\nx.png,L\n", "notes\n", "\nnotes\n", corrected):
        labels.write_text(theirs)
        code, _, err = run("x.png", "--csv", "labels.csv")
        assert code == 2 and labels.read_text() == theirs
        no_table = "it is there already, and no table of an earlier run"
        assert err == [f"labels.csv: cannot be written: {no_table}"]
    labels.write_text("")  # as mktemp makes it
    for _ in range(2):  # the second time over its own
        assert run("x.png", "--csv", "labels.csv")[0] == 0
        assert labels.read_text().startswith("file,character,confidence,")


def test_a_csv_on_standard_output_is_all_that_is_there(weights, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    (tmp_path / "bad.png").write_text("no picture")
    command = ["x.png", "bad.png", "--no-window", "--csv", "-", "--weights", weights]
    process = start(ROOT, *command, cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    (row,) = csv.DictReader(out.splitlines())
    assert (row["file"], row["character"]) == ("x.png", "L")
    weights_line, not_read, read, count = err.splitlines()
    assert "62 classes" in weights_line and "1 not read" in count
    assert LINE.match(read)[2] == "L" and not_read.startswith("bad.png: ")
    assert not (tmp_path / "-").exists()


def test_letters_that_standard_error_lacks_are_escaped_beside_a_csv_on_standard_output(
    capfd, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), "ascii"))
    with demo.prints_on_stderr():
        print("\u6f22.png")
    assert capfd.readouterr().err.splitlines() == [r"\u6f22.png"]


def test_a_tilde_is_the_user_s_home_where_the_shell_leaves_it(run, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    write_picture(tmp_path / "x.png")
    assert run("x.png", "--csv=~/x.csv", "--sheet=~/sheet.png")[0] == 0
    assert sorted(path.name for path in home.iterdir()) == ["sheet.png", "x.csv"]
    assert demo.parse(["--weights=~/best.weights.h5"]).weights == home / "best.weights.h5"


def test_csv_and_sheet_in_one_file_are_refused(run, tmp_path, capsys):
    write_picture(tmp_path / "x.png", "L")
    for sheet in (tmp_path / "both.png", "BOTH.png"):  # many disks take case for nothing
        with pytest.raises(SystemExit):
            run("x.png", "--csv", "both.png", "--sheet", sheet)
        assert "one file cannot be both" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="has no such permissions")
def test_a_csv_written_again_keeps_its_permissions_and_the_link_to_it(run, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    (tmp_path / "out.csv").touch(0o600)
    (tmp_path / "link.csv").symlink_to("out.csv")
    assert run("x.png", "--csv", "link.csv")[0] == 0
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "link.csv").is_symlink()
    assert "x.png,L" in (tmp_path / "out.csv").read_text()


def test_own_answers_are_not_read_again(run, tmp_path, monkeypatch):
    write_picture(tmp_path / "in" / "x.png", "L")
    run("in")
    code, out, err = run("in", os.path.join("in", "predictions"))  # what `in/*` may expand to
    assert (code, len(out), err) == (0, 3, [])
    answers_alone = os.path.join("in", "predictions")
    code, _, err = run(answers_alone)
    assert code == 1 and err == [f"{answers_alone}: only answers of an earlier run"]
    monkeypatch.chdir(answers_alone)
    assert run(".")[2] == [".: only answers of an earlier run"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / answers_alone).rename(tmp_path / "Predictions")  # a Mac's or Windows' disk's words
    assert run("Predictions")[2] == ["Predictions: only answers of an earlier run"]
    write_picture(tmp_path / "predictions" / "mine.png", "L")  # a user's folder of that name
    assert "1 read" in run("predictions")[1][-1]


@pytest.mark.parametrize(
    ("character", "safe"),
    [("../a b/:", "%2E.%2Fa%20b%2F%3A"), (".", "%2E"), ("+-", "+-")],  # a hidden file is overlooked
)
def test_characters_unsafe_in_names_are_escaped(run, network, tmp_path, character, safe):
    characters = list(model.CHARACTERS)
    characters[model.CHARACTERS.index("L")] = character
    write_picture(tmp_path / "x.png", "L")
    code, out, _ = run("x.png", weights=relabel(network, tmp_path, characters))
    assert code == 0 and len(out) == 3
    (name,) = saved(tmp_path)
    assert name == f"{safe}_x.png"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names may have any letter")
def test_characters_that_names_lack_are_escaped(tmp_path):
    place = "import answers; print(answers.Answers('.').place('x.png', '\\u4e03')[0])"
    environment = {
        **os.environ,
        **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)},
    }
    done = subprocess.run(
        [sys.executable, "-c", place], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("predictions/\\u4e03_x.png\n", "")


def test_unwritable_predictions_still_prints_and_fails_once(run, tmp_path):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name, "L")
    (tmp_path / "in" / "predictions").write_text("in the way; for root as well")
    code, out, err = run("in")
    assert code == 1 and len(out) == 4 and len(err) == 1 and "predictions" in err[0]


@pytest.mark.skipif(not POSIX, reason="a file-size limit needs POSIX")
def test_full_disk_still_prints_and_leaves_no_half_files(run, tmp_path):
    import resource  # POSIX only

    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "in" / name, "L")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, limits[1]))  # Python ignores its signal
    try:
        code, out, err = run("in")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1 and len(out) == 4 and len(err) == 2
    assert all("not saved" in line for line in err)
    assert saved(tmp_path / "in") == {}


# -------------------------------------------------------------------------------------- weights
@pytest.mark.parametrize("name", model.MODELS)
def test_weights_of_any_model_and_class_list(name, tmp_path):
    network = model.MODELS[name](n_classes=5)
    characters = ["zero", "漢", "", "b", "c"]
    changes = {"characters": characters, "temperature": 2.0, "logit_adjustment": [1, 0, 0, -2.5, 0]}
    path = write_weights(network, tmp_path / "a.weights.h5", model=name, **changes)
    loaded = demo.get_model(path)
    rows = demo.predict(loaded, [glyph("7"), glyph("L", size=60, thickness=3)])
    assert rows.shape == (2, 5) and rows.dtype == np.float32 and loaded.characters[1] == "漢"
    assert np.allclose(rows.sum(axis=1), 1, atol=1e-5) and (rows[:, 2] == 0).all()
    images = np.array([demo.to_emnist(glyph("7"))])[..., None]
    tempered = np.sqrt(network.predict_on_batch(images)[0]) * np.exp([1, 0, 0, -2.5, 0])
    tempered[2] = 0
    assert np.allclose(rows[0], tempered / tempered.sum(), atol=1e-4)


def test_predict_of_none_one_and_more_than_a_batch(weights, monkeypatch):
    loaded = demo.get_model(str(weights))
    assert demo.predict(loaded, []).shape == (0, 62)
    monkeypatch.setattr(demo, "BATCH", 4)
    pictures = [glyph("L7O"[n % 3]) for n in range(10)]
    rows = demo.predict(loaded, pictures)
    alone = np.concatenate([demo.predict(loaded, [picture]) for picture in pictures])
    assert rows.shape == (10, 62) and np.allclose(rows, alone, atol=1e-5)
    assert "".join(model.CHARACTERS[best] for best in rows.argmax(axis=1)) == "L7OL7OL7OL"
    with pytest.raises(demo.PictureError):
        demo.predict(loaded, [np.full((9, 9, 3), 255, np.uint8)])


def test_predict_refuses_a_picture_that_is_in_no_list(weights):
    loaded = demo.get_model(str(weights))
    for alone in (glyph("7"), glyph("7")[..., 0], cv2.cvtColor(glyph("7"), cv2.COLOR_BGR2BGRA)):
        with pytest.raises(TypeError, match="list of pictures"):
            demo.predict(loaded, alone)
    assert demo.predict(loaded, np.stack([glyph("7"), glyph("L")])).shape == (2, 62)
    for no_picture in ("scan.jpg", None):  # what cv2.imread returns of a file that is not there
        with pytest.raises(TypeError, match="read a file with read_picture"):
            demo.predict(loaded, [no_picture])


def test_newest_training_is_the_default_then_the_shipped(tmp_path, monkeypatch):
    monkeypatch.setattr("weights.CHECKPOINTS", tmp_path)
    with pytest.raises(demo.WeightsError, match="python mytrain.py"):
        demo.get_model()
    for age, name in enumerate(("ResNet/best", "LeNet/best", "shipped/ResNet", "shipped/best")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sidecar = tmp_path / f"{name}.json"
        sidecar.write_text("{}")
        os.utime(sidecar, (10**9 - age, 10**9 - age + 100 * ("shipped" in name)))
    (tmp_path / "shipped" / "._ResNet.json").write_bytes(b"\0\5\x16\7")  # a Mac's note, the newest
    assert demo.find_weights() == tmp_path / "ResNet" / "best.weights.h5"
    os.utime(tmp_path / "LeNet" / "best.json", (2 * 10**9, 2 * 10**9))
    assert demo.find_weights() == tmp_path / "LeNet" / "best.weights.h5"
    for name in ("ResNet", "LeNet"):
        shutil.rmtree(tmp_path / name)
    assert demo.find_weights() == tmp_path / "shipped" / "ResNet.weights.h5"


def test_a_description_may_leave_out_what_is_not_needed(run, weights, tmp_path):
    path = Path(shutil.copy(weights, tmp_path / "best.weights.h5"))
    optional = ("dataset", "epoch", "val_accuracy", "temperature", "sha256")
    write_sidecar(path, **dict.fromkeys(optional, ...))
    write_picture(tmp_path / "x.png", "L")
    code, out, err = run("x.png", weights=path)
    assert (code, err) == (0, []) and out[0] == "LeNet, 62 classes (best.weights.h5)"


def test_a_long_name_of_the_data_is_cut_in_the_first_line():
    about = {"model": "LeNet", "dataset": "x" * 100, "characters": ["a", "b"]}
    told = f"LeNet trained on {'x' * 60}, 2 classes (a.weights.h5)"
    assert weights_file.describe(Path("a.weights.h5"), about) == told


def test_a_gpu_is_left_to_a_training_unless_the_user_names_one(run, tmp_path, monkeypatch):
    write_picture(tmp_path / "x.png", "L")
    names = "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"
    for theirs in ((None, None), ("0", "cuda")):
        for name, value in zip(names, theirs):
            monkeypatch.delenv(name, raising=False)
            if value:
                monkeypatch.setenv(name, value)
        assert run("x.png")[0] == 0
        chosen = tuple(os.environ[name] for name in names)
        assert chosen == (theirs if theirs[0] else ("-1", "cpu"))


def test_garbage_is_collected_again_once_the_network_is_there(weights):
    weights_file.start_network(weights, demo.read_sidecar(weights))
    assert gc.isenabled()


def test_a_backend_is_chosen_in_the_user_s_home_too(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    for variable in ("KERAS_HOME", "KERAS_BACKEND"):
        monkeypatch.delenv(variable, raising=False)
    file = tmp_path / ".keras" / "keras.json"
    file.parent.mkdir()
    file.write_text('{"backend": "jaxx"}')
    assert weights_file.chosen_backend() == f'"backend": "jaxx" in {file}'


def refusal(run, path):
    """The one line with which weights are refused."""
    code, out, err = run("x.png", weights=path)
    assert code == 2 and len(err) == 1, err
    return err[0]


def test_weights_that_may_not_be_looked_at_are_named(tmp_path, monkeypatch):
    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "ResNet").mkdir()
    (tmp_path / "ResNet" / "best.json").write_text("{}")
    monkeypatch.setattr(weights_file, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(Path, "is_file", forbidden)
    with pytest.raises(demo.WeightsError, match=r"best\.json: Permission denied$"):
        demo.get_model()


def test_bad_weights_files_are_refused_in_one_line(run, weights, tmp_path):
    content = weights.read_bytes()
    path = tmp_path / "best.weights.h5"
    assert "missing" in refusal(run, path)
    path.write_bytes(content)
    assert "best.json: missing" in refusal(run, path)
    for bad in (b"", content[: len(content) // 2], pickle.dumps({"a": 1}), b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(bad)
        refusal(run, write_sidecar(path))
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    path.write_bytes(content)
    write_sidecar(path)
    path.write_bytes(flipped)
    assert "damaged" in refusal(run, path)
    for name in ("a.keras", "a.h5", "a.pkl", "saved_model"):
        (tmp_path / name).write_bytes(content)
        assert "only '.weights.h5'" in refusal(run, tmp_path / name)
    write_sidecar(path)
    os.truncate(path, weights_file.MAX_WEIGHTS_BYTES + 1)  # sparse
    assert "bytes cannot be right" in refusal(run, path)
    path.unlink()
    path.mkdir()
    assert "not a file" in refusal(run, path)
    if POSIX:
        os.mkfifo(tmp_path / "fifo.weights.h5")
        assert "not a file" in refusal(run, tmp_path / "fifo.weights.h5")


def test_bad_sidecars_are_refused_in_one_line(run, weights, tmp_path):
    path = tmp_path / "best.weights.h5"
    shutil.copy(weights, path)
    for changes in (
        {"model": ...},
        {"model": ["LeNet"]},
        {"model": "os.system\n"},
        {"characters": ...},
        {"characters": "0123"},
        {"characters": []},
        {"characters": [""] * 62},
        {"characters": ["a"] * 5000},
        {"characters": ["a" * 1000] * 62},
        {"characters": ["\n"] * 62},
        {"characters": list("0123456789")},  # not this network's number of outputs
        {"input_shape": [32, 32, 1]},
        {"input_shape": "28"},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"temperature": 10**400},
        {"logit_adjustment": 1},
        {"logit_adjustment": [0.0] * 61},
        {"logit_adjustment": [float("inf")] * 62},
        {"val_accuracy": "high"},
        {"val_accuracy": 87.65},
        {"val_images": 0},
        {"val_images": "many"},
        {"dataset": 5},
        {"sha256": 5},
        {"sha256": "0" * 64},
    ):
        refusal(run, write_sidecar(path, **changes))
    told = "made for pictures of [32, 32, 1], not 28x28x1"
    assert refusal(run, write_sidecar(path, input_shape=[32, 32, 1])).endswith(f": {told}")
    told = f"of a network 'VGG', which is none of {', '.join(model.MODELS)}"
    assert refusal(run, write_sidecar(path, model="VGG")).endswith(f": {told}")
    for text in ("", "[]", "{", "[" * 100_000, "\xff", '{"model": ' + "9" * 2_000_000 + "}"):
        path.with_name("best.json").write_text(text, "latin-1")
        refusal(run, path)
    write_sidecar(path)
    with path.with_name("best.json").open("a") as file:
        file.write(" " * weights_file.MAX_SIDECAR_BYTES)
    assert "bytes cannot be right" in refusal(run, path)
    write_sidecar(path, characters=[str(n) for n in range(62)])
    assert "upper" in run("x.png", "--charset", "upper", weights=path)[2][0]


def test_hostile_weights_files_are_refused_before_they_are_read(run, network, tmp_path):
    bias = "layers/dense_1/vars/1"
    users = tmp_path / "secret.bin"
    users.write_bytes(bytes(62 * 4))

    def external_link(file):
        del file[bias]
        file[bias] = h5py.ExternalLink("other.h5", "/x")

    def external_storage(file):
        del file[bias]
        file.create_dataset(bias, (62,), "f4", external=[(str(users), 0, 248)])

    def virtual(file):
        del file[bias]
        layout = h5py.VirtualLayout((62,), "f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", (62,))
        file.create_virtual_dataset(bias, layout)

    def huge(file):
        del file[bias]
        file.create_dataset(bias, (2**40,), "f4", chunks=(2**20,))

    def compressed(file):
        values = file[bias][:]
        del file[bias]
        file.create_dataset(bias, data=values, chunks=(62,), compression="gzip")

    def strings(file):
        del file[bias]
        file.create_dataset(bias, data=["x"] * 62)

    def cycle(file):
        file["layers/again"] = file["layers"]

    def doubled(file):
        inner = file["layers"]
        for n in range(14):  # each twice in the next: 2**14 times the layers
            outer = file.create_group(f"outer{n}")
            outer["a"] = outer["b"] = inner
            inner = outer

    def renamed(file):
        file.move("layers/dense_1", "layers/other")

    def not_finite(file):
        file[bias][3] = np.nan

    def extra_link_elsewhere(file):
        file["link"] = h5py.SoftLink("/layers")

    for harm, reason in {
        external_link: "links elsewhere",
        external_storage: "more than plain arrays",
        virtual: "more than plain arrays",
        huge: "more than plain arrays",
        compressed: "more than plain arrays",
        strings: "more than numbers",
        cycle: "a damaged HDF5 file",
        doubled: "too many parts",
        renamed: "not the weights of",
        not_finite: "not finite",
        extra_link_elsewhere: "links elsewhere",
    }.items():
        path = tmp_path / f"{harm.__name__}.weights.h5"
        network.save_weights(path)
        with h5py.File(path, "r+") as file:
            harm(file)
        line = refusal(run, write_sidecar(path))
        assert path.name in line and reason in line


def test_whole_models_are_refused_whatever_their_name(run, network, tmp_path):
    for ending in (".keras", ".h5"):
        network.save(tmp_path / f"whole{ending}")
        path = (tmp_path / f"whole{ending}").replace(tmp_path / "best.weights.h5")
        refusal(run, write_sidecar(path))
    other = model.ResNet_inference(n_classes=62)
    assert "not the weights of a LeNet" in refusal(
        run, write_weights(other, tmp_path / "best.weights.h5")
    )


def test_weights_saved_with_an_optimizer_load_as_well(network, tmp_path):
    path = write_weights(network, tmp_path / "best.weights.h5")  # compiled and trained
    with h5py.File(path) as file:
        assert len(file["optimizer/vars"])
    assert demo.predict(demo.get_model(path), [glyph("L")])[0].argmax() == 21  # CHARACTERS[21]: L


@pytest.fixture
def overflowing(network, tmp_path):
    """Weights that are finite, but not what comes of them."""
    path = tmp_path / "best.weights.h5"
    network.save_weights(path)
    with h5py.File(path, "r+") as file:
        file["layers/dense_1/vars/0"][:] = 3e38
    return write_sidecar(path)


def test_answers_that_are_not_finite_are_refused(run, overflowing, tmp_path):
    write_picture(tmp_path / "x.png")
    assert "not finite" in refusal(run, overflowing)


# ---------------------------------------------------------------------- options, exits, processes
def test_bad_usage_exits_with_2(capsys):
    for arguments in (
        ["--charset", "greek"],
        ["--draw", "x.png"],
        ["--draw", "--csv", "x.csv"],
        ["--draw", "--sheet", "x.png"],
        ["--draw", "--no-window"],
        ["--sheet", "x.jpg"],
        ["--csv", ""],
        ["--sheet", ""],
        ["--unknown"],
    ):
        with pytest.raises(SystemExit) as stopped:
            demo.main(arguments)
        assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_backend_that_is_not_there_is_one_line(clone):
    process = start(clone, "--no-window", environment={"KERAS_BACKEND": "jaxx"})
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.count("\n") == 1
    assert err.startswith("KERAS_BACKEND=jaxx: ")


@pytest.mark.parametrize(
    ("command", "code"),
    [(["demo.py", "--no-window"], 2), (["mytrain.py"], 1)],
    ids=["demo", "train"],
)
def test_windows_without_the_c_runtime_is_one_line(tmp_path, command, code):
    """As TensorFlow 2.21 tells it where vcruntime140_threads.dll is missing."""
    told = "DLL load failed while importing _pywrap_tensorflow_internal: Module not found."
    (tmp_path / "keras.py").write_text(f"raise RuntimeError({told!r})")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code
    assert done.stderr.count("\n") == 1 and "Visual C++ Redistributable" in done.stderr


def test_a_backend_of_keras_json_that_is_not_there_is_one_line(clone, tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jaxx"}')
    environment = {"KERAS_HOME": str(tmp_path)}
    process = start(clone, "--no-window", environment=environment)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.count("\n") == 1
    assert err.startswith(f'"backend": "jaxx" in {tmp_path / "keras.json"}: ')


def test_help_fits_80_columns_and_starts_without_keras():
    command = (
        "import sys, demo\n"
        "try: demo.main(['--help'])\n"
        "finally: assert not {'keras', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80 and "python demo.py --draw" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there always is a display")
def test_fresh_clone_without_a_display(clone, tmp_path):
    process = start(clone, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    lines = out.splitlines()
    assert (process.returncode, err) == (0, ""), err  # none of TensorFlow's remarks
    assert "checkpoints/shipped/best.weights.h5" in lines[0].replace(os.sep, "/")
    assert [LINE.match(line)[2] for line in lines[1:4]] == ["L", "7", "O"]
    assert len([line for line in lines if "no display" in line]) == 1
    names = sorted(path.name for path in (clone / "assets" / "predictions").iterdir())
    assert names == ["7_2.png", "L_1.png", "O_10.png"]


def test_another_program_hears_nothing_of_the_libraries(clone):
    code = """if True:
        from demo import get_model, predict, read_picture
        print(predict(get_model(), [read_picture("assets/1.png")]).shape)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=clone,
        env=bare_environment(),
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("(1, 62)\n", "")


def test_closed_pipe_ends_without_a_traceback(clone):
    process = start(clone, "--no-window")
    process.stdout.readline()
    process.stdout.close()  # demo.py | head -1
    err = process.stderr.read()
    assert process.wait(120) == 1 and err == ""


@pytest.mark.skipif(not POSIX, reason="a console is needed to send Ctrl-C on Windows")
def test_ctrl_c_ends_without_a_traceback(clone):
    process = start(clone, "--no-window")
    process.stdout.readline()  # the first line stands there before TensorFlow starts
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err == "stopped\n"


@pytest.mark.skipif(not POSIX, reason="a console is needed to send Ctrl-C on Windows")
@pytest.mark.parametrize("module", ["argparse", "cv2"])
def test_ctrl_c_during_the_imports_is_silent(clone, module):
    # Where it is imported, by a module of that name that comes before the real one.
    (clone / f"{module}.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    process = start(clone, "--no-window")
    assert process.communicate(timeout=60) == ("", "") and process.returncode == -signal.SIGINT


@pytest.mark.skipif(not POSIX, reason="a console is needed to send Ctrl-C on Windows")
@pytest.mark.parametrize(
    "moment, code, err",
    [
        ("argparse.ArgumentParser.parse_intermixed_args = ctrl_c", 130, "stopped\n"),
        ("atexit.register(ctrl_c)", -signal.SIGINT, "none.h5: only"),  # while Python ends
    ],
)
def test_ctrl_c_before_and_after_the_work(moment, code, err):
    program = f"""if True:
        import argparse, atexit, os, runpy, signal
        ctrl_c = lambda *_: os.kill(os.getpid(), signal.SIGINT)
        {moment}
        runpy.run_path("demo.py", run_name="__main__")
    """
    line = [sys.executable, "-c", program, "--weights", "none.h5"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == code and done.stderr.startswith(err)
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not POSIX, reason="a console is needed to send Ctrl-C on Windows")
def test_workers_that_still_import_say_nothing_of_ctrl_c(clone):
    for copy in range(2 * loading.MANY):
        shutil.copy(clone / "assets" / "1.png", clone / "assets" / f"copy{copy}.png")
    everything = {"TF_CPP_MIN_LOG_LEVEL": "2"}  # nothing is kept from the console
    process = start(clone, "--no-window", environment=everything, start_new_session=True)
    process.stdout.readline()
    time.sleep(0.4)
    os.killpg(process.pid, signal.SIGINT)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and err.endswith("stopped\n") and "Traceback" not in err


@pytest.mark.skipif(not POSIX, reason="a console is needed to send Ctrl-C on Windows")
@pytest.mark.parametrize(
    "name, after, code, err",
    [
        ("SIGINT", 0.1, 130, "stopped\n"),
        ("SIGINT", 0.4, 130, "stopped\n"),
        ("SIGINT", 1.0, 130, "stopped\n"),
        ("SIGKILL", 1.0, -9, ""),
    ],
)
def test_its_workers_end_with_it(clone, name, after, code, err):
    for copy in range(2 * loading.MANY):
        shutil.copy(clone / "assets" / "1.png", clone / "assets" / f"copy{copy}.png")
    process = start(clone, "--no-window", start_new_session=True)
    process.stdout.readline()  # the first line stands there before TensorFlow starts
    time.sleep(after)
    if name == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it: to all of the command
    else:
        process.kill()
    assert process.communicate(timeout=60)[1] == err and process.returncode == code
    deadline = time.monotonic() + 20
    while runs(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(process.pid)


def runs(group):
    """Whether a process of a group is still there; a dead one that nobody asked for is not."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                return True
    return False


# -------------------------------------------------------------------------------------- windows
def test_windows_show_one_picture_after_the_other(clone, open_window):
    window = open_window([sys.executable, clone / "demo.py"], bare_environment())
    assert window.title() == "monitor (1/3)"
    assert window.geometry()[:2] == (960, 540)
    for key, shown in (("space", "2/3"), ("BackSpace", "1/3"), ("space", "2/3"), ("x", "3/3")):
        window.xdotool("key", key)
        window.wait_until(lambda shown=shown: window.title() == f"monitor ({shown})")
    window.xdotool("key", "s")
    panels = clone / "assets" / "predictions"
    window.wait_until(lambda: list(panels.glob("panel_10*")))
    window.xdotool("key", "q")
    code, _, err = window.end()
    assert (code, err) == (0, "")


def test_drawing_pad_reads_and_saves(clone, open_window):
    (clone / "assets" / "drawing_1.png").write_bytes(b"in use")
    window = open_window([sys.executable, clone / "demo.py", "--draw"], bare_environment())
    x, y = 960 + 100, 540 + 100
    window.xdotool("mousemove", x, y, "mousedown", 1, "mousemove", x, y + 200)
    window.xdotool("mousemove", x + 120, y + 200, "mouseup", 1)
    time.sleep(0.5)
    window.xdotool("key", "s")
    drawing = clone / "assets" / "drawing_2.png"
    window.wait_until(lambda: drawing.exists() and drawing.stat().st_size)
    window.xdotool("key", "Escape")
    code, _, err = window.end()
    assert (code, err) == (0, "")
    assert (cv2.imread(str(drawing)) < 255).any()
    assert (clone / "assets" / "drawing_1.png").read_bytes() == b"in use"


def drawn(*corners):
    """Points 5 px apart along the lines between corners, in px of the pad."""
    points = [corners[0]]
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        steps = max(1, round(np.hypot(next_x - x, next_y - y) / 5))
        points += [
            (round(x + (next_x - x) * k / steps), round(y + (next_y - y) * k / steps))
            for k in range(1, steps + 1)
        ]
    return points


def test_a_drawn_l_7_and_o_are_read_as_they_are_drawn(open_window):
    """The shipped weights behind the real pad; its title says what it reads."""
    circle = [(212 - 90 * np.sin(t), 180 - 120 * np.cos(t)) for t in np.linspace(0, 6.4, 25)]
    drawings = {
        "L": [(150, 60), (150, 280), (270, 280)],
        "7": [(140, 70), (280, 70), (200, 300)],
        "Oo0": circle,  # nobody can tell
    }
    environment = bare_environment() | {"CUDA_VISIBLE_DEVICES": "-1"}
    shipped = ROOT / "checkpoints" / "shipped" / "ResNet.weights.h5"  # whatever a user has trained
    command = [sys.executable, ROOT / "demo.py", "--draw", "--weights", shipped]
    window = open_window(command, environment)
    left, top = 960 + panel.picture_box()[0], 540 + panel.picture_box()[1]
    for character, corners in drawings.items():
        words = []
        for place, (x, y) in enumerate(drawn(*corners)):
            words += ["mousemove", left + round(x), top + round(y), "sleep", 0.01]
            words += ["mousedown", 1] if place == 0 else []
        window.xdotool(*words, "mouseup", 1)
        wanted = [f"monitor: {c}" for c in character]
        window.wait_until(lambda wanted=wanted: window.title() in wanted)
        window.xdotool("key", "c")
        window.wait_until(lambda: window.title() == "monitor: draw")
    window.xdotool("key", "Escape")
    code, _, err = window.end()
    assert (code, err) == (0, "")


def test_answers_that_are_not_finite_end_the_pad_with_a_line(overflowing, open_window):
    command = [sys.executable, ROOT / "demo.py", "--draw", "--weights", overflowing]
    window = open_window(command, bare_environment())
    stroke = "mousemove", 1060, 640, "mousedown", 1, "mousemove", 1060, 840, "mouseup", 1
    end = time.monotonic() + 30
    while window.process.poll() is None and time.monotonic() < end:  # until the pad sees it
        window.xdotool(*stroke)
        time.sleep(0.2)
    code, _, err = window.end()
    assert code == 2 and "not finite" in err and "Traceback" not in err


def test_a_window_tells_the_notes_and_the_doubt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_picture(tmp_path / "x.png", "L")
    readings = (("L", 0.4), ("7", 0.3), ("O", 0.3))
    entry = loading.Entry("x.png", notes=("several characters?",), readings=readings)
    shown = []
    monkeypatch.setattr(panel, "has_display", lambda: True)
    monkeypatch.setattr(panel, "show", lambda panel_at, count, _: shown.append(panel_at(0)))
    demo.show([entry])
    image, title = demo.to_emnist(glyph("L")), "x.png   several characters?"
    expected = panel.draw_panel(glyph("L"), image, readings, title, unsure=True)
    np.testing.assert_array_equal(shown, [expected])


@pytest.mark.skipif(not POSIX, reason="Windows has a limit on whole paths")
def test_the_panel_of_a_name_as_long_as_can_be_is_saved(tmp_path, monkeypatch):
    entry = loading.Entry(str(tmp_path / ("x" * 251 + ".png")), readings=(("L", 0.9),))
    paths = []
    monkeypatch.setattr(panel, "has_display", lambda: True)
    monkeypatch.setattr(panel, "show", lambda _, count, save_path: paths.append(save_path(0)))
    demo.show([entry])
    for _ in range(2):
        assert panel.save_png(paths[0], glyph("L")).startswith("saved as ")


@pytest.fixture
def reads(weights, monkeypatch):
    """Starts the pad without its window: what it is given to read a drawing with."""

    def started(*arguments):
        given = []
        monkeypatch.setattr(demo.panel, "has_display", lambda: True)
        monkeypatch.setattr(demo, "drawing_pad", lambda read, save: given.append(read))
        assert demo.main(["--draw", "--weights", str(weights), *arguments]) == 0
        return given[0]

    return started


def test_the_pad_keeps_to_the_charset_and_tells_its_doubt(reads, monkeypatch):
    read = reads("--charset", "digits")
    image, readings, unsure = read(glyph("7"))
    assert {character for character, _ in readings} <= demo.CHARSETS["digits"]
    assert readings[0][0] == "7" and not unsure
    np.testing.assert_array_equal(image, demo.to_emnist(glyph("7")))
    monkeypatch.setattr(demo, "UNSURE_BELOW", 1.1)
    assert read(glyph("7"))[2]


def test_a_drawing_in_which_no_ink_is_found_is_not_read(reads):
    """As what an eraser left."""
    assert reads()(np.full((364, 424, 3), 254, np.uint8)) == (None, (), False)


def test_there_is_no_window_for_what_could_not_be_read(weights, tmp_path, monkeypatch):
    path, counts = write_picture(tmp_path / "x.png", "L"), []
    monkeypatch.setattr(panel, "has_display", lambda: True)
    monkeypatch.setattr(panel, "show", lambda panel_at, count, save_path: counts.append(count))
    assert demo.main(["none.png", str(path), "--weights", str(weights)]) == 1
    assert counts == [1]


def test_where_nothing_was_read_no_windows_are_missed(weights, monkeypatch, capsys):
    monkeypatch.setattr(panel, "has_display", lambda: False)
    assert demo.main(["none.png", "--weights", str(weights)]) == 1
    assert capsys.readouterr().out.splitlines()[1:] == ["0 read, 0 unsure, 1 not read"]


def test_no_display_for_the_pad_is_said(monkeypatch, weights, capsys):
    monkeypatch.setattr(demo.panel, "has_display", lambda: False)
    assert demo.main(["--draw", "--weights", str(weights)]) == 1
    assert "no display" in capsys.readouterr().err


def test_a_saved_panel_is_no_picture_of_the_next_run(run, tmp_path):
    """As a shell gives them for `notes/predictions/*`."""
    write_picture(tmp_path / "in" / "1.png", "L")
    assert run("in")[0] == 0
    folder = tmp_path / "in" / "predictions"
    for _ in range(2):
        assert "saved" in demo.panel.save_png(folder / "panel_1.png", np.zeros((9, 9, 3), np.uint8))
    assert {path.name for path in folder.iterdir()} > {"panel_1.png", "panel_1-2.png"}
    code, lines, _ = run("in", "in/predictions")
    assert code == 0 and lines[-1].startswith("1 read")
    assert {path.name for path in folder.iterdir()} > {"panel_1.png", "panel_1-2.png"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is always full")
def test_a_full_standard_output_is_one_line(weights, tmp_path):
    write_picture(tmp_path / "1.png", "L")
    command = [sys.executable, ROOT / "demo.py", "--no-window", "--weights", weights, tmp_path]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (1, "standard output: No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no /dev/full")
def test_a_full_standard_error_ends_nothing(weights, tmp_path):
    write_picture(tmp_path / "x.png", "L")
    command = [sys.executable, ROOT / "demo.py", "none.png", "x.png", "--no-window"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, "--weights", weights], cwd=tmp_path, stdout=subprocess.PIPE, stderr=full
        )
    assert done.returncode == 1 and b"1 read, 0 unsure, 1 not read" in done.stdout


def test_pictures_are_read_where_no_file_can_be_written_at_all(weights, tmp_path):
    """Not even a temporary one, which TensorFlow's import asks for."""
    limited = pytest.importorskip("resource", reason="limits are a Unix thing")
    write_picture(tmp_path / "1.png", "L")
    done = subprocess.run(
        [sys.executable, ROOT / "demo.py", "--no-window", "--weights", weights, tmp_path],
        capture_output=True,
        text=True,
        preexec_fn=lambda: limited.setrlimit(limited.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 1 and "1 read" in done.stdout
    assert "not saved: File too large" in done.stderr and "Traceback" not in done.stderr
