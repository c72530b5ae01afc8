"""Which images an epoch is made of, where it is not each one once."""

from __future__ import annotations

import numpy as np

from cnnlab.data.source import Indices, Labels
from cnnlab.randomness import generator


def balanced(labels: Labels, seed: int, epoch: int) -> Indices:
    """As many images as there are, as many of each class, in an order that depends on (seed, epoch) alone.

    Images of a small class come several times, those of a large one not each time: of two images of one class
    neither comes more than once more often than the other. Where the classes don't divide the images, some that are
    drawn get one image more.

    >>> labels = np.array([0, 0, 0, 0, 0, 1])
    >>> np.bincount(labels[balanced(labels, seed=0, epoch=0)]).tolist()
    [3, 3]
    """
    draws = generator(seed, "sampling", epoch)
    classes = draws.permutation(np.unique(labels))
    found = []
    for number, label in enumerate(classes):
        own = np.flatnonzero(labels == label)
        count = len(labels) // len(classes) + (number < len(labels) % len(classes))
        rounds = [draws.permutation(own) for _ in range(-(-count // len(own)))]
        found.append(np.concatenate(rounds)[:count])
    return np.concatenate(found).astype(np.int64)
