"""What a person sees: the panel of one reading, its window, the contact sheet.

    python demo.py                      # show: one panel after the other
    python demo.py --sheet sheet.png    # contact_sheet: all pictures of a run in one

Only OpenCV and numpy. A picture is uint8 BGR (height, width, 3); "the image" is what the network
saw, float32 (28, 28) or (28, 28, 1) in [0, 1], white ink on black; "readings" are (character,
probability) pairs, the best first. Boxes are (x, y, w, h).
"""

import ctypes
import itertools
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import answers

WINDOW = "monitor"
POSITION = (960, 540)  # where the window opens; nearer where the screen is known to be smaller
PANEL_SIZE = (880, 440)  # width, height: with the foot below it fits a 1920x1080 screen from there
FOOT = 28  # height of the window's line of keys, which is not saved
RESIZES = 3  # how often a window that opened is given its size again
POLL_MS = 50  # how often a waiting window looks whether it was closed
CELL, PREVIEW = (232, 212), (208, 136)  # width, height of the sheet's cells, of a picture in them
SHEET_COLUMNS, SHEET_EDGE = 5, 20  # 5 columns make a sheet 1200 px wide

BACKGROUND, CARD, LINE, TRACK = (240, 243, 245), (255,) * 3, (214, 219, 223), (226, 231, 234)  # BGR
TEXT, MUTED = (62, 48, 38), (128, 116, 106)
SURE, UNSURE = (150, 122, 18), (20, 110, 214)  # teal and amber: the colour-blind tell them apart

SHOW_KEYS = "any key: next     Backspace: back     s: save     q: end"
NAMED_KEYS = {  # codes of waitKeyEx: plain, X11, Windows, macOS; arrows go back and on as well
    **dict.fromkeys((8, 127, 0xFF08, 0xFF51, 0x250000, 0xF702), "back"),
    **dict.fromkeys((0xFF53, 0x270000, 0xF703), "next"),
    **dict.fromkeys((27, 0xFF1B), "q"),
    **dict.fromkeys((0xFFAB, ord("=")), "+"),
    **dict.fromkeys((0xFFAD, ord("_")), "-"),
    **dict.fromkeys(range(0xFFE1, 0xFFEF), ""),  # Shift, Ctrl, Alt alone
}
CUBIC, NEAREST = cv2.INTER_CUBIC, cv2.INTER_NEAREST  # to enlarge: smoothly, pixel by pixel
UNICODE = int(cv2.__version__.split(".")[0]) >= 5  # OpenCV 5 draws any script, 4 only ASCII
_resizes_left = 0  # of RESIZES, for the open window


# ---------------------------------------------------------------------------- drawing one panel
def draw_panel(picture, image, readings, title="", unsure=False):
    """One reading: the picture, the image that the network saw, the three best as bars.

    Args:
        picture: uint8 BGR of any size; scaled to fit, aspect ratio kept.
        image: float32 (28, 28[, 1]) in [0, 1], or None where nothing was read.
        readings: list of (character, probability in [0, 1]), best first; may be empty.
        title: the line above the picture, usually the file name.
        unsure: True marks the answer as unsure.

    Returns:
        uint8 BGR (440, 880, 3).
    """
    width, height = PANEL_SIZE
    panel = np.full((height, width, 3), BACKGROUND, np.uint8)
    x, y, w, h = picture_box()
    put_text(panel, title, x, y - 15, 12, room=width - 2 * x)
    _card(panel, (x, y, w, h))
    _paste(panel, picture, (x, y, w, h))
    _draw_answer(panel, x + w + 32, y, image, readings, unsure)
    return panel


def picture_box():
    """Where the picture goes in a panel: (x, y, width, height)."""
    edge, head, right = 24, 52, 408
    return edge, head, PANEL_SIZE[0] - 2 * edge - right, PANEL_SIZE[1] - edge - head


