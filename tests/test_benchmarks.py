"""What the benchmarks of weights share: the classes of a set found among a network's outputs."""

import sys

import numpy as np
import pytest
from conftest import ROOT

from data import Data
from model import CHARACTERS

sys.path.append(str(ROOT / "tests" / "benchmarks"))

from validate import outputs_of


def of_classes(characters):
    """A set with an image of each class that is used."""
    used = np.flatnonzero([*characters])
    some = np.zeros((len(used), 28, 28, 1), np.uint8), used
    return Data("some/1.0.0", [*characters], some, some, None, "made up")


@pytest.mark.parametrize("classes", [CHARACTERS, CHARACTERS[:10], "ba", ["", "A", "B", ""]])
def test_a_set_s_classes_are_found_among_the_outputs_by_their_names(classes):
    """MNIST has fewer than the shipped weights, EMNIST letters and sets of one's own others."""
    loaded = of_classes(classes)
    found = outputs_of(loaded, [*CHARACTERS])[loaded.validation[1]]
    assert [CHARACTERS[output] for output in found] == [each for each in classes if each]


def test_a_class_that_the_weights_do_not_know_is_one_line():
    with pytest.raises(SystemExit, match="^some/1.0.0: the weights do not know its classes dog ä$"):
        outputs_of(of_classes(["a", "dog", "ä"]), [*CHARACTERS])
