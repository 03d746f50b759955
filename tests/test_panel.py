"""panel.py: the panel, the sheet and the pad as functions; the windows under Xvfb with xdotool.

    pytest tests/test_panel.py

The window tests start their own virtual screen, run a small program with a made-up `read` on it,
press keys and move the mouse as a person would, and look at what came out. About half a minute.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

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


@pytest.mark.parametrize("size", [(880, 440), (440, 220), (1280, 700), (200, 120), (900, 300)])
def test_a_panel_has_the_size_asked_for(size):
    drawn = panel.draw_panel(picture(), IMAGE[:, :, 0], READINGS, "x.png", size=size)
    assert drawn.shape == (size[1], size[0], 3)


def test_the_picture_keeps_its_aspect_ratio():
    drawn = panel.draw_panel(picture(200, 100, (0, 0, 250)), None, [])
    ys, xs = np.where((drawn == (0, 0, 250)).all(axis=2))
    wide, high = np.ptp(xs) + 1, np.ptp(ys) + 1
    assert wide == panel.picture_box()[2] and abs(wide / high - 2) < 0.02


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


def test_unsure_is_marked():
    sure = panel.draw_panel(picture(), IMAGE, READINGS)
    unsure = panel.draw_panel(picture(), IMAGE, READINGS, unsure=True)

    def count(drawn):
        return (drawn == panel.UNSURE).all(axis=2).sum()

    assert count(sure) == 0 and count(unsure) > 1000


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


def test_a_sheet_holds_one_picture_at_a_time():
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
    assert panel.contact_sheet(((picture(), None, [], "x", False),) * 5, columns=2).shape[1] == 504


def test_save_png_never_writes_over_a_file(tmp_path):
    path = tmp_path / "new folder" / "é.png"
    assert panel.save_png(path, picture(5, 5)) == f"saved as {path}"
    first = path.read_bytes()
    assert panel.save_png(path, picture(9, 9)) == f"saved as {path.with_name('é-2.png')}"
    assert panel.save_png(path, picture(9, 9)) == f"saved as {path.with_name('é-3.png')}"
    assert path.read_bytes() == first
    assert panel.save_png(path / "below a file.png", picture()).startswith("not saved: ")


# ----------------------------------------------------------------------------------- the pad
def ink(pad):
    return int((pad.render() < 255).any(axis=2).sum())


def draw(pad, *points, **erase):
    pad.press(points[0], **erase)
    for point in points[1:]:
        pad.move(point)
    pad.release()


def test_the_pad_draws_erases_undoes_and_clears():
    pad = panel.Pad((200, 160))
    assert pad.render().shape == (160, 200, 3) and ink(pad) == 0
    draw(pad, (20, 80), (180, 80))
    line = ink(pad)
    assert 160 * 16 < line < 160 * 18 + 18**2  # 160 long, 16 wide, round ends, soft edges
    draw(pad, (100, 20), (100, 140), erase=True)
    assert ink(pad) < line - 32 * 14
    pad.undo()
    assert ink(pad) == line
    pad.clear()
    assert ink(pad) == 0
    pad.undo()  # of the clear
    assert ink(pad) == line
    pad.undo()
    pad.undo()  # of nothing
    assert ink(pad) == 0


def test_a_click_is_a_dot_and_moves_need_a_press():
    pad = panel.Pad((100, 100))
    pad.move((50, 50))
    assert ink(pad) == 0 and pad.changes == 0
    draw(pad, (50, 50))
    assert 150 < ink(pad) < 320  # a disc of 16 px
    pad.move((90, 90))
    assert ink(pad) < 320


def test_the_pen_has_a_thinnest_and_a_thickest_width():
    pad, areas = panel.Pad((100, 100)), []
    for steps in (-99, 99):
        pad.change_pen(steps)
        pad.clear()
        draw(pad, (50, 50))
        areas.append(ink(pad))
    assert areas[0] < 40 and areas[1] > 1400


def test_only_what_changes_the_drawing_counts_as_a_change():
    pad = panel.Pad((100, 100))
    draw(pad, (10, 10), (20, 20), (20, 20))
    before = pad.changes
    pad.change_pen(1)
    pad.toggle_eraser()
    pad.render()
    assert before == pad.changes == 2


def test_a_fast_mouse_draws_round_and_a_slow_one_keeps_its_corners():
    inked = {}
    for step in (2, 80):
        pad = panel.Pad((200, 200))
        down = [(20, y) for y in range(180, 20, -step)]
        draw(pad, *down, *((x, 20) for x in range(20, 181, step)))
        inked[step] = (pad.render() < 255).any(axis=2)
        assert inked[step][20, 150] and inked[step][175, 20]
    assert inked[2][16, 16] and not inked[80][16, 16]


# ----------------------------------------------------------------------------- the real windows
needs_screen = pytest.mark.skipif(
    not (sys.platform == "linux" and shutil.which("Xvfb") and shutil.which("xdotool")),
    reason="needs Linux with Xvfb and xdotool (Debian packages xvfb, xdotool)",
)

SHOW = """
    import sys; sys.path.insert(0, {root!r})
    import numpy as np, panel
    def panel_at(index):
        print("panel", index, flush=True)
        return panel.draw_panel(np.full((30, 30, 3), 200, np.uint8), None, [("A", 0.9)], str(index))
    panel.show(panel_at, 3, lambda index: {folder!r} + f"/panel_{{index}}.png")
    print("end", flush=True)
