"""Draw with the mouse and be read while you draw.

    python demo.py --draw

`Pad` is the drawing, `drawing_pad` its window: a panel of panel.py whose picture is drawn on. Only
OpenCV and numpy: the function that reads is passed in.
"""

import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from panel import (
    CARD,
    MUTED,
    WINDOW,
    display,
    draw_panel,
    picture_box,
    put_text,
    read_key,
    with_foot,
)

POLL_MS = 8  # how long a key is waited for
PEN_WIDTHS = (4, 8, 12, 16, 20, 26, 34, 44)  # px on the pad of 424x364; + and - walk along them
ERASER = 2  # the eraser's width in pens
INK = (110, 52, 24)  # BGR
PRESSES = {cv2.EVENT_LBUTTONDOWN: False, cv2.EVENT_RBUTTONDOWN: True}  # whether it erases
if sys.platform == "win32":  # where a second press soon after the first comes as this alone
    PRESSES |= {cv2.EVENT_LBUTTONDBLCLK: False, cv2.EVENT_RBUTTONDBLCLK: True}
WHEELS = ()
if sys.platform == "linux":  # whose Qt windows zoom when it is turned forwards
    WHEELS = cv2.EVENT_MOUSEWHEEL, cv2.EVENT_MOUSEHWHEEL
KEYS = "left: draw    right or e: erase    u: undo    c: clear    + -: pen    s: save    q: end"


class Pad:
    """What is drawn: strokes, pen, eraser. Knows nothing of windows; points are (x, y) pixels."""

    def __init__(self, size):
        self.size = size  # width, height
        self.strokes = []  # of (points, width, colour); the last is the one being drawn
        self.cleared = []  # what the last `clear` took
        self.pen = 3  # index into PEN_WIDTHS: 16 px, a tenth of a character, as in EMNIST
        self.erasing = self.down = False
        self.wheeled = False  # whether the mouse's wheel was turned forwards
        self.changes = 0  # counts what changes the drawing

    def width(self, erase):
        """The pen's in pixels, or the eraser's."""
        return PEN_WIDTHS[self.pen] * (ERASER if erase else 1)

    def press(self, point, erase=False):
        """Starts a stroke of the pen, or of the eraser."""
        erase = erase or self.erasing
        self.strokes.append(([point], self.width(erase), CARD if erase else INK))
        self.down, self.changes = True, self.changes + 1

    def move(self, point):
        """Goes on with the stroke, if one was started."""
        if self.down and point != self.strokes[-1][0][-1]:
            self.strokes[-1][0].append(point)
            self.changes += 1

    def release(self):
        self.down = False

    def undo(self):
        """Takes the last stroke away; brings all back after `clear`."""
        if self.strokes:
            self.strokes.pop()
        else:
            self.strokes, self.cleared = self.cleared, []
        self.down, self.changes = False, self.changes + 1

    def clear(self):
        if self.strokes:
            self.strokes, self.cleared = [], self.strokes
        self.down, self.changes = False, self.changes + 1

    def change_pen(self, steps):
        self.pen = min(max(0, self.pen + steps), len(PEN_WIDTHS) - 1)

    def toggle_eraser(self):
        self.erasing = not self.erasing

    def render(self):
        """The drawing, a new uint8 BGR (height, width, 3), white where there is no ink."""
        drawing = np.full((self.size[1], self.size[0], 3), CARD, np.uint8)
        for points, width, colour in self.strokes:
            # A fast mouse reports few points: a point each 5 px, corners rounded by about half
            # the distance of the mouse's. OpenCV takes (n, 1, 2) for a picture of n rows.
            points = np.float32(points)[:, None]
            more = max(1, cv2.arcLength(points, False) / 5 / len(points))
            curve = cv2.resize(points, (1, 1 + round(more * len(points))))
            curve = cv2.GaussianBlur(curve, (1, 2 * int(2 * more) + 1), 1, sigmaY=more / 2)
            curve = np.concatenate([points[:1], curve, points[-1:]])  # rounding takes off the ends
            curve = np.int32(curve * 16 + 0.5)  # polylines takes sixteenths of a pixel
            cv2.polylines(drawing, [curve], False, colour, width, cv2.LINE_AA, shift=4)
        return drawing


