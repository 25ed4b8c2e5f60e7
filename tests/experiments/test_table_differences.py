"""Two versions of a table, every kind of difference by hand."""

import pandas as pd

from experiments.reproduce.differences import Tolerances, compare_tables

TOLERANCES = Tolerances(value=0.01, factor=2.0)


def table(**changes):
    columns = {
        "dataset": ["squad", "squad"],
        "method": ["loo", "proxy"],
        "label": ["exact", "small model"],
        "average_precision": [1.0, 0.5],
        "average_precision_low": [1.0, 0.45],
        "average_precision_high": [1.0, 0.6],
        "flops": [4e12, 2e12],
        "wall_seconds": [8.0, 4.0],
        "speedup_count": [40, 40],
    }
    return pd.DataFrame(columns | changes)


def differences(committed, new):
    return [str(found) for found in compare_tables(committed, new, TOLERANCES).differences]


def test_equal_tables_have_no_difference_and_all_cells_are_counted():
    found = compare_tables(table(), table(), TOLERANCES)
    assert (found.differences, found.num_computed, found.num_measured) == ((), 12, 2)


def test_rows_go_by_their_texts_not_by_their_order():
    assert not differences(table(), table()[::-1])


def test_computed_cells_may_differ_by_the_tolerance():
    assert not differences(table(), table(average_precision=[1.0, 0.509]))
    assert not differences(table(), table(flops=[4.03e12, 2e12]))
    assert differences(table(), table(flops=[4.05e12, 2e12])) == [
        "squad, loo, flops: 4e+12 -> 4.05e+12"
    ]


def test_a_difference_is_set_against_the_committed_interval():
    assert differences(table(), table(average_precision=[1.0, 0.58])) == [
        "squad, proxy, average_precision: 0.5 -> 0.58, within the committed interval [0.45, 0.6]"
    ]
    assert differences(table(), table(average_precision=[1.0, 0.61])) == [
        "squad, proxy, average_precision: 0.5 -> 0.61, outside the committed interval [0.45, 0.6]"
    ]


def test_measured_cells_are_compared_as_ratios():
    assert not differences(table(), table(wall_seconds=[15.9, 2.1]))
    found = compare_tables(table(), table(wall_seconds=[16.1, 1.9]), TOLERANCES)
    assert [str(each) for each in found.measured] == [
        "squad, loo, wall_seconds: 8 -> 16.1, 2.01 times",
        "squad, proxy, wall_seconds: 4 -> 1.9, 0.47 times",
    ]
    assert not found.computed


def test_the_number_of_timed_examples_is_computed_not_measured():
    found = compare_tables(table(), table(speedup_count=[40, 39]), TOLERANCES)
    assert [str(each) for each in found.computed] == ["squad, proxy, speedup_count: 40 -> 39"]


def test_a_missing_number_agrees_with_a_missing_number_only():
    without = table(flops=[4e12, None])
    assert not differences(without, without)
    assert differences(table(), without) == ["squad, proxy, flops: 2e+12 -> nan"]
    assert differences(without, table()) == ["squad, proxy, flops: nan -> 2e+12"]


def test_rows_and_columns_of_one_version_are_named():
    new = table(method=["loo", "random"]).rename(columns={"flops": "operations"})
    assert differences(table(), new) == [
        "squad, proxy: only in the committed table",
        "squad, random: only in the new table",
        "column flops: only in the committed table",
        "column operations: only in the new table",
    ]


def test_texts_that_tell_no_rows_apart_are_cells():
    assert differences(table(), table(label=["exact", "proxy"])) == [
        "squad, proxy, label: 'small model' -> 'proxy'"
    ]


def test_a_missing_text_is_a_text_of_its_own():
    without = table(method=["loo", None])
    assert not differences(without, without)
    assert differences(table(), without) == [
        "squad, proxy: only in the committed table",
        "squad, : only in the new table",
    ]
    unlabelled = table(label=["exact", None])
    assert not differences(unlabelled, unlabelled)
    assert differences(unlabelled, table()) == ["squad, proxy, label: nan -> 'small model'"]


def test_rows_of_equal_texts_are_told_apart_by_their_order():
    same = table(method=["loo", "loo"], label=["exact", "exact"])
    assert not differences(same, same)
    assert differences(same, same.assign(flops=[4e12, 3e12])) == [
        "squad, loo, exact, row 1, flops: 2e+12 -> 3e+12"
    ]
