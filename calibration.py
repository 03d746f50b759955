"""What a confidence is worth: calibration error, and the temperature that makes it small.

Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017.
"""

import numpy as np

COLDEST, HOTTEST = 0.05, 20.0  # temperatures, between which the best is sought
FEWEST = 30  # images: with fewer, one wrong label can make every answer unsure
BINS = 15  # of equal width, for the calibration error


def fit_temperature(probabilities, labels):
    """The T for which softmax(logits / T) gives the labels the highest likelihood.

    Args:
        probabilities: float (n, classes), softmax(logits), of data that was not trained on.
        labels: int (n,).

    Returns:
        T, float: above 1 where the network is too sure of itself. 1 where the images cannot tell:
        fewer than FEWEST, or all of them read right, with which T would go to its limit.
    """
    logits = np.log(np.maximum(probabilities, 1e-30).astype(np.float64))  # up to a constant a row
    wanted = logits[np.arange(len(labels)), labels].mean()
    if len(labels) < FEWEST or (logits.argmax(axis=1) == labels).all():
        return 1.0
    # The likelihood has one peak in 1/T: where the expected logit is the label's.
    low, high = 1 / HOTTEST, 1 / COLDEST
    while high - low > 1e-4:
        middle = (low + high) / 2
        scaled = with_temperature(probabilities, 1 / middle)
        if (scaled * logits).sum(axis=1).mean() < wanted:
            low = middle
        else:
            high = middle
    return 2 / (low + high)


def with_temperature(probabilities, temperature):
    """softmax(logits) (n, classes) -> softmax(logits / T), float64 of the same shape."""
    scaled = np.maximum(probabilities, 1e-30).astype(np.float64) ** (1 / temperature)
    return scaled / scaled.sum(axis=1, keepdims=True)


def log_likelihood(probabilities, labels):
    """The mean of log p(label): probabilities (n, classes) above 0, labels (n,) -> float."""
    return float(np.log(probabilities[np.arange(len(labels)), labels]).mean())


def calibration_error(confidences, right):
    """Expected calibration error: how far confidence and accuracy are apart, over BINS bins.

    Args:
        confidences: float (n,) in [0, 1].
        right: bool (n,), whether each answer was right.

    Returns:
        float in [0, 1]: the mean distance, weighted by the bins' counts.
    """
    bins = np.minimum((confidences * BINS).astype(int), BINS - 1)
    gaps = [
        abs(confidences[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in range(BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))
