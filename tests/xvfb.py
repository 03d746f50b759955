"""A virtual screen, a program's window on it, and a person in front of it: Xvfb and xdotool."""

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import time

MISSING = [name for name in ("Xvfb", "xdotool") if not shutil.which(name)]
if sys.platform != "linux":
    MISSING = ["Linux"]


@contextlib.contextmanager
def virtual_screen():
    """A screen of 1920x1080; gives its DISPLAY."""
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "1920x1080x24"]
    command += ["-nolisten", "tcp"]
    command += ["-noreset"]  # else it refuses connections for a moment after its last client left
    server = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        display = f":{pipe.readline().strip()}"
    try:
        yield display
    finally:
        server.terminate()
        server.wait(10)


class Window:
    """The window named monitor of a process that was started on the display."""

    def __init__(self, process, display):
        self.process, self.display = process, display
        self.id = self.wait_until(self._find, seconds=60)  # TensorFlow may have to start
        self.wait_until(lambda: self.geometry() == (960, 540, 880, 468))
        self.xdotool("mousemove", "1300", "985")  # over the foot: keys go to the window below it
        time.sleep(0.2)

    def xdotool(self, *words):
        done = subprocess.run(
            ["xdotool", *map(str, words)],
            env=os.environ | {"DISPLAY": self.display},
            capture_output=True,
            text=True,
            timeout=20,
        )
        return done.stdout

    def _find(self):
        of_it = "--pid", self.process.pid  # not one that is just being closed
        found = self.xdotool("search", "--all", "--onlyvisible", *of_it, "--name", "^monitor")
        return int(found.split()[0]) if found else None

    def geometry(self):
        """(x, y, width, height) on the screen."""
        lines = self.xdotool("getwindowgeometry", "--shell", self.id).splitlines()
        values = dict(line.split("=") for line in lines)
        return tuple(int(values.get(name, -1)) for name in ("X", "Y", "WIDTH", "HEIGHT"))

    def title(self):
        return self.xdotool("getwindowname", self.id).strip()

    def wait_until(self, true, seconds=20):
        """Polls until the function gives something true, and returns that."""
        end = time.monotonic() + seconds
        while not (value := true()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.03)
        return value

    def close_by_cross(self):
        """What a window manager sends when its cross is clicked: WM_DELETE_WINDOW."""
        # XClientMessageEvent: type, serial, send_event, display, window, message, format, data
        self._send(33, 0, 1, 0, self.id, "WM_PROTOCOLS", 32, "WM_DELETE_WINDOW")

    def tell_size(self, width, height):
        """Tells the program, but not the screen, of another size of its window."""
        # XConfigureEvent: as above up to display, event, window, x and y, width and height
        x_y, size = 960 | 540 << 32, width | height << 32
        self._send(22, 0, 1, 0, self.id, self.id, x_y, size)

    def _send(self, *words):
        """Sends an event of X11's, in words of 64 bits; texts are the names of atoms."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype, x11.XInternAtom.restype = ctypes.c_void_p, ctypes.c_ulong
        display = ctypes.c_void_p(x11.XOpenDisplay(self.display.encode()))
        event = (ctypes.c_long * 24)(
            *(x11.XInternAtom(display, w.encode(), 0) if isinstance(w, str) else w for w in words)
        )
        x11.XSendEvent(display, ctypes.c_ulong(self.id), 0, ctypes.c_long(0), ctypes.byref(event))
        x11.XSync(display, 0)
        x11.XCloseDisplay(display)

    def end(self):
        """(exit code, lines of stdout, stderr) of the program, which must end by itself."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out.splitlines(), err