class Reader:
    """Reads the newest drawing in a thread of its own.

    The pad looks at the mouse meanwhile: of all moves between two looks Qt keeps the last alone.
    """

    NOTHING = None, (), False

    def __init__(self, read):
        self.read = read
        self.thread = ThreadPoolExecutor(1)
        self.reading, self.asked, self.answer = self.NOTHING, None, None

    def newest(self, drawing):
        """The reading of this drawing, or of one before it as long as this is being read.

        Of None, an empty pad, it is NOTHING. Raises what `read` raised.
        """
        if drawing is None:
            self.reading, self.asked, self.answer = self.NOTHING, None, None
            return self.reading
        if self.answer is not None and self.answer.done():
            self.reading, self.answer = self.answer.result(), None
        if self.answer is None and self.asked is not drawing:
            self.asked, self.answer = drawing, self.thread.submit(self.read, drawing)
        return self.reading


def drawing_pad(read, save):
    """Draw with the mouse and watch it being read, until q, Esc or the window's cross.

    Args:
        read: function of a picture, uint8 BGR -> (image, readings, unsure) as in `draw_panel`;
            (None, (), False) where it sees nothing. Called in a thread, once for a change at most,
            always for the last one, never for an empty pad.
        save: function of a picture -> the path under which it saved it.

    Raises:
        KeyboardInterrupt: after Ctrl-C.
    """
    x, y, *size = picture_box()
    pad = Pad(size)
    actions = {"u": pad.undo, "c": pad.clear, "e": pad.toggle_eraser}
    actions |= {"+": lambda: pad.change_pen(1), "-": lambda: pad.change_pen(-1)}
    reader, shown_reading = Reader(read), None
    seen, shown, key = None, None, ""
    # OpenCV would drop a KeyboardInterrupt that is raised in its call of `_on_mouse`.
    stopped = []
    before = signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
    try:
        while True:
            if stopped:
                raise KeyboardInterrupt
            if pad.changes != seen:
                seen, note, drawing = pad.changes, KEYS, pad.render()
                inked = (drawing < 255).any()
            reading = reader.newest(drawing if inked else None)
            if key == "s":  # here: with what was drawn while the key was waited for
                try:
                    note = f"saved as {save(drawing)}" if inked else "nothing drawn, nothing saved"
                except OSError as error:
                    note = f"not saved: {error.strerror}"
            tool = pad.erasing, pad.width(pad.erasing)
            if (seen, note, tool) != shown or reading is not shown_reading:
                answer = reading[1][0][0] if reading[1] else "draw"
                display(_draw_pad(drawing, *reading, note, *tool), f"{WINDOW}: {answer}")
                if shown is None:
                    cv2.setMouseCallback(WINDOW, lambda *event: _on_mouse(pad, (x, y), *event))
                shown, shown_reading = (seen, note, tool), reading
            key = read_key(POLL_MS)
            if key == "q":
                return
            actions.get(key, lambda: None)()
            if pad.wheeled:  # in a zoomed window the left button would move the drawing too
                cv2.destroyWindow(WINDOW)
                pad.wheeled, shown = False, None
    finally:
        reader.thread.shutdown()
        signal.signal(signal.SIGINT, before)
        cv2.destroyAllWindows()


def _on_mouse(pad, corner, event, mouse_x, mouse_y, flags, _):
    """Left draws, right erases; a stroke starts on the pad and may leave it."""
    point = x, y = mouse_x - corner[0], mouse_y - corner[1]
    if event in PRESSES:
        if 0 <= x < pad.size[0] and 0 <= y < pad.size[1]:
            pad.press(point, erase=PRESSES[event])
    elif event == cv2.EVENT_MOUSEMOVE and flags & (cv2.EVENT_FLAG_LBUTTON | cv2.EVENT_FLAG_RBUTTON):
        pad.move(point)
    elif event in WHEELS:
        pad.wheeled |= flags > 0
    else:
        pad.release()  # a button was let go, perhaps outside the window


def _draw_pad(drawing, image, readings, unsure, note, erasing, width):
    """The pad's window: the panel of the drawing, at its foot the keys and the pen."""
    panel = draw_panel(drawing, image, readings, "draw one character", unsure=unsure)
    if not readings:
        put_text(panel, "its reading appears here", 668, 340, 11, MUTED, align=0.5)
    tool = "eraser" if erasing else "pen"
    return with_foot(panel, note, f"{tool} {width}")
