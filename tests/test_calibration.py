"""Calibration: the temperature is found again where it is known, and the error is what it says."""

import numpy as np
import pytest

import calibration


def sampled(temperature, seed=0, n=20_000, classes=10):
    """Probabilities whose logits are `temperature` times too large, and labels drawn honestly."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, classes))
    honest = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (rng.random((n, 1)) < honest.cumsum(1)).argmax(1)
    return calibration.with_temperature(honest, 1 / temperature).astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 1.4, 3.0])
def test_a_known_temperature_is_found_and_makes_confidences_honest(temperature):
    probabilities, labels = sampled(temperature)
    # 20,000 labels tell T to about 1 %.
    assert calibration.fit_temperature(probabilities, labels) == pytest.approx(
        temperature, rel=0.05
    )
    honest = calibration.with_temperature(probabilities, temperature)
    assert (honest.argmax(1) == probabilities.argmax(1)).all()
    error = calibration.calibration_error(honest.max(1), honest.argmax(1) == labels)
    assert error < 0.015


def test_outputs_that_are_never_used_do_not_count():
    """emnist/letters has 11 of them, whose probability is exactly 0."""
    probabilities, labels = sampled(1.4)
    with_unused = np.pad(probabilities, [(0, 0), (1, 10)])
    with np.errstate(divide="raise", invalid="raise"):
        temperature = calibration.fit_temperature(with_unused, labels + 1)
        honest = calibration.with_temperature(with_unused, temperature)
    assert temperature == pytest.approx(calibration.fit_temperature(probabilities, labels))
    assert honest[:, [0, *range(11, 21)]].max() < 1e-20


def test_a_network_that_is_never_wrong_keeps_its_confidence():
    probabilities = np.tile(np.eye(3, dtype=np.float32), (10, 1))
    assert calibration.fit_temperature(probabilities, np.array([0, 1, 2] * 10)) == 1


def test_a_network_that_is_surely_wrong_gets_the_highest_temperature():
    probabilities = np.tile(np.eye(3, dtype=np.float32), (10, 1))
    hottest = calibration.fit_temperature(probabilities, np.array([1, 2, 0] * 10))
    assert hottest == pytest.approx(calibration.HOTTEST, rel=0.01)


def test_a_few_images_do_not_set_the_temperature():
    probabilities = np.array([[0.9, 0.1]] * 29 + [[0.001, 0.999]])
    labels = np.zeros(30, int)  # the last one is wrong, or was labelled so
    assert calibration.fit_temperature(probabilities[1:], labels[1:]) == 1
    assert calibration.fit_temperature(probabilities, labels) > 1


def test_the_calibration_error_by_hand():
    # 0.9 sure and right every second time: 0.4 apart; 0.5 sure and right always: 0.5 apart.
    confidences = np.array([0.9, 0.9, 0.5, 0.5])
    right = np.array([True, False, True, True])
    assert calibration.calibration_error(confidences, right) == pytest.approx(0.45)
    confidences[:2] = 1.0
    assert calibration.calibration_error(confidences, right) == pytest.approx(0.5)


def test_the_calibration_error_has_fifteen_bins():
    # 0.61 and 0.69 are in two of fifteen, 0.39 and 0.69 apart; of ten bins in one, 0.15 apart.
    error = calibration.calibration_error(np.array([0.61, 0.69]), np.array([True, False]))
    assert error == pytest.approx((0.39 + 0.69) / 2)


def test_the_log_likelihood_is_that_of_the_labels():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
    labels = np.array([0, 1])
    assert calibration.log_likelihood(probabilities, labels) == pytest.approx(-2 * np.log(2))
