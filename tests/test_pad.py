"""pad.py: the drawing as functions; its window under Xvfb with xdotool.

    pytest tests/test_pad.py

The window tests run a small program with a made-up `read` on a virtual screen, draw with the mouse
as a person would, and look at what came out.
"""

import errno
import signal
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import pad as pad_window
from pad import Pad
from panel import RESIZES, draw_panel, picture_box

ROOT = Path(__file__).resolve().parent.parent


# ----------------------------------------------------------------------------------- the drawing
def ink(pad):
    return int((pad.render() < 255).any(axis=2).sum())


def draw(pad, *points, **erase):
    pad.press(points[0], **erase)
    for point in points[1:]:
        pad.move(point)
    pad.release()


def test_the_pad_draws_erases_undoes_and_clears():
    pad = Pad((200, 160))
    assert pad.render().shape == (160, 200, 3) and ink(pad) == 0
    draw(pad, (20, 80), (180, 80))
    line = ink(pad)
    assert 160 * 19 < line < 160 * 19 + 19**2  # 160 long, 16 and soft edges wide, round ends
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


def test_what_was_cleared_comes_back_though_it_was_cleared_twice():
    pad = Pad((100, 100))
    draw(pad, (50, 50))
    dot = ink(pad)
    pad.clear()
    pad.clear()
    pad.undo()
    assert ink(pad) == dot


@pytest.mark.parametrize("take_away", [Pad.undo, Pad.clear])
def test_a_stroke_that_is_taken_away_while_it_is_drawn_is_over(take_away):
    pad = Pad((100, 100))
    pad.press((50, 50))
    take_away(pad)
    pad.move((60, 60))
    assert ink(pad) == 0


def test_a_stroke_of_few_far_points_begins_and_ends_at_them():
    pad = Pad((300, 300))
    draw(pad, (50, 60), (250, 200))
    down, across = np.nonzero((pad.render() < 128).any(axis=2))
    ends = [across.min(), down.min(), across.max(), down.max()]
    np.testing.assert_allclose(ends, [50 - 8, 60 - 8, 250 + 8, 200 + 8], atol=1)  # half a pen


def test_a_click_is_a_dot_and_moves_need_a_press():
    pad = Pad((100, 100))
    pad.move((50, 50))
    assert ink(pad) == 0 and pad.changes == 0
    draw(pad, (50, 50))
    assert 150 < ink(pad) < 320  # a disc of 16 px
    pad.move((90, 90))
    assert ink(pad) < 320


def test_the_pen_has_a_thinnest_and_a_thickest_width():
    pad, areas = Pad((100, 100)), []
    for steps in (-99, 99):
        pad.change_pen(steps)
        pad.clear()
        draw(pad, (50, 50))
        areas.append(ink(pad))
    assert areas[0] < 40 and areas[1] > 1400


def test_only_what_changes_the_drawing_counts_as_a_change():
    pad = Pad((100, 100))
    draw(pad, (10, 10), (20, 20), (20, 20))
    before = pad.changes
    pad.change_pen(1)
    pad.toggle_eraser()
    pad.render()
    assert before == pad.changes == 2


def test_a_fast_mouse_draws_round_and_a_slow_one_keeps_its_corners():
    inked = {}
    for step in (2, 80):
        pad = Pad((200, 200))
        down = [(20, y) for y in range(180, 20, -step)]
        draw(pad, *down, *((x, 20) for x in range(20, 181, step)))
        inked[step] = (pad.render() < 255).any(axis=2)
        assert inked[step][20, 150] and inked[step][175, 20]
    assert inked[2][16, 16] and not inked[80][16, 16]


LEFT = cv2.EVENT_LBUTTONDOWN, cv2.EVENT_FLAG_LBUTTON, cv2.EVENT_LBUTTONUP
RIGHT = cv2.EVENT_RBUTTONDOWN, cv2.EVENT_FLAG_RBUTTON, cv2.EVENT_RBUTTONUP