"""

PAD = """
    import sys, time; sys.path.insert(0, {root!r})
    import cv2, numpy as np, panel
    calls = []
    def read(picture):
        dark = np.argwhere((picture < 255).any(axis=2))
        time.sleep(0.02)
        calls.append(time.perf_counter())
        print("read", len(dark), flush=True)
        return np.ones((28, 28), np.float32), [("L", 0.9), ("l", 0.08), ("1", 0.02)]
    def save(picture):
        cv2.imwrite({folder!r} + "/drawing.png", picture)
        print("saved", flush=True)
        return "drawing.png"
    panel.drawing_pad(read, save, lambda readings: True)
    print("end", len(calls), calls[-1] - calls[0] if calls else 0, flush=True)
"""


@pytest.fixture(scope="module")
def screen():
    """A virtual screen of 1920x1080; its DISPLAY."""
    reader, writer = os.pipe()
    command = [
        "Xvfb",
        "-displayfd",
        str(writer),
        "-screen",
        "0",
        "1920x1080x24",
        "-nolisten",
        "tcp",
    ]
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        display = f":{pipe.readline().strip()}"
    yield display
    server.terminate()
    server.wait(10)


class Window:
    """A program with a window, and a person in front of it."""

    def __init__(self, display, program, **names):
        self.display, self.env = display, {**os.environ, "DISPLAY": display}
        code = textwrap.dedent(program).format(root=str(ROOT), **names)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.id = int(
            self.xdotool("search", "--sync", "--onlyvisible", "--name", "^monitor").split()[0]
        )
        self.wait_until(lambda: self.geometry() == (960, 540, 880, 468))
        self.xdotool("mousemove", "1300", "985")  # over the foot: keys go to the window below it
        time.sleep(0.2)

    def xdotool(self, *words):
        done = subprocess.run(
            ["xdotool", *words], env=self.env, capture_output=True, text=True, timeout=20
        )
        return done.stdout

    def geometry(self):
        lines = self.xdotool("getwindowgeometry", "--shell", str(self.id)).splitlines()
        values = dict(line.split("=") for line in lines)
        return tuple(int(values[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))

    def title(self):
        return self.xdotool("getwindowname", str(self.id)).strip()

    def wait_until(self, true, seconds=10):
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.03)

    def close_by_cross(self):
        """What a window manager sends when its cross is clicked: WM_DELETE_WINDOW."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype, x11.XInternAtom.restype = ctypes.c_void_p, ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        protocols, delete = (
            x11.XInternAtom(display, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW")
        )
        # XClientMessageEvent: type, serial, send_event, display, window, message, format, data
        event = (ctypes.c_long * 24)(33, 0, 1, 0, self.id, protocols, 32, delete)
        x11.XSendEvent(display, ctypes.c_ulong(self.id), 0, ctypes.c_long(0), ctypes.byref(event))
        x11.XSync(display, 0)
        x11.XCloseDisplay(display)

    def end(self):
        """(exit code, lines of stdout, stderr) of the program, which must end by itself."""
        out, err = self.process.communicate(timeout=10)
        return self.process.returncode, out.splitlines(), err


@pytest.fixture
def open_window(screen, tmp_path):
    windows = []

    def start(program):
        windows.append(Window(screen, program, folder=str(tmp_path)))
        return windows[-1]

    yield start
    for window in windows:
        window.process.kill()
        window.process.communicate()


@needs_screen
def test_keys_go_on_and_back_and_the_title_counts(open_window):
    window = open_window(SHOW)
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
        window.xdotool("key", key)
        time.sleep(0.15)
        window.wait_until(lambda title=title: window.title() == title)
    window.xdotool("key", "space")
    code, lines, err = window.end()
    assert code == 0 and lines[-1] == "end" and err == ""
    assert lines[:3] == ["panel 0", "panel 1", "panel 0"]  # made when shown, not before


