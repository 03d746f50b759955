"""panel.py: the panel and the sheet as functions; the windows under Xvfb with xdotool.

    pytest tests/test_panel.py

The window tests run a small program on a virtual screen, press keys as a person would, and look at
what came out.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import panel

ROOT = Path(__file__).resolve().parent.parent
READINGS = [("g", 0.75), ("9", 0.2), ("q", 0.05)]
IMAGE = np.zeros((28, 28, 1), np.float32)
IMAGE[4:24, 12:16] = 1.0


def picture(width=60, height=40, colour=(10, 120, 230)):
    return np.full((height, width, 3), colour, np.uint8)


# ------------------------------------------------------------------------------------ pure parts
@pytest.mark.parametrize(
    "width, height", [(1, 1), (28, 28), (6000, 6000), (6000, 1), (1, 6000), (424, 364)]
)
def test_a_panel_takes_pictures_of_any_size(width, height):
    drawn = panel.draw_panel(picture(width, height), IMAGE, READINGS, "x.png")
    assert drawn.shape == (440, 880, 3) and drawn.dtype == np.uint8
    x, y, w, h = panel.picture_box()
    middle = drawn[y + h // 2 - 1 : y + h // 2 + 1, x + w // 2 - 1 : x + w // 2 + 1]
    assert (middle == (10, 120, 230)).all(axis=2).any()


def test_the_picture_keeps_its_aspect_ratio():
    drawn = panel.draw_panel(picture(200, 100, (0, 0, 250)), None, [])
    ys, xs = np.where((drawn == (0, 0, 250)).all(axis=2))
    wide, high = np.ptp(xs) + 1, np.ptp(ys) + 1
    assert wide == panel.picture_box()[2] and abs(wide / high - 2) < 0.02


def test_a_large_picture_is_made_smaller_without_losing_its_thin_lines():
    lines = picture(424 * 8, 364 * 8, (0, 0, 0))
    lines[:, ::8] = 240
    x, y, w, h = panel.picture_box()
    shown = panel.draw_panel(lines, None, [])[y : y + h, x : x + w]
    assert (shown == 30).all()


def test_the_networks_image_is_enlarged_pixel_by_pixel():
    noise = np.random.default_rng(0).random((28, 28)).astype(np.float32)
    drawn = panel.draw_panel(picture(), noise, READINGS)
    x, y, w, _ = panel.picture_box()
    shown = drawn[y : y + 168, x + w + 32 : x + w + 32 + 168, 0]
    expected = panel.grey_to_bgr(noise)[:, :, 0].repeat(6, axis=0).repeat(6, axis=1)
    np.testing.assert_array_equal(shown, expected)


def test_bars_are_as_long_as_the_probabilities():
    readings = [("A", 0.5), ("B", 0.25), ("C", 0.1)]
    bars = panel.draw_panel(picture(), None, readings)
    start = sum(panel.picture_box()[::2]) + 32 + 48
    for place, colour, share in ((0, panel.SURE, 0.5), (1, panel.MUTED, 0.25)):
        row = bars[52 + 222 + 50 * place + 13, start : start + 250]
        assert abs((row == colour).all(axis=1).sum() - 250 * share) <= 1


def test_the_three_best_have_bars():
    drawn = panel.draw_panel(picture(), IMAGE, READINGS)
    more = panel.draw_panel(picture(), IMAGE, [*READINGS, ("p", 0.0)])
    np.testing.assert_array_equal(more, drawn)
    assert (more != panel.draw_panel(picture(), IMAGE, READINGS[:2])).any()


def test_a_long_name_of_a_class_is_shortened_to_its_room():
    drawn = panel.draw_panel(picture(), IMAGE, [("n" * 40, 0.75)])
    left, top = sum(panel.picture_box()[::2]) + 32, 52
    assert (drawn[top : top + 150, left + 170 : left + 194] == panel.BACKGROUND).all()
    bar = drawn[top + 222 + 13, left + 44 : left + 48]
    assert (bar == panel.BACKGROUND).all()


def test_unsure_is_marked():
    sure = panel.draw_panel(picture(), IMAGE, READINGS)
    unsure = panel.draw_panel(picture(), IMAGE, READINGS, unsure=True)

    def count(drawn):
        return (drawn == panel.UNSURE).all(axis=2).sum()

    assert count(sure) == 0 and count(unsure) > 1000


def test_the_panel_says_what_was_read_and_how_sure_it_is(monkeypatch):
    words = []
    monkeypatch.setattr(panel, "put_text", lambda _, text, *place, **options: words.append(text))
    panel.draw_panel(picture(), IMAGE, READINGS, "x.png", unsure=True)
    answer = ["g", "unsure", "small letter"]
    bars = ["g", "75.0 %", "9", "20.0 %", "q", "5.0 %"]
    assert words == ["x.png", "the network saw", *answer, *bars]


def test_all_62_characters_look_different():
    characters = [*map(chr, [*range(48, 58), *range(65, 91), *range(97, 123)])]
    drawn = {panel.draw_panel(picture(), None, [(c, 1.0)]).tobytes() for c in characters}
    assert len(drawn) == 62
    assert [panel.kind(c) for c in "0Oo+"] == ["digit", "capital letter", "small letter", ""]
    assert panel.kind("ten") == ""


@pytest.mark.parametrize(
    "title", ["", "汉字 é.png", "tab\tnewline\n.png", "x" * 2000, "\udcff.png"]
)
def test_any_file_name_is_drawn_and_stays_inside(title):
    drawn = panel.draw_panel(picture(), IMAGE, READINGS, title)
    assert (drawn[:, -20:] == panel.BACKGROUND).all()
    assert panel.contact_sheet([(picture(), IMAGE, READINGS, title, False)]).shape[2] == 3


def test_letters_that_opencv_cannot_draw_are_question_marks():
    """OpenCV 4 has ASCII's alone."""
    title, marks = (panel.draw_panel(picture(), None, [], title) for title in ("\u6f22", "?"))
    assert (title == marks).all() == (not panel.UNICODE)