def test_left_draws_and_right_erases_what_begins_on_the_pad_and_may_leave_it():
    pad, across = Pad((100, 100)), [(x, 100) for x in range(20, 200, 10)]

    def hear(event, point, flags=0):
        pad_window._on_mouse(pad, (20, 50), event, *point, flags, None)

    def drag(button, points):
        down, held, up = button
        hear(down, points[0])
        for point in points:
            hear(cv2.EVENT_MOUSEMOVE, point, held)
        hear(up, points[-1])

    for outside in ((19, 100), (120, 100), (70, 49), (70, 150)):
        drag(LEFT, [outside, *across])
    assert not pad.strokes
    drag(LEFT, across)
    hear(cv2.EVENT_MOUSEMOVE, (70, 60))
    inked = (pad.render() < 255).any(axis=2)
    assert inked[50].all() and not inked[30].any()
    pad.toggle_eraser()  # with which the right button erases, too
    drag(RIGHT, across)
    assert ink(pad) == 0


def test_a_button_that_was_let_go_outside_the_window_draws_no_more():
    pad = Pad((100, 100))
    for event, x, flags in (
        (cv2.EVENT_LBUTTONDOWN, 30, cv2.EVENT_FLAG_LBUTTON),
        (cv2.EVENT_MOUSEMOVE, 60, 0),  # back in it, without the button
        (cv2.EVENT_MOUSEMOVE, 90, 0),
    ):
        pad_window._on_mouse(pad, (0, 0), event, x, 50, flags, None)
    assert [points for points, _, _ in pad.strokes] == [[(30, 50)]]


def feet_of(monkeypatch, keys, save, dots=True):
    """What the pad's foot says one after the other, where a dot is drawn just before each s."""
    keys, hear, feet = iter(keys), [], []

    def read_key(wait_ms):
        key = next(keys)
        if key == "s" and dots:
            for event in (cv2.EVENT_LBUTTONDOWN, cv2.EVENT_LBUTTONUP):
                hear[0](event, 200, 200, 0, None)
        return key

    monkeypatch.setattr(pad_window, "read_key", read_key)
    monkeypatch.setattr(pad_window, "display", lambda *_: None)
    monkeypatch.setattr(pad_window, "with_foot", lambda _, *words: feet.append(words))
    monkeypatch.setattr(cv2, "setMouseCallback", lambda _, function: hear.append(function))
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    before = signal.getsignal(signal.SIGINT)
    pad_window.drawing_pad(lambda drawing: (None, [("L", 0.9)], False), save)
    assert signal.getsignal(signal.SIGINT) is before
    return feet


def test_a_stroke_just_before_s_is_saved_with_it(monkeypatch):
    """Where one wait for a key heard both, as while a slow machine still reads."""
    saved = []

    def save(drawing):
        saved.append(drawing)
        return "drawing.png"

    feet = feet_of(monkeypatch, "sq", save)
    assert len(saved) == 1 and (saved[0] < 255).any()
    assert feet[-1] == ("saved as drawing.png", "pen 16")


def test_a_drawing_that_cannot_be_saved_is_told_and_the_pad_goes_on(monkeypatch):
    def full(drawing):
        raise OSError(errno.ENOSPC, "No space left on device")

    before, told, after = (note for note, _ in feet_of(monkeypatch, "scq", full))
    assert told == "not saved: No space left on device"
    assert before == after == pad_window.KEYS


def test_of_an_empty_pad_nothing_is_saved_and_that_is_told(monkeypatch):
    feet = feet_of(monkeypatch, "sq", None, dots=False)
    assert [note for note, _ in feet] == [pad_window.KEYS, "nothing drawn, nothing saved"]


def test_the_foot_tells_the_tool_and_its_width(monkeypatch):
    tools = [tool for _, tool in feet_of(monkeypatch, "+x--e-q", None)]
    assert tools == ["pen 16", "pen 20", "pen 16", "pen 12", "eraser 24", "eraser 16"]


def test_where_the_reading_will_be_is_said_until_there_is_one(monkeypatch):
    words, drawing = [], np.full((9, 9, 3), 255, np.uint8)
    monkeypatch.setattr(pad_window, "put_text", lambda _, text, *rest, **more: words.append(text))
    for readings in ([("L", 0.9)], []):
        assert not words
        pad_window._draw_pad(drawing, None, readings, False, "", False, 16)
    assert words == ["its reading appears here"]


