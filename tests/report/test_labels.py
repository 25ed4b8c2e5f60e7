"""Labels cover nothing where there is room, and as little as possible where there is none."""

import numpy as np
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


def test_without_room_the_least_is_covered() -> None:
    # Everything is taken but half of the place above the point.
    taken = np.array([[0.0, 0.0, 1000.0, 112.0], [0.0, 118.0, 1000.0, 700.0]])
    corner = place_labels(np.array([[500.0, 100.0]]), SIZE[None], taken, BOUNDS, step=6.0)
    assert corner[0, 1] < 118
    assert corner[0, 1] + SIZE[1] > 112
