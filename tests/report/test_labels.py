"""Labels cover nothing where there is room, and as little as possible where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.report.labels import place_labels
from attribot.types import FloatArray

BOUNDS = np.array([0.0, 0.0, 1000.0, 700.0])
SIZE = np.array([90.0, 12.0])


def boxes(corners: FloatArray, size: FloatArray = SIZE) -> FloatArray:
    return np.hstack([corners, corners + size])


def do_overlap(first: FloatArray, second: FloatArray) -> bool:
    return bool(
        (np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]) > 1e-6).all()
    )


def test_a_lone_label_stands_right_of_its_point() -> None:
    corner = place_labels(np.array([[100.0, 50.0]]), SIZE[None], np.empty((0, 4)), BOUNDS, step=6.0)
    np.testing.assert_allclose(corner, [[106.0, 44.0]])


def test_a_label_at_the_right_edge_stands_left() -> None:
    corner = place_labels(np.array([[990.0, 50.0]]), SIZE[None], np.empty((0, 4)), BOUNDS, step=6.0)
    np.testing.assert_allclose(corner, [[990.0 - 6 - 90, 44.0]])


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12, unique=True)
)
def test_labels_are_clear_of_points_and_of_each_other(cells: list[tuple[int, int]]) -> None:
    anchors = np.array(cells) * [80.0, 60.0] + [120.0, 60.0]
    points = np.hstack([anchors - 5, anchors + 5])
    corners = place_labels(anchors, np.tile(SIZE, (len(cells), 1)), points, BOUNDS, step=6.0)
    labels = boxes(corners)
    assert (labels[:, :2] >= BOUNDS[:2]).all()
    assert (labels[:, 2:] <= BOUNDS[2:]).all()
    for index, label in enumerate(labels):
        assert not any(do_overlap(label, other) for other in [*points, *labels[:index]])


def crowd(seed: int) -> tuple[FloatArray, FloatArray]:
    """Eight points close together, and the boxes of their labels."""
    anchors = np.random.default_rng(seed).uniform([300, 300], [520, 360], (8, 2)).round()
    points = np.hstack([anchors - 5, anchors + 5])
    return anchors, boxes(place_labels(anchors, np.tile(SIZE, (8, 1)), points, BOUNDS, step=6.0))


@pytest.mark.parametrize("seed", [3, 4, 8])
def test_no_line_to_a_label_runs_under_another(seed: int) -> None:
    anchors, labels = crowd(seed)
    for own, (anchor, label) in enumerate(zip(anchors, labels, strict=True)):
        start = np.clip(anchor, label[:2], label[2:])
        line = start + np.linspace(0, 1, 12)[:, None] * (anchor - start)
        for other in np.delete(labels, own, axis=0):
            assert not ((line > other[:2]) & (line < other[2:])).all(axis=1).any()


@pytest.mark.parametrize("seed", [2, 9])
def test_no_label_is_nearer_to_another_point(seed: int) -> None:
    anchors, labels = crowd(seed)
    for own, label in enumerate(labels):
        distances = np.hypot(*(np.clip(anchors, label[:2], label[2:]) - anchors).T)
        assert np.argmin(distances) == own


def test_without_room_the_least_is_covered() -> None:
    # Everything is taken but half of the place above the point.
    taken = np.array([[0.0, 0.0, 1000.0, 112.0], [0.0, 118.0, 1000.0, 700.0]])
    corner = place_labels(np.array([[500.0, 100.0]]), SIZE[None], taken, BOUNDS, step=6.0)
    assert corner[0, 1] < 118
    assert corner[0, 1] + SIZE[1] > 112
