"""loading.py with real files, in real processes and threads."""

import errno
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import conftest
import cv2
import numpy as np
import pytest
from PIL import Image

import loading


@pytest.fixture
def folder(tmp_path):
    """Thirty pictures of bars, each of another width; a blank one, a broken one, a JPEG."""
    for number in range(30):
        page = np.full((40, 40 + number, 3), 250, np.uint8)
        page[8:32, 10 : 13 + number // 3] = 40, 60, number
        cv2.imwrite(str(tmp_path / f"{number}.png"), page)
    cv2.imwrite(str(tmp_path / "3.png"), np.full((40, 40, 3), 250, np.uint8))
    cv2.imwrite(str(tmp_path / "31.jpg"), page)
    (tmp_path / "7.png").write_bytes(b"no picture")
    return tmp_path


def loaded(folder, between=lambda: None):
    """All entries; `between` is called once the first batch is there."""
    entries = loading.list_pictures([str(folder)])
    with loading.converted(entries) as batches:
        taken = list(next(batches))
        between()
        for batch in batches:
            taken += batch
    assert [id(entry) for entry in taken] == [id(entry) for entry in entries]
    return entries


def content(entries):
    return [
        (e.file, e.error, e.content, e.notes, None if e.image is None else e.image.tobytes())
        for e in entries
    ]


@pytest.mark.parametrize("ending", [".apng", ".j2k", ".JPG", ".jpeg", ".tif", ".webp"])
def test_pictures_of_common_and_rare_endings_are_found_in_a_folder(ending, tmp_path):
    file = tmp_path / f"x{ending}"
    file.touch()
    (entry,) = loading.list_pictures([str(tmp_path)])
    assert entry.file == str(file)


def test_a_folder_that_cannot_be_looked_into_is_named(folder, monkeypatch):
    def refused(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    file = str(folder / "0.png")
    monkeypatch.setattr(os, "listdir", refused)
    entries = loading.list_pictures([str(folder), file])
    told = [(entry.file, entry.error) for entry in entries]
    assert told == [(str(folder), "Permission denied"), (file, None)]
    with loading.converted(entries) as batches:
        assert [entry.error for entry in next(batches)] == ["Permission denied", None]


@pytest.mark.skipif(os.name == "nt", reason="Windows asks before it makes links")
def test_a_linked_folder_s_pictures_are_the_same_pictures(folder, tmp_path_factory):
    link = tmp_path_factory.mktemp("other") / "link"
    link.symlink_to(folder)
    entries = loading.list_pictures([str(link), str(folder), str(link / "0.png")])
    assert len(entries) == 31 and {os.path.dirname(entry.file) for entry in entries} == {str(link)}


def test_names_sort_by_their_numbers_and_other_scripts_digits_are_letters():
    names = ["2.png", "A10.png", "a9.png", "\u06631.png"]  # Arabic: 3
    assert sorted(names, key=loading.natural_order) == ["2.png", "a9.png", *names[1::2]]


def test_processes_make_the_same_of_files_as_threads(folder, monkeypatch):
    monkeypatch.setattr(loading, "WORKERS", 2)
    by_threads = loaded(folder)
    assert not multiprocessing.active_children()
    assert [bool(entry.error) for entry in by_threads] == [n in (3, 7) for n in range(31)]
    assert by_threads[7].error == "not a picture that OpenCV can read"
    assert all(entry.content.startswith(b"\x89PNG") for entry in by_threads if not entry.error)

    monkeypatch.setattr(loading, "MANY", 31)
    monkeypatch.setattr(loading, "BATCH", 4)
    seen = []
    by_processes = loaded(folder, lambda: seen.extend(multiprocessing.active_children()))
    assert len(seen) == 2 and not multiprocessing.active_children()
    assert content(by_processes) == content(by_threads)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity there")
def test_workers_are_no_more_than_the_cores_that_may_be_used():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import loading"
    line = [sys.executable, "-c", code + "; print(loading.WORKERS)"]
    assert subprocess.check_output(line, cwd=conftest.ROOT) == b"1\n"


def test_ctrl_c_is_for_the_first_process_alone(monkeypatch):
    monkeypatch.setattr(loading, "WORKERS", 2)
    with loading._pool(loading.MANY) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN


def page_faults(files):
    import resource  # Windows has none

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    loading._load_all(files)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory of glibc")
def test_workers_keep_their_memory_from_picture_to_picture(folder):
    files = [str(path) for path in folder.glob("*.png")]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=loading._begin_worker) as pool:
        pool.submit(page_faults, files).result()  # the first time all is new
        assert pool.submit(page_faults, files).result() < 10 * len(files)


def test_dead_workers_lose_nothing(folder, monkeypatch):
    expected = content(loaded(folder))
    for name, value in {"MANY": 1, "WORKERS": 2, "BATCH": 4, "AHEAD": 8, "JOB": 2}.items():
        monkeypatch.setattr(loading, name, value)

    def kill():
        workers = multiprocessing.active_children()
        assert len(workers) == 2
        for worker in workers:
            worker.kill()

    assert content(loaded(folder, kill)) == expected


def test_what_a_worker_fails_at_is_made_here(folder, monkeypatch):
    expected, failed, load = content(loaded(folder)), [], loading.load

    def failing(file):
        if threading.current_thread() is not threading.main_thread() and "9.png" in file:
            failed.append(file)
            raise MemoryError
        return load(file)

    monkeypatch.setattr(loading, "load", failing)
    assert content(loaded(folder)) == expected and len(failed) == 3


def test_an_early_end_waits_for_nothing_that_is_not_begun(folder, monkeypatch):
    begun = []
    monkeypatch.setattr(loading, "WORKERS", 2)
    monkeypatch.setattr(loading, "load", lambda file: begun.append(file) or time.sleep(0.1))
    entries = loading.list_pictures([str(folder)])
    with pytest.raises(KeyboardInterrupt), loading.converted(entries):
        raise KeyboardInterrupt
    assert len(begun) <= 6 < len(entries)


def test_threads_where_the_system_has_no_processes(monkeypatch):
    def lacking(*_, **__):
        raise NotImplementedError("no semaphores")

    monkeypatch.setattr(loading, "MANY", 1)
    monkeypatch.setattr(loading, "WORKERS", 2)
    monkeypatch.setattr(loading.concurrent.futures, "ProcessPoolExecutor", lacking)
    assert isinstance(loading._pool(100), ThreadPoolExecutor)


def test_without_a_thread_to_be_had_all_is_made_here(folder, monkeypatch):
    expected = content(loaded(folder))

    def lacking(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", lacking)
    assert content(loaded(folder)) == expected


@pytest.mark.parametrize("name, limit, most", [("AHEAD", 6, 6), ("AHEAD_BYTES", 1, 3)])
def test_no_more_is_begun_than_there_is_room_for(folder, monkeypatch, name, limit, most):
    begun = []
    monkeypatch.setattr(loading, "load", lambda file: begun.append(file) or (None, None, (), b""))
    for constant, value in {"WORKERS": 2, "BATCH": 1, name: limit}.items():
        monkeypatch.setattr(loading, constant, value)
    with loading.converted(loading.list_pictures([str(folder)])) as batches:
        for taken in range(5):
            deadline = time.monotonic() + 10
            while len(begun) < most + taken and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.05)
            assert len(begun) == most + taken
            next(batches)


def test_large_files_are_jobs_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "JOB_BYTES", 100)
    entries = []
    for number, size in enumerate((10, 10, 10, 300, 10, 95)):
        (tmp_path / f"{number}").write_bytes(bytes(size))
        entries.append(loading.Entry(str(tmp_path / f"{number}")))
    jobs = [(len(job), size) for job, size in loading._jobs(entries, 2)]
    assert jobs == [(2, 20), (1, 10), (1, 300), (1, 10), (1, 95)]


