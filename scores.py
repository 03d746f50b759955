"""What answers are worth: counts of confusions, accuracy in its variants, figures class by class.

All from probabilities, float (n, classes), and labels, int (n,); only numpy.
"""

import numpy as np


def confusion(probabilities, labels):
    """How often each class was read as each: int (classes, classes), rows are what it was."""
    classes = probabilities.shape[1]
    pairs = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def figures(probabilities, labels, characters):
    """The usual scores.

    Returns:
        Dict of floats in [0, 1]: "top 1", "top 2", "top 3"; "case ignored", where c for C is right;
        "macro F1", the mean over all classes that occur.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")  # of equal ones the first, as argmax
    ranks = (order == labels[:, None]).argmax(axis=1)
    folded = np.array([character.lower() for character in characters])
    _, _, f1, support = per_class(confusion(probabilities, labels))
    return {
        **{f"top {n}": float((ranks < n).mean()) for n in (1, 2, 3)},
        "case ignored": float((folded[probabilities.argmax(axis=1)] == folded[labels]).mean()),
        "macro F1": float(f1[support > 0].mean()),
    }


def per_class(counts):
    """Confusion counts (classes, classes) -> precision, recall, F1, support, each (classes,).

    Precision is 0 for a class that was never read, recall for one that never occurs.
    """
    right, read, support = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    precision, recall = right / np.maximum(read, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(read + support, 1)
    return precision, recall, f1, support


def surest_errors(probabilities, labels, count):
    """Indices of the wrong answers with the highest confidence, the surest first, int (n,)."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")[:count]]