@needs_screen
def test_s_saves_the_panel_without_its_foot(open_window, tmp_path):
    window = open_window(SHOW)
    for key in ("space", "s", "s", "q"):
        window.xdotool("key", key)
        time.sleep(0.2)
    assert window.end()[:2] == (0, ["panel 0", "panel 1", "end"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["panel_1-2.png", "panel_1.png"]
    assert cv2.imread(str(tmp_path / "panel_1.png")).shape == (440, 880, 3)


@needs_screen
@pytest.mark.parametrize("way", ["q", "Q", "Escape", "cross", "Ctrl-C"])
def test_every_way_out_of_the_window(open_window, way):
    window = open_window(SHOW)
    if way == "cross":
        window.close_by_cross()
    elif way == "Ctrl-C":
        window.process.send_signal(signal.SIGINT)
    else:
        window.xdotool("key", way)
    code, lines, err = window.end()
    if way == "Ctrl-C":
        assert "KeyboardInterrupt" in err
    else:
        assert (code, lines, err) == (0, ["panel 0", "end"], "")


@needs_screen
def test_drawing_with_the_mouse(open_window, tmp_path):
    window = open_window(PAD)
    left, top = 960 + panel.picture_box()[0], 540 + panel.picture_box()[1]

    def drag(button, *points):
        words = []
        for step, (x, y) in enumerate(points):
            words += ["mousemove", str(left + x), str(top + y), "sleep", "0.01"]
            words += ["mousedown", str(button)] if step == 0 else []
        window.xdotool(*words, "mouseup", str(button), "sleep", "0.1")

    assert window.title() == "monitor: draw"
    window.xdotool("key", "s")  # nothing drawn yet: nothing read, nothing saved
    down = [(150, 60 + 4 * k) for k in range(56)]
    drag(1, *down, *((150 + 4 * k, 280) for k in range(30)))  # an L
    window.xdotool("key", "s")
    window.wait_until(lambda: (tmp_path / "drawing.png").exists())
    time.sleep(0.2)
    letter = (cv2.imread(str(tmp_path / "drawing.png")) < 255).any(axis=2)
    assert letter.shape == panel.picture_box()[:1:-1]
    assert letter[60:280, 146:155].all() and letter[276:285, 150:266].all()  # where it was drawn
    assert not letter[40:250, 180:].any()
    drag(3, (230, 280), (240, 280), (250, 280))  # the right button erases
    window.xdotool("key", "e")  # and so does the left after e
    drag(1, (150, 80), (150, 90))
    window.xdotool("key", "u", "sleep", "0.1", "key", "plus", "sleep", "0.1", "key", "minus")
    window.xdotool("key", "c", "sleep", "0.3", "key", "Escape")
    code, lines, err = window.end()
    assert code == 0 and err == "" and lines.count("saved") == 1
    sizes = [int(line.split()[1]) for line in lines if line.startswith("read")]
    assert all(sizes)  # the empty pad is never read
    assert sizes[-1] > sizes[-2]  # undone: the erased part is back
    largest = sizes.index(max(sizes))
    assert sizes[: largest + 1] == sorted(sizes[: largest + 1])  # it follows the pen


@needs_screen
def test_the_reading_follows_the_mouse(open_window):
    """At least 15 readings a second with a `read` of 20 ms, and none while nothing changes."""
    window = open_window(PAD)
    words = []
    for k in range(150):
        angle = k / 20
        x, y = 1196 + 120 * np.cos(angle), 770 + 120 * np.sin(angle)
        words += ["mousemove", str(int(x)), str(int(y)), "sleep", "0.01"]
        words += ["mousedown", "1"] if k == 0 else []
    window.xdotool(*words, "mouseup", "1", "sleep", "0.5")
    window.close_by_cross()
    code, lines, err = window.end()
    _, calls, seconds = lines[-1].split()
    assert code == 0 and err == ""
    assert int(calls) / float(seconds) > 15, f"{int(calls) / float(seconds):.1f} a second"
    assert int(calls) <= 151


HAS_DISPLAY = "import panel; print(panel.has_display())"


def has_display(**env):
    kept = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", HAS_DISPLAY], cwd=ROOT, env={**kept, **env},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and done.stderr == ""
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a window can always be tried")
@pytest.mark.parametrize(
    "env", [{}, {"DISPLAY": ""}, {"DISPLAY": ":987"}, {"WAYLAND_DISPLAY": "wayland-987"}]
)
def test_no_display_is_said_without_ending_the_process(env):
    assert has_display(**env) == "False"


@needs_screen
def test_a_display_is_found(screen):
    assert has_display(DISPLAY=screen) == "True"


def test_opencv_without_windows_has_no_display(monkeypatch):
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "", raising=False)
    assert panel.has_display() is False


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