def _draw_answer(panel, x, y, image, readings, unsure):
    """The right part, 376 px wide: image and answer above, the bars below."""
    side = 168  # 6 px for each of the 28
    _fill(panel, x, y, side, side, TRACK)
    if image is not None:
        _paste(panel, grey_to_bgr(image), (x, y, side, side), NEAREST)
    put_text(panel, "the network saw", x + side / 2, y + 190, 9, MUTED, align=0.5)
    best = UNSURE if unsure else SURE
    if readings:
        character, middle = readings[0][0], x + 280
        height = 96 if len(character) == 1 else 30
        put_text(panel, character, middle, y + 112, height, align=0.5, room=side)
        put_text(panel, "unsure" if unsure else "", middle, y + 168, 10, UNSURE, 0.5)
        put_text(panel, kind(character), middle, y + 190, 9, MUTED, align=0.5)
    for place, (character, probability) in enumerate(readings[:3]):
        top = y + 222 + 50 * place
        filled = 250 * float(probability)
        put_text(panel, character, x + 18, top + 22, 18, align=0.5, room=50)
        _fill(panel, x + 48, top, 250, 26, TRACK)
        _fill(panel, x + 48, top, filled, 26, MUTED if place else best)
        put_text(panel, percent(probability), x + 376, top + 19, 11, align=1)


def kind(character):
    """Tells 0 from O and l from I in words; '' for anything but a single letter or digit."""
    if len(character) != 1 or not character.isalnum():
        return ""
    return (
        "digit"
        if character.isdigit()
        else f"{'capital' if character.isupper() else 'small'} letter"
    )


def percent(probability):
    """A probability in words: '99.2 %', and never '100.0 %' for what is not certain."""
    rounded = round(100 * float(probability), 1)
    return f"{99.9 if rounded == 100 and probability < 1 else rounded:.1f} %"


def grey_to_bgr(image):
    """The network's image, float (28, 28[, 1]) in [0, 1] -> uint8 BGR (28, 28, 3)."""
    grey = np.asarray(image, np.float32).reshape(np.shape(image)[:2])
    return cv2.cvtColor(np.uint8(np.clip(grey, 0, 1) * 255 + 0.5), cv2.COLOR_GRAY2BGR)


# ------------------------------------------------------------------------------- drawing blocks
def _fill(canvas, x, y, w, h, colour):
    left, top, right, bottom = (max(0, round(edge)) for edge in (x, y, x + w, y + h))
    canvas[top:bottom, left:right] = colour


def _card(canvas, box):
    """A white box with a hairline around it."""
    x, y, w, h = box
    _fill(canvas, x - 1, y - 1, w + 2, h + 2, LINE)
    _fill(canvas, x, y, w, h, CARD)


def _paste(canvas, picture, box, enlarge=CUBIC):
    """The picture into the middle of the box, as large as fits."""
    x, y, w, h = box
    high, wide = picture.shape[:2]
    scale = min(w / wide, h / high)
    wide, high = max(1, min(w, round(wide * scale))), max(1, min(h, round(high * scale)))
    way = cv2.INTER_AREA if scale < 1 else enlarge
    x, y = x + (w - wide) // 2, y + (h - high) // 2
    canvas[y : y + high, x : x + wide] = cv2.resize(picture, (wide, high), interpolation=way)