def test_the_pad_shows_what_the_network_saw_and_its_doubt():
    drawing, readings = np.full((364, 424, 3), 200, np.uint8), [("L", 0.4)]
    image = np.eye(28, dtype=np.float32)
    shown = pad_window._draw_pad(drawing, image, readings, True, "", False, 16)
    panel = draw_panel(drawing, image, readings, "draw one character", unsure=True)
    np.testing.assert_array_equal(shown[: len(panel)], panel)


# ------------------------------------------------------------------------------------ the window
PAD = """if True:
    import sys, time, cv2, numpy as np, pad
    def read(picture):
        dark = np.argwhere((picture < 255).any(axis=2))
        time.sleep(0.02)
        print("read", len(dark), flush=True)
        return np.ones((28, 28), np.float32), [("L", 0.9), ("l", 0.08), ("1", 0.02)], True
    def save(picture):
        cv2.imwrite(sys.argv[1] + "/drawing.png", picture)
        print("saved", flush=True)
        return "drawing.png"
    pad.drawing_pad(read, save)
"""


@pytest.fixture
def window(open_window, tmp_path):
    """The window of PAD, which saves into tmp_path; it hears the mouse, its pad is empty."""
    window = open_window([sys.executable, "-c", PAD, tmp_path], cwd=ROOT)

    def heard():  # not as soon as it is to be seen, on a busy machine
        window.xdotool("mousemove", 1196, 770, "sleep", 0.1, "click", 1, "sleep", 0.3)
        return window.title() == "monitor: L"

    window.wait_until(heard)
    window.xdotool("key", "c")
    window.wait_until(lambda: window.title() == "monitor: draw")
    return window


def test_drawing_with_the_mouse(window, tmp_path):
    left, top = 960 + picture_box()[0], 540 + picture_box()[1]

    def drag(button, *points):
        words = []
        for step, (x, y) in enumerate(points):
            # Slowly round the L's corner: a busy machine drops moves, and the pad rounds more.
            pause = 0.05 if abs(x - 150) + abs(y - 280) < 30 else 0.01
            words += ["mousemove", left + x, top + y, "sleep", pause]
            words += ["mousedown", button] if step == 0 else []
        window.xdotool(*words, "mouseup", button, "sleep", 0.3)

    assert window.title() == "monitor: draw"
    window.xdotool("key", "s")  # nothing drawn yet: nothing read, nothing saved
    down = [(150, 60 + 4 * k) for k in range(56)]
    drag(1, *down, *((150 + 4 * k, 280) for k in range(30)))  # an L
    window.xdotool("key", "s")
    window.wait_until(lambda: (tmp_path / "drawing.png").exists())
    time.sleep(0.2)
    letter = (cv2.imread(str(tmp_path / "drawing.png")) < 255).any(axis=2)
    assert letter.shape == picture_box()[:1:-1]
    assert letter[60:280, 146:155].all() and letter[276:285, 150:266].all()  # where it was drawn
    assert not letter[40:250, 180:].any()
    drag(3, (230, 280), (240, 280), (250, 280))  # the right button erases
    window.xdotool("key", "e")  # and so does the left after e
    drag(1, (150, 80), (150, 90))
    window.xdotool("key", "u", "sleep", 0.3, "key", "plus", "sleep", 0.1, "key", "minus")
    window.xdotool("key", "c", "sleep", 0.3, "key", "Escape")
    code, lines, err = window.end()
    assert code == 0 and err == "" and lines.count("saved") == 1
    sizes = [int(line.split()[1]) for line in lines if line.startswith("read")]
    assert all(sizes)  # the empty pad is never read
    assert sizes[-1] > sizes[-2]  # undone: the erased part is back
    largest = sizes.index(max(sizes))
    assert sizes[: largest + 1] == sorted(sizes[: largest + 1])  # it follows the pen


