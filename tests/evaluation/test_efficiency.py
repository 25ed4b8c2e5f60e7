"""Measured ratios by hand; predicted costs against counted tokens and the paper's headline."""

import numpy as np
import pytest

from attribot.errors import InvalidInputError
from attribot.evaluation.efficiency import (
    CostStage,
    PromptShape,
    budget_weights,
    predicted_relative_cost,
    relative_cost,
    speedup,
)

# Twelve sources of 7 tokens in 3 groups of 4.
SHAPE = PromptShape(num_sources=12, num_groups=3, tokens_per_source=7)
PROXY = CostStage(parameter_share=0.1)


def test_speedup_and_relative_cost_are_ratios_of_sums():
    reference, method = [30.0, 10.0, 20.0], [1.0, 1.0, 4.0]
    assert speedup(reference, method).mean == 10.0
    assert relative_cost(method, reference).mean == 0.1
    interval = speedup(reference, method)
    assert 5.0 <= interval.low < 10.0 < interval.high <= 30.0


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([CostStage()], 1.0),
        ([PROXY], 0.1),
        ([CostStage("group"), CostStage(context_share=2 / 3)], 1 / 4 + (2 / 3) ** 2),
        ([PROXY, CostStage(context_share=5 / 12)], 0.1 + (5 / 12) ** 2),
        (
            [
                CostStage("group", parameter_share=0.1),
                CostStage(context_share=2 / 3, parameter_share=0.1),
                CostStage(context_share=5 / 12),
            ],
            0.1 * (1 / 4 + (2 / 3) ** 2) + (5 / 12) ** 2,
        ),
    ],
    ids=["naive", "proxy", "hierarchical", "proxy pruning", "composite"],
)
def test_predictions_are_the_papers_table(stages, expected):
    assert predicted_relative_cost(SHAPE, stages) == pytest.approx(expected)


def test_prefix_reuse_computes_half():
    reuse = predicted_relative_cost(SHAPE, [CostStage()], prefix_reuse=True)
    assert reuse == pytest.approx(13 / 24)
    long = PromptShape(num_sources=1000, num_groups=10, tokens_per_source=30)
    reuse = predicted_relative_cost(long, [CostStage()], prefix_reuse=True)
    assert reuse == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("prefix_reuse", [False, True])
@pytest.mark.parametrize("units", ["group", "source"])
def test_computed_tokens_are_those_counted_prompt_by_prompt(units, prefix_reuse):
    head, tail = 11, 5
    shape = PromptShape(12, 3, 7, head_tokens=head, tail_tokens=tail)
    unit_tokens = 28 if units == "group" else 7
    num_units = 84 // unit_tokens
    counted = head + 84 + tail
    for removed in range(num_units):
        after = (num_units - removed - 1) * unit_tokens + tail
        counted += after if prefix_reuse else head + removed * unit_tokens + after
    stage = CostStage(units)
    assert stage.computed_tokens(shape, prefix_reuse=prefix_reuse) == pytest.approx(counted)


def test_rescoring_in_the_full_context_counts_the_scored_share():
    # 3 of 12 sources removed one by one from the full context: 1 full pass and 3 of 11 sources
    stage = CostStage(scored_share=3 / 12)
    assert stage.computed_tokens(SHAPE, prefix_reuse=False) == pytest.approx(84 + 3 * 77)
    assert stage.computed_tokens(SHAPE, prefix_reuse=True) == pytest.approx(84 + 3 * 77 / 2)


@pytest.mark.parametrize(
    ("num_sources", "num_groups", "tokens_per_source", "expected"),
    [(41, 10, 33, 281), (50, 10, 33, 328), (45, 12, 110, 304)],
    ids=["hotpotqa", "squad", "qasper"],
)
def test_composite_reproduces_the_headline_speedup(
    num_sources, num_groups, tokens_per_source, expected
):
    # A 1.24e9-parameter proxy of a 70.6e9-parameter target, prefix reuse, hierarchical with k = 3.
    # 40 tokens of template and 70 of query and response are our estimate; the figures come without.
    shape = PromptShape(num_sources, num_groups, tokens_per_source, 40, 70)
    share = 1.24 / 70.6
    stages = [
        CostStage("group", parameter_share=share),
        CostStage(context_share=3 / num_groups, parameter_share=share),
    ]
    cost = predicted_relative_cost(shape, stages, prefix_reuse=True)
    assert 1 / cost == pytest.approx(expected, rel=0.05)


def test_bad_input_is_refused():
    with pytest.raises(InvalidInputError, match="num_groups <= num_sources"):
        PromptShape(num_sources=3, num_groups=4, tokens_per_source=7)
    with pytest.raises(InvalidInputError, match="at least one stage"):
        predicted_relative_cost(SHAPE, [])
    with pytest.raises(InvalidInputError, match="positive denominators"):
        speedup([1.0], [0.0])


def test_a_budget_lies_between_neighbours_on_a_logarithmic_scale():
    # 0.04 = 0.01^(1/2) 0.16^(1/2), in any order of the settings
    np.testing.assert_allclose(budget_weights([0.16, 0.9, 0.01], 0.04), [0.5, 0, 0.5])
    np.testing.assert_array_equal(budget_weights([0.16, 0.9, 0.01], 0.9), [0, 1, 0])
    np.testing.assert_array_equal(budget_weights([0.5], 0.5), [1])
    # equal costs: the first of them stands for both
    np.testing.assert_array_equal(budget_weights([0.5, 0.5], 0.5), [1, 0])
    np.testing.assert_allclose(budget_weights([0.1, 0.1, 0.4], 0.2).sum(), 1)


def test_nothing_is_extrapolated():
    for budget in (0.0099, 0.91):
        assert np.isnan(budget_weights([0.16, 0.9, 0.01], budget)).tolist() == [True] * 3
    with pytest.raises(InvalidInputError, match=r"expected positive costs .* got \[0.0\] and 0.5"):
        budget_weights([0.0], 0.5)
    with pytest.raises(InvalidInputError, match=r"got \[\] and 0.5"):
        budget_weights([], 0.5)