PAGE = np.full((40, 40, 3), 250, np.uint8)
PAGE[8:32, 10:16] = 40, 60, 0


AVIF = pytest.param(
    ".avif", marks=pytest.mark.skipif(not cv2.haveImageWriter("x.avif"), reason="has no AVIF")
)


@pytest.mark.parametrize("ending", [".tif", ".gif", ".png", ".webp", AVIF])
def test_of_several_pages_or_frames_it_is_said_that_one_is_read(ending, tmp_path):
    one, more = Image.fromarray(PAGE), [Image.fromarray(PAGE[:, ::-1])] * 2
    for file, pages, notes in (("one", [], []), ("x", more, ["one page or frame of several"])):
        file = str(tmp_path / f"{file}{ending}")
        one.save(file, save_all=bool(pages), append_images=pages)
        assert loading.look(file)[2] == notes


def test_all_that_is_to_be_known_of_a_picture_is_said(tmp_path):
    page = Image.fromarray(np.hstack([PAGE, PAGE]))
    page.save(tmp_path / "x.tif", save_all=True, append_images=[page])
    notes = loading.look(str(tmp_path / "x.tif"))[2]
    assert notes == ["several characters?", "one page or frame of several"]


def test_of_several_pages_in_the_other_order_of_bytes_it_is_said_that_one_is_read(tmp_path):
    pages = [Image.fromarray((p[..., 0].astype(np.uint16) * 257).astype(">u2")) for p in [PAGE] * 2]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    assert (tmp_path / "x.tif").read_bytes().startswith(b"MM")
    assert loading.look(str(tmp_path / "x.tif"))[2] == ["one page or frame of several"]


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("smaller", [1, 0])  # TIFF's NewSubfileType
def test_a_thumbnail_in_a_tiff_is_no_page(smaller, order, tmp_path):
    page = Image.fromarray((PAGE[..., 0].astype(np.uint16) * 257).astype(order))
    second = page.resize((10, 10)) if order == "<u2" else page
    second.encoderinfo = {"tiffinfo": {254: smaller}}
    page.save(tmp_path / "x.tif", save_all=True, append_images=[second])
    assert (tmp_path / "x.tif").read_bytes()[:2] == {"<u2": b"II", ">u2": b"MM"}[order]
    assert len(loading.look(str(tmp_path / "x.tif"))[2]) == 1 - smaller
