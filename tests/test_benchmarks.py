"""The benchmarks of weights: classes found among a network's outputs, readings scored."""

import argparse
import importlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from conftest import ROOT
from test_data import IMAGE_AND_CLASS, numbered

import data
import model
from model import CHARACTERS

sys.path.append(str(ROOT / "tests" / "benchmarks"))

import demo_speed
import score
import time_to_accuracy
from validate import outputs_of


def of_classes(characters):
    """A set with an image of each class that is used."""
    used = np.flatnonzero([*characters])
    some = np.zeros((len(used), 28, 28, 1), np.uint8), used
    return data.Data("some/1.0.0", [*characters], some, some, None, "made up")


@pytest.mark.parametrize("classes", [CHARACTERS, CHARACTERS[:10], "ba", ["", "A", "B", ""]])
def test_a_set_s_classes_are_found_among_the_outputs_by_their_names(classes):
    """MNIST has fewer than the shipped weights, EMNIST letters and sets of one's own others."""
    loaded = of_classes(classes)
    found = outputs_of(loaded, [*CHARACTERS])[loaded.validation[1]]
    assert [CHARACTERS[output] for output in found] == [each for each in classes if each]


def test_a_class_that_the_weights_do_not_know_is_one_line():
    with pytest.raises(SystemExit, match="^some/1.0.0: the weights do not know its classes dog ä$"):
        outputs_of(of_classes(["a", "dog", "ä"]), [*CHARACTERS])


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_labels_that_excel_saved_are_labels_too(mark, tmp_path, monkeypatch, capsys):
    files = tmp_path / "out.csv", tmp_path / "labels.csv"
    head = "file,character,confidence,second,third,note\n"
    files[0].write_text(f"{head}notes/1.png,A,0.9,4,R,\nnotes/2.png,o,0.5,O,0,\n", "utf-8")
    labels = "file,character\n1.png,A\n2.png,O\n3.png,x\n"
    files[1].write_text(mark + labels, "utf-8")
    monkeypatch.setattr(sys, "argv", ["score.py", *map(str, files)])
    score.main()
    told = capsys.readouterr().out
    assert "3, of which 1 were not read" in told and "1  O read as o" in told
    assert [*map(float, re.findall("([0-9.]+) %", told))] == [33.33, 66.67, 66.67, 30.0]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("", "has no columns file and character"),
        ("file;character\n1.png;A\n", "has no columns file and character"),  # some Excels'
        ("file,character\n", "no labels"),
    ],
)
def test_labels_that_are_none_are_one_line(labels, reason, tmp_path, monkeypatch):
    files = tmp_path / "out.csv", tmp_path / "labels.csv"
    files[0].write_text("file,character,confidence,second,third,note\n1.png,A,0.9,4,R,\n", "utf-8")
    files[1].write_text(labels, "utf-8")
    monkeypatch.setattr(sys, "argv", ["score.py", *map(str, files)])
    with pytest.raises(SystemExit, match=f"labels.csv: {reason}"):
        score.main()


def test_the_ancestor_s_recipe_learns_a_set_of_one_s_own(tmp_path, monkeypatch):
    """Which need not say what its images and labels are called."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name="my_letters",
        version="1.0.0",
        features=tfds.features.FeaturesDict(IMAGE_AND_CLASS),
        split_datasets={name: [(k, numbered(k)) for k in range(20)] for name in ("train", "test")},
        data_dir=tmp_path,
    )
    monkeypatch.setattr(model, "ResNet_inference", model.LeNet_inference)  # sooner
    settings = {"dataset": "my_letters", "data_dir": tmp_path, "baseline_epochs": 1, "seed": [1]}
    done = time_to_accuracy.train_ancestor(argparse.Namespace(**settings, began=0))
    assert [epoch["images"] for epoch in done["epochs"]] == [20]


def test_a_table_that_nobody_reads_to_its_end_is_no_failure(tmp_path):
    (tmp_path / "same.csv").write_text("file,character,confidence,second,third\n1.png,A,0.9,4,R\n")
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -1` does
    command = [sys.executable, ROOT / "tests" / "benchmarks" / "score.py", *["same.csv"] * 2]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, cwd=tmp_path)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("validate", ["none.weights.h5"], "none.weights.h5: missing"),
        ("average", ["none.weights.h5", "--out", "mean.weights.h5"], "none.weights.h5: missing"),
        ("round_trip", ["none.weights.h5", "--dataset", "none"], "none: no dataset of this name"),
        ("ablation", ["--dataset", "none", "--out", "."], "none: no dataset of this name"),
    ],
)
def test_weights_and_data_that_are_not_there_are_one_line(
    name, options, reason, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", data.load)  # ablation.py has another for good
    monkeypatch.setattr(sys, "argv", [name, *options])
    with pytest.raises(SystemExit, match=f"^{reason}"):
        runpy.run_path(str(ROOT / "tests" / "benchmarks" / f"{name}.py"), run_name="__main__")


def test_weights_of_other_classes_have_no_mean(tmp_path, monkeypatch, capsys):
    shipped = ROOT / "checkpoints" / "shipped" / "ResNet.weights.h5"
    for name, classes in (("a", CHARACTERS), ("b", CHARACTERS[::-1])):
        shutil.copy(shipped, tmp_path / f"{name}.weights.h5")
        about = json.loads(shipped.with_name("ResNet.json").read_text("utf-8"))
        about["characters"] = [*classes]
        (tmp_path / f"{name}.json").write_text(json.dumps(about), "utf-8")
    files = [str(tmp_path / f"{name}.weights.h5") for name in ("a", "b", "mean")]
    monkeypatch.setattr(sys, "argv", ["average.py", *files[:2], "--out", files[2]])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / "tests" / "benchmarks" / "average.py"), run_name="__main__")
    assert "different networks or classes" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["conftest", "test_train", "xvfb"])
def test_what_the_benchmarks_take_from_the_tests_is_there(name):
    """Most of them take minutes, and are run by hand."""
    texts = [path.read_text("utf-8") for path in (ROOT / "tests" / "benchmarks").glob("*.py")]
    taken = set(re.findall(rf"(?<![\w.]){name}\.(\w+)", "\n".join(texts)))
    assert taken and taken <= set(dir(importlib.import_module(name)))


@pytest.mark.parametrize("option", [["--count", "1"], ["--repeats", "0"], ["--memory", "10", "-1"]])
def test_a_number_that_measures_nothing_is_refused(option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo_speed.py", *option])
    with pytest.raises(SystemExit) as end:
        demo_speed.main()
    assert end.value.code == 2
    assert re.search(
        f"{option[0]}: '.+': must be a whole number, . or more$", capsys.readouterr().err
    )