def test_a_stroke_is_whole_however_slowly_it_is_read(open_window, tmp_path):
    slow = PAD.replace("time.sleep(0.02)", "time.sleep(0.5)")
    window = open_window([sys.executable, "-c", slow, tmp_path], cwd=ROOT)
    left, top = 960 + picture_box()[0], 540 + picture_box()[1]
    words = ["mousemove", left + 60, top + 60, "sleep", 0.2, "mousedown", 1]
    for k in range(81):  # a V
        words += ["mousemove", left + 60 + 2 * k, top + 300 - 6 * abs(k - 40), "sleep", 0.03]
    window.xdotool(*words, "mouseup", 1, "sleep", 0.3, "key", "s")
    window.wait_until(lambda: (tmp_path / "drawing.png").exists())
    window.xdotool("sleep", 0.2, "key", "q")
    assert window.end()[::2] == (0, "")
    letter = (cv2.imread(str(tmp_path / "drawing.png")) < 255).any(axis=2)
    assert letter[285, 137:144].all() and not letter[60:100, 120:160].any()


def test_after_a_turn_of_the_wheel_a_stroke_is_where_it_was_drawn(window, tmp_path):
    zoomed = window.id
    window.xdotool("mousemove", 1100, 700, "click", 4)
    window.id = window.wait_until(lambda: (new := window._find()) != zoomed and new)
    window.wait_until(lambda: window.geometry() == (960, 540, 880, 468))
    words = ["mousedown", 1, "sleep", 0.1]
    for k in range(26):
        words += ["mousemove", 1100 + 4 * k, 700, "sleep", 0.02]
    window.xdotool(*words, "mouseup", 1, "sleep", 0.3, "key", "s")
    window.wait_until(lambda: (tmp_path / "drawing.png").exists())
    window.xdotool("sleep", 0.2, "key", "q")
    assert window.end()[::2] == (0, "")
    letter = (cv2.imread(str(tmp_path / "drawing.png")) < 255).any(axis=2)
    left, top = 960 + picture_box()[0], 540 + picture_box()[1]
    assert letter[700 - top, 1104 - left : 1196 - left].all() and letter.sum() < 20 * 122


def test_a_window_that_hears_late_of_its_first_size_keeps_its_own(window):
    """As it happens on a busy machine: the picture was that small, the mouse unheard beside it."""
    window.tell_size(98, 70)
    time.sleep(0.3)
    window.xdotool("mousemove", 1196, 770, "sleep", 0.1, "click", 1)
    window.wait_until(lambda: window.title() == "monitor: L")
    window.xdotool("key", "q")
    assert window.end()[::2] == (0, "")


def test_a_desktop_that_decides_on_sizes_is_not_argued_with(window):
    for _ in range(RESIZES + 1):
        window.tell_size(600, 500)  # the picture, 600x319, is in its middle
        time.sleep(0.2)
    window.xdotool("mousemove", 960 + 440, 540 + 412, "sleep", 0.1, "click", 1, "sleep", 0.3)
    assert window.title() == "monitor: draw"  # on the pad, were it as large as it was
    window.xdotool("key", "q")
    assert window.end()[::2] == (0, "")


def test_ctrl_c_while_the_mouse_moves_ends_it(open_window, tmp_path):
    interrupt = "pad._on_mouse = lambda *_: __import__('signal').raise_signal(2)\n    "
    program = PAD.replace("pad.drawing_pad", interrupt + "pad.drawing_pad")
    window = open_window([sys.executable, "-c", program, tmp_path], cwd=ROOT)
    window.xdotool("mousemove", 1196, 770, "sleep", 0.1, "mousemove", 1200, 770)
    code, _, err = window.end()
    assert code == -signal.SIGINT and err.endswith("KeyboardInterrupt\n")


def test_the_reading_follows_the_mouse(window):
    """It is read again and again while the mouse moves, and not while nothing changes."""
    words = []
    for k in range(150):
        angle = k / 20
        x, y = 1196 + 120 * np.cos(angle), 770 + 120 * np.sin(angle)
        words += ["mousemove", int(x), int(y), "sleep", 0.01]
        words += ["mousedown", 1] if k == 0 else []
    window.xdotool(*words, "mouseup", 1, "sleep", 0.5)
    window.close_by_cross()
    code, lines, err = window.end()
    calls = sum(line.startswith("read") for line in lines)
    assert code == 0 and err == ""
    assert 5 < calls <= 151  # 150 moves of the mouse, and its release
