"""Where to put the labels of points so that they can be read."""

from __future__ import annotations

import numpy as np

from attribot.types import FloatArray

# Right, left, above, below, then the diagonals: the order in which equal places are preferred.
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def place_labels(
    anchors: FloatArray, sizes: FloatArray, obstacles: FloatArray, bounds: FloatArray, step: float
) -> FloatArray:
    """Lower left corners `[num_labels, 2]` of labels, placed one by one where they cover least.

    Each label tries eight directions around its anchor at growing distances and takes the first
    place that lies inside the bounds and covers neither an obstacle nor an earlier label; where
    there is none, the place that covers the least area.

    anchors: `[num_labels, 2]` points to label. sizes: `[num_labels, 2]` width and height.
    obstacles: `[num_obstacles, 4]` boxes (left, bottom, right, top) to keep free.
    bounds: `[4]` box that labels should stay in.
    step: distance between a point and the nearest label, and its increment. All in pixels.
    """
    boxes = obstacles.reshape(-1, 4)
    corners = np.zeros_like(anchors)
    for label, (anchor, size) in enumerate(zip(anchors, sizes, strict=True)):
        places = np.array(
            [
                anchor + np.multiply(direction, size / 2 + step * distance) - size / 2
                for distance in range(1, 9)
                for direction in _DIRECTIONS
            ]
        )
        candidates = np.hstack([places, places + size])
        outside = size.prod() - _overlap(candidates, bounds[None])[:, 0]
        covered = _overlap(candidates, boxes).sum(axis=1) + 10 * outside
        best = int(np.argmin(np.round(covered, 6)))
        corners[label] = places[best]
        boxes = np.vstack([boxes, candidates[best]])
    return corners


def _overlap(first: FloatArray, second: FloatArray) -> FloatArray:
    """`[n, m]` area that each of the boxes `[n, 4]` shares with each of `[m, 4]`."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))