@pytest.mark.parametrize("readings", [[], [("A", 1.0)], [("eleven", 0.6), ("twelve", 0.4)]])
def test_fewer_readings_and_longer_names_of_classes(readings):
    panel.draw_panel(picture(), None, readings, "x.png", unsure=True)
    panel.contact_sheet([(picture(), None, readings, "x.png", True)])


def test_percent_says_100_only_of_what_is_certain():
    values = (0, 0.0004, 0.5, 0.99949, 0.99999, 1, np.float32(1))
    said = ["0.0 %", "0.0 %", "50.0 %", "99.9 %", "99.9 %", "100.0 %", "100.0 %"]
    assert [panel.percent(value) for value in values] == said


@pytest.mark.parametrize(
    "count, width, height", [(0, 272, 252), (1, 272, 252), (12, 1200, 676), (14, 1200, 676)]
)
def test_the_sheet_is_as_wide_as_a_readme_picture(count, width, height):
    sheet = panel.contact_sheet(
        (picture(), IMAGE, READINGS, f"{k}.png", False) for k in range(count)
    )
    assert sheet.shape == (height, width, 3) and sheet.dtype == np.uint8


def test_the_sheet_says_how_sure_each_answer_is_or_that_there_is_none(monkeypatch):
    words, put_text = [], panel.put_text
    readings = {"a.png": READINGS, "b.png": READINGS, "c.png": []}

    def noting(canvas, text, *place, **options):
        words.append(text)
        put_text(canvas, text, *place, **options)

    def coloured(*entries):
        sheet = panel.contact_sheet(
            (picture(), IMAGE, readings[name], name, unsure) for name, unsure in entries
        )
        return (sheet == panel.UNSURE).all(axis=2).any()

    monkeypatch.setattr(panel, "put_text", noting)
    assert not coloured(("a.png", False), ("c.png", False)) and coloured(("b.png", True))
    sure = ["g", "75.0 %", "a.png"]
    assert words == [*sure, "-", "not read", "c.png", "g", "75.0 %, unsure", "b.png"]