def put_text(canvas, text, x, y, size, colour=TEXT, align=0, room=None):
    """Text on the baseline y, capitals `size` high, at most `room` wide; align 0 left, 1 right."""
    text = "".join(c if c.isprintable() and (UNICODE or c.isascii()) else "?" for c in text)
    scale = size / 21  # capitals are 21 px high at scale 1
    pen = 1 if UNICODE else max(1, round(1.4 * scale))

    def width(part):
        return cv2.getTextSize(part, cv2.FONT_HERSHEY_SIMPLEX, scale, pen)[0][0]

    shown, keep = text, len(text)
    while room is not None and width(shown) > room and keep > 2:
        keep -= 1 + keep // 20
        # More of the end, where the names of pictures in one folder differ.
        shown = text[: keep // 3] + "..." + text[len(text) - keep + keep // 3 :]
    place = round(x - align * width(shown)), round(y)
    cv2.putText(canvas, shown, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, pen, cv2.LINE_AA)


# -------------------------------------------------------------------------------- contact sheet
def contact_sheet(entries):
    """All pictures of a run with their readings in one.

    Args:
        entries: any iterable of (picture, image, readings, name, unsure) as in `draw_panel`, walked
            once. Only finished cells are kept, 148 kB each: give a generator that reads one picture
            after the other, and 1,000 pictures of any size take 300 MB.

    Returns:
        uint8 BGR (height, width, 3), 1200 px wide for 5 to 30 entries; for more no ribbon, but
        about as many columns as rows.
    """
    cells = [_draw_cell(*entry) for entry in entries]
    count, (width, height) = max(1, len(cells)), CELL
    columns = min(count, SHEET_COLUMNS) if count <= 30 else round(count**0.5)
    shape = -(-count // columns) * height + 2 * SHEET_EDGE, columns * width + 2 * SHEET_EDGE, 3
    sheet = np.full(shape, BACKGROUND, np.uint8)
    for place, cell in enumerate(cells):
        y, x = SHEET_EDGE + place // columns * height, SHEET_EDGE + place % columns * width
        sheet[y : y + height, x : x + width] = cell
    return sheet


def _draw_cell(picture, image, readings, name, unsure):
    """One picture of the sheet, uint8 BGR (212, 232, 3)."""
    cell = np.full((CELL[1], CELL[0], 3), BACKGROUND, np.uint8)
    w, h = PREVIEW
    x, y = (CELL[0] - w) // 2, 10
    _card(cell, (x, y, w, h + 48))
    _paste(cell, picture, (x + 6, y + 6, w - 12, h - 12))
    if image is not None:  # in the corner, 2 px for each of the 28
        _fill(cell, x + w - 65, y + h - 25, 62, 62, CARD)
        _paste(cell, grey_to_bgr(image), (x + w - 62, y + h - 22, 56, 56), NEAREST)
    answer, said = "-", "not read"
    if readings:
        answer, said = readings[0][0], percent(readings[0][1]) + (", unsure" if unsure else "")
    put_text(cell, answer, x + 24, y + h + 36, 24, align=0.5, room=42)
    put_text(cell, said, x + 50, y + h + 18, 9, UNSURE if unsure else SURE, room=w - 116)
    put_text(cell, name, x + 50, y + h + 36, 8, MUTED, room=w - 116)
    return cell


# -------------------------------------------------------------------------------------- windows
def has_display():
    """True where a window can be opened; never raises and never ends the process.

    On Linux, Qt aborts the process (exit code 134) when it cannot open the display that DISPLAY or
    WAYLAND_DISPLAY names, or has no plugin for it. So a child process tries first (0.15 s).
    """
    if not getattr(cv2, "currentUIFramework", lambda: "unknown")():
        return False  # opencv-python-headless
    if sys.platform in ("darwin", "win32"):
        return True
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    if os.environ.get("DISPLAY"):  # else Qt speaks of Wayland's plugin, which the wheel lacks
        os.environ.pop("XDG_SESSION_TYPE", None)
    no_core_dump = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"
    program = f"{no_core_dump}; import cv2; cv2.namedWindow('?'); os._exit(0)"
    trial = [sys.executable, "-P", "-c", program]  # -P: no module of the folder it is started in
    try:
        return subprocess.run(trial, capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def show(panel_at, count, save_path):
    """Shows panels until the last was passed, q, Esc, or the window is closed by its cross.

    Any key goes on, Backspace one back, s saves the shown panel as a PNG.

    Args:
        panel_at: function of an index in range(count) -> panel, uint8 BGR; called when it is shown.
        count: number of panels.
        save_path: function of an index -> path for its PNG; a name in use gets a number behind it.
    """
    index = 0
    try:
        while 0 <= index < count:
            panel, place = panel_at(index), f"{index + 1}/{count}"
            note, key = SHOW_KEYS, "s"
            while key == "s":
                display(with_foot(panel, note, place), f"{WINDOW} ({place})")
                while not (key := read_key(POLL_MS)):
                    pass
                if key == "s":
                    note = save_png(save_path(index), panel)
            if key == "q":
                return
            index = max(0, index - 1) if key == "back" else index + 1
    finally:
        cv2.destroyAllWindows()


def save_png(path, picture):
    """Writes `name.png`, or the first free of `name-2.png`, ...; returns what to tell about it.

    Marked as an answer, to a picture that cannot be: `demo.py notes/*` must not read it.
    """
    path, data = Path(path), answers.png(picture)
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    try:
        answers.make_folder(path.parent)
        free = next(name for name in itertools.chain([path], numbered) if not name.exists())
        answers.write_new(free, answers.as_overview(data, free))
        return f"saved as {free}"
    except OSError as error:
        return f"not saved: {error.strerror}"


def with_foot(panel, left, right):
    """The panel with a line of text below it."""
    width = panel.shape[1]
    foot = np.full((FOOT, width, 3), TRACK, np.uint8)
    put_text(foot, left, 24, 19, 9, MUTED, room=width - 140)
    put_text(foot, right, width - 24, 19, 9, MUTED, align=1)
    return np.vstack([panel, foot])


def display(picture, title):
    """Puts the picture into the window; opens and places it first where it is not there."""
    global _resizes_left
    opens = not _is_open()
    if opens:
        _resizes_left = RESIZES
        if not os.path.isdir(os.environ.get("QT_QPA_FONTDIR", ".")):  # the wheel names a folder it
            os.environ["QT_QPA_FONTDIR"] = os.path.dirname(cv2.__file__)  # lacks: ten warnings
        cv2.namedWindow(WINDOW, cv2.WINDOW_AUTOSIZE | cv2.WINDOW_GUI_NORMAL)
    cv2.imshow(WINDOW, picture)
    cv2.setWindowTitle(WINDOW, title)
    if opens:
        screen, title_bar = _screen_size(), 40
        room = screen[0] - picture.shape[1], screen[1] - picture.shape[0] - title_bar
        cv2.moveWindow(WINDOW, *(max(0, min(pair)) for pair in zip(POSITION, room, strict=True)))


def _screen_size():
    """(width, height) of the screen in pixels; 1920x1080 where only a GUI library could tell."""
    if sys.platform == "win32":
        return tuple(map(ctypes.windll.user32.GetSystemMetrics, (0, 1)))
    try:
        if sys.platform == "darwin":  # in points, as windows are placed
            mac = ctypes.CDLL("/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics")
            screen = mac.CGMainDisplayID()
            return mac.CGDisplayPixelsWide(screen), mac.CGDisplayPixelsHigh(screen)
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return 1920, 1080
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = ctypes.c_void_p(x11.XOpenDisplay(None))
    if not display:
        return 1920, 1080
    size = x11.XDisplayWidth(display, 0), x11.XDisplayHeight(display, 0)
    x11.XCloseDisplay(display)
    return size


def _is_open():
    try:
        visible = cv2.getWindowProperty(WINDOW, cv2.WND_PROP_VISIBLE)
    except cv2.error:  # Qt, once its last window was closed; a Mac, where there is none
        return False
    # A Mac's own windows have no cross; 0 is one that is minimised, elsewhere one that is closed.
    return visible >= (0 if cv2.currentUIFramework() == "COCOA" else 1)


def _keep_size():
    """Mends a window that hears late of the few pixels it was created with: Qt takes that for new.

    The picture would stay that small, and the mouse unheard beside it. Not for ever: a desktop
    of tiles decides on sizes itself.
    """
    global _resizes_left
    size = PANEL_SIZE[0], PANEL_SIZE[1] + FOOT
    if sys.platform == "linux" and _resizes_left and cv2.getWindowImageRect(WINDOW)[2:] != size:
        _resizes_left -= 1
        cv2.resizeWindow(WINDOW, *size)


def read_key(wait_ms):
    """The key pressed within wait_ms: a name, a lower-case character, or '' for none.

    'q' stands for Esc and for a closed window too. Not waitKey: it cuts codes to 8 bits, which
    makes the left arrow a Q.
    """
    code = cv2.waitKeyEx(wait_ms)
    if not _is_open():
        return "q"
    _keep_size()
    if code == -1:
        return ""
    code &= 0xFFFFFF if sys.platform == "win32" else 0xFFFF  # above: Shift, Ctrl, Num Lock
    return NAMED_KEYS.get(code, chr(code).lower() if code < 128 else "other")
