"""Where to put the labels of points so that they can be read and belong to one point only."""

from __future__ import annotations

import numpy as np

from attribot.types import BoolArray, FloatArray

# Right, left, above, below, the diagonals, and between: the order in which equals are preferred.
_DIRECTIONS = (
    *((1, 0), (-1, 0), (0, 1), (0, -1)),
    *((1, 1), (1, -1), (-1, 1), (-1, -1)),
    *((1, 0.5), (1, -0.5), (-1, 0.5), (-1, -0.5), (0.5, 1), (0.5, -1), (-0.5, 1), (-0.5, -1)),
)
_NUM_DISTANCES = 10
_NUM_SWEEPS = 4
_NUM_SAMPLES = 12
# In pixels of distance: what it is worth to cover no square pixel, to keep the line between point
# and label free, and to be nearer to the own point than to any other.
_COVERED, _CROSSED, _AMBIGUOUS = 1e3, 200.0, 100.0


def place_labels(
    anchors: FloatArray, sizes: FloatArray, obstacles: FloatArray, bounds: FloatArray, step: float
) -> FloatArray:
    """Lower left corners `[num_labels, 2]` of labels.

    Each label in turn takes the best of many places around its anchor, and some times more when
    all others stand. Above all a place covers neither an obstacle nor another label and lies inside
    the bounds; then the line to its anchor meets nothing and no other anchor is as near; then it is
    near.

    anchors: `[num_labels, 2]` points to label. sizes: `[num_labels, 2]` width and height.
    obstacles: `[num_obstacles, 4]` boxes (left, bottom, right, top) to keep free.
    bounds: `[4]` box that labels should stay in.
    step: distance between a point and the nearest label, and its increment. All in pixels.
    """
    num_labels = len(anchors)
    obstacles = obstacles.reshape(-1, 4)
    boxes = np.zeros((num_labels, 4))
    is_placed = np.zeros(num_labels, dtype=bool)
    for _ in range(_NUM_SWEEPS):
        for label in range(num_labels):
            is_placed[label] = False
            candidates = _places(anchors[label], sizes[label], step)
            cost = _cost(
                candidates,
                anchors[label],
                np.delete(anchors, label, axis=0),
                np.vstack([obstacles, boxes[is_placed]]),
                _lines(anchors[is_placed], boxes[is_placed]),
                bounds,
                step,
            )
            boxes[label] = candidates[int(np.argmin(np.round(cost, 6)))]
            is_placed[label] = True
    return boxes[:, :2]


def _places(anchor: FloatArray, size: FloatArray, step: float) -> FloatArray:
    """Boxes `[num_places, 4]` around the anchor, nearer ones first."""
    corners = np.array(
        [
            anchor + np.multiply(direction, size / 2 + step * distance) - size / 2
            for distance in range(1, _NUM_DISTANCES + 1)
            for direction in _DIRECTIONS
        ]
    )
    return np.hstack([corners, corners + size])


def _cost(
    candidates: FloatArray,
    anchor: FloatArray,
    others: FloatArray,
    taken: FloatArray,
    lines: FloatArray,
    bounds: FloatArray,
    step: float,
) -> FloatArray:
    """`[num_places]` how bad each place is [pixels of distance]."""
    size = candidates[0, 2:] - candidates[0, :2]
    outside = size.prod() - _overlap(candidates, bounds[None])[:, 0]
    covered = _overlap(candidates, taken).sum(axis=1) + 10 * outside
    own = _lines(np.broadcast_to(anchor, candidates[:, :2].shape), candidates)
    from_anchor = np.hypot(own[..., 0] - anchor[0], own[..., 1] - anchor[1])
    distance = from_anchor[:, 0]
    away = np.clip(others[None], candidates[:, None, :2], candidates[:, None, 2:]) - others
    rival = np.hypot(away[..., 0], away[..., 1]).min(axis=1, initial=np.inf)
    # Close to its anchor a line runs through the anchor's own marker.
    is_met = (_is_inside(own, taken).any(axis=2) & (from_anchor > step)).any(axis=1)
    is_struck = _is_inside(lines.reshape(-1, 2), candidates).any(axis=0)
    return np.asarray(
        _COVERED * covered
        + _CROSSED * (is_met | is_struck)
        + _AMBIGUOUS * (rival <= distance + step)
        + distance
    )


def _lines(anchors: FloatArray, boxes: FloatArray) -> FloatArray:
    """`[num_boxes, num_samples, 2]` points from each box straight to its anchor, which is last."""
    nearest = np.clip(anchors, boxes[:, :2], boxes[:, 2:])
    shares = np.linspace(0, 1, _NUM_SAMPLES)[:, None]
    return np.asarray(nearest[:, None] + shares * (anchors - nearest)[:, None])


def _is_inside(points: FloatArray, boxes: FloatArray) -> BoolArray:
    """`[..., num_boxes]` whether each of the points `[..., 2]` lies in each of the boxes."""
    points = points[..., None, :]
    return np.asarray(((points >= boxes[:, :2]) & (points <= boxes[:, 2:])).all(axis=-1))


def _overlap(first: FloatArray, second: FloatArray) -> FloatArray:
    """`[n, m]` area that each of the boxes `[n, 4]` shares with each of `[m, 4]`."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2))