def test_the_sheet_shows_each_picture_and_what_the_network_saw_of_it():
    sheet = panel.contact_sheet([(picture(), IMAGE, READINGS, "x.png", False)])
    seen = panel.grey_to_bgr(IMAGE).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(sheet[144:200, 178:234], seen)
    assert (sheet[80, 120] == (10, 120, 230)).all()


def test_the_sheet_tells_a_folder_s_long_names_apart():
    names = [f"scans/IMG_20260101_10{minute}30.jpg" for minute in (10, 11, 21)]
    first, *others = [
        panel.contact_sheet([(picture(), IMAGE, READINGS, name, False)]) for name in names
    ]
    assert all((first != other).any() for other in others)


def test_a_sheet_holds_one_picture_at_a_time(monkeypatch):
    alive = set()

    class Watched(np.ndarray):
        def __array_finalize__(self, _):
            alive.add(id(self))

        def __del__(self):
            alive.discard(id(self))

    most = 0

    def entries():
        nonlocal most
        for k in range(200):
            most = max(most, len(alive))
            yield picture(300, 300).view(Watched), IMAGE, READINGS, f"{k}.png", k % 7 == 0

    sheet = panel.contact_sheet(entries())
    assert most <= 2
    assert 0.8 < sheet.shape[1] / sheet.shape[0] < 1.4  # no ribbon
    monkeypatch.setattr(panel, "SHEET_COLUMNS", 2)
    assert panel.contact_sheet(((picture(), None, [], "x", False),) * 5).shape[1] == 504


def test_save_png_never_writes_over_a_file(tmp_path):
    path = tmp_path / "new folder" / "é.png"
    assert panel.save_png(path, picture(5, 5)) == f"saved as {path}"
    first = path.read_bytes()
    assert panel.save_png(path, picture(9, 9)) == f"saved as {path.with_name('é-2.png')}"
    assert panel.save_png(path, picture(9, 9)) == f"saved as {path.with_name('é-3.png')}"
    assert path.read_bytes() == first
    told = panel.save_png(path / "below a file.png", picture())
    assert told.startswith("not saved: ") and "[Errno" not in told


def test_the_foot_tells_the_keys_then_what_was_saved_and_which_panel_it_is(monkeypatch, tmp_path):
    keys, feet = iter("ss q"), []
    monkeypatch.setattr(panel, "read_key", lambda wait_ms: next(keys))
    monkeypatch.setattr(panel, "display", lambda *_: None)
    monkeypatch.setattr(panel, "with_foot", lambda _, *words: feet.append(words))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    panel.show(lambda index: picture(), 2, lambda index: tmp_path / "x.png")
    saved = [f"saved as {tmp_path / name}" for name in ("x.png", "x-2.png")]
    told = [panel.SHOW_KEYS, *saved]
    assert feet == [*((words, "1/2") for words in told), (panel.SHOW_KEYS, "2/2")]


def test_the_foot_is_below_the_panel_its_words_at_either_end():
    shown = panel.with_foot(picture(400, 50), "left", "right")
    assert (shown[:50] == (10, 120, 230)).all() and shown.shape == (50 + panel.FOOT, 400, 3)
    inked = (shown[50:] != panel.TRACK).any(axis=(0, 2))
    assert [part.any() for part in np.split(inked, [24, 100, 300, 377])] == [0, 1, 0, 1, 0]


# ----------------------------------------------------------------------------- the real windows
SHOW = """if True:
    import sys, numpy as np, panel
    def panel_at(index):
        print("panel", index, flush=True)
        return panel.draw_panel(np.full((30, 30, 3), 200, np.uint8), None, [("A", 0.9)], str(index))
    panel.show(panel_at, 3, lambda index: sys.argv[1] + f"/panel_{index}.png")
    print("end", flush=True)
"""


@pytest.fixture
def shown(open_window, tmp_path):
    """The window of SHOW, which saves into tmp_path."""
    return open_window([sys.executable, "-c", SHOW, tmp_path], cwd=ROOT)


def test_keys_go_on_and_back_and_the_title_counts(shown):
    for key, title in (
        ("space", "monitor (2/3)"),
        ("BackSpace", "monitor (1/3)"),
        ("BackSpace", "monitor (1/3)"),  # nothing before the first
        ("Shift_L", "monitor (1/3)"),  # no key on its own
        ("Right", "monitor (2/3)"),
        ("Left", "monitor (1/3)"),  # its code's last byte is a Q
        ("x", "monitor (2/3)"),
        ("Return", "monitor (3/3)"),
    ):
        shown.xdotool("key", key)
        time.sleep(0.15)
        shown.wait_until(lambda title=title: shown.title() == title)
    shown.xdotool("key", "space")
    code, lines, err = shown.end()
    assert code == 0 and lines[-1] == "end" and err == ""
    assert lines[:3] == ["panel 0", "panel 1", "panel 0"]  # made when shown, not before


def test_s_saves_the_panel_without_its_foot(shown, tmp_path):
    for key in ("space", "s", "s", "q"):
        shown.xdotool("key", key)
        time.sleep(0.2)
    assert shown.end()[:2] == (0, ["panel 0", "panel 1", "end"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["panel_1-2.png", "panel_1.png"]
    assert cv2.imread(str(tmp_path / "panel_1.png")).shape == (440, 880, 3)


@pytest.mark.parametrize("way", ["q", "Q", "Escape", "cross", "Ctrl-C"])
def test_every_way_out_of_the_window(shown, way):
    if way == "cross":
        shown.close_by_cross()
    elif way == "Ctrl-C":
        shown.process.send_signal(signal.SIGINT)
    else:
        shown.xdotool("key", way)
    code, lines, err = shown.end()
    if way == "Ctrl-C":
        assert "KeyboardInterrupt" in err
    else:
        assert (code, lines, err) == (0, ["panel 0", "end"], "")


def has_display(folder=ROOT, **env):
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", "import panel; print(panel.has_display())"],
        cwd=folder,
        env=kept | env | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a window can always be tried")
@pytest.mark.parametrize(
    "env", [{}, {"DISPLAY": ""}, {"DISPLAY": ":987"}, {"WAYLAND_DISPLAY": "wayland-987"}]
)
def test_no_display_is_said_without_ending_the_process(env):
    assert has_display(**env) == "False"


def test_a_display_is_found(screen):
    assert has_display(DISPLAY=screen) == "True"


def test_a_display_is_found_from_a_folder_with_any_files(screen, tmp_path):
    (tmp_path / "resource.py").write_text("raise SystemExit(1)")
    assert has_display(tmp_path, DISPLAY=screen) == "True"


@pytest.mark.parametrize("desktop", ["GNOME", "KDE"])
def test_qt_says_nothing_on_a_wayland_desktop(open_window, tmp_path, desktop):
    env = os.environ | {"XDG_SESSION_TYPE": "wayland", "XDG_CURRENT_DESKTOP": desktop}
    program = SHOW.replace("import sys", "import panel; panel.has_display()\n    import sys")
    window = open_window([sys.executable, "-c", program, tmp_path], env, cwd=ROOT)
    window.xdotool("key", "q")
    assert window.end() == (0, ["panel 0", "end"], "")


def test_opencv_without_windows_has_no_display(monkeypatch):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "", raising=False)
    assert panel.has_display() is False


@pytest.mark.parametrize(
    ("platform", "code", "key"),
    [
        ("linux", -1, ""),
        ("linux", ord("s"), "s"),
        ("linux", 0x100000 | ord("S"), "s"),  # with Num Lock, and Caps Lock
        ("linux", 0x10000 | 0xFFE1, ""),  # Shift alone
        ("linux", 0xFF51, "back"),  # the left arrow
        ("linux", 27, "q"),
        ("linux", 0xFF1B, "q"),
        ("linux", 0xFF53, "next"),  # the right arrow
        ("linux", 0xFFAB, "+"),  # of the digits' block
        ("linux", 0xFFAD, "-"),
        ("linux", ord("="), "+"),  # where + needs Shift
        ("linux", ord("_"), "-"),
        ("linux", 0xE9, "other"),
        ("win32", 0x250000, "back"),
        ("win32", ord("Q"), "q"),
        ("win32", 0x270000, "next"),
        ("darwin", 0xF702, "back"),
        ("darwin", 0xF703, "next"),
        ("darwin", 127, "back"),
    ],
)
def test_keys_have_names_or_are_small_letters(monkeypatch, platform, code, key):
    monkeypatch.setattr(panel.sys, "platform", platform)
    monkeypatch.setattr(panel, "_is_open", lambda: True)
    monkeypatch.setattr(cv2, "waitKeyEx", lambda wait_ms: code)
    assert panel.read_key(1) == key


def test_a_display_that_does_not_answer_is_none(monkeypatch):
    def hang(*_, **__):
        raise subprocess.TimeoutExpired("python", 20)

    monkeypatch.setattr(subprocess, "run", hang)
    monkeypatch.setattr(panel.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":987")
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    assert panel.has_display() is False


@pytest.mark.parametrize(
    ("screen", "place"),
    [((1920, 1080), (960, 540)), ((1366, 768), (486, 260)), ((800, 400), (0, 0))],
)
def test_a_window_opens_where_the_screen_has_room_for_it(monkeypatch, screen, place):
    placed = []
    monkeypatch.setattr(panel, "_screen_size", lambda: screen)
    monkeypatch.setattr(panel, "_is_open", lambda: False)
    for name in ("namedWindow", "imshow", "setWindowTitle"):
        monkeypatch.setattr(cv2, name, lambda *_: None)
    monkeypatch.setattr(cv2, "moveWindow", lambda name, *place: placed.append(place))
    panel.display(picture(880, 468), "monitor")
    assert placed == [place]


@pytest.mark.skipif(sys.platform != "linux", reason="others have no X11 to ask")
@pytest.mark.parametrize("missing", ["the library", "the display"])
def test_a_screen_that_cannot_be_asked_for_its_size_is_taken_for_a_usual_one(monkeypatch, missing):
    def lacking(name):
        raise OSError(name)

    monkeypatch.setenv("DISPLAY", ":987")
    if missing == "the library":
        monkeypatch.setattr(panel.ctypes, "CDLL", lacking)
    assert panel._screen_size() == (1920, 1080)


def test_a_mac_is_asked_for_the_size_of_its_screen(monkeypatch):
    graphics = SimpleNamespace(
        CGMainDisplayID=lambda: 1,
        CGDisplayPixelsWide={1: 1440}.get,
        CGDisplayPixelsHigh={1: 900}.get,
    )
    monkeypatch.setattr(panel.sys, "platform", "darwin")
    monkeypatch.setattr(
        panel.ctypes, "CDLL", lambda path: {"CoreGraphics": graphics}[Path(path).name]
    )
    assert panel._screen_size() == (1440, 900)


def test_a_window_that_is_minimised_on_a_mac_stays_open(monkeypatch):
    monkeypatch.setattr(cv2, "getWindowProperty", lambda name, prop: 0.0)
    assert not panel._is_open()
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "COCOA")
    assert panel._is_open()
    monkeypatch.setattr(cv2, "getWindowProperty", lambda name, prop: -1.0)
    assert not panel._is_open()


# -------------------------------------------------------------------------------------- assets
def test_assets_are_what_their_script_draws(tmp_path, monkeypatch):
    import draw_assets

    kept = sorted((ROOT / "assets").glob("*.png"))
    monkeypatch.setattr(draw_assets, "ASSETS", tmp_path)
    draw_assets.main()
    drawn = {path.name: cv2.imread(str(path)) for path in tmp_path.iterdir()}
    assert len(drawn) == 14
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500_000
    for path in kept:
        if path.name in drawn:  # others are a user's own
            difference = cv2.absdiff(cv2.imread(str(path)), drawn[path.name])
            assert difference.mean() < 1  # JPEG and rounding may differ between machines
