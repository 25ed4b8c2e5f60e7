"""Masking against deletion on a real architecture, through text, tree and tokenizer."""

import numpy as np
import pytest

from attribot.attributors.ablation import Deletion, Mask
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.scoring.scorer import ModelScorer
from tests.attributors.fakes import AdditiveScorer, build_problem
from tests.models.tiny import tiny_language_model


@pytest.fixture(scope="module")
def model():
    return tiny_language_model("llama")


@pytest.fixture(scope="module")
def scorers(model):
    return {"target": ModelScorer(model)}


@pytest.fixture(scope="module")
def problem(model):
    return build_problem((2, 3, 5), response=response_from_text(model, "The king built it."))


@pytest.mark.parametrize("level", ["sentence", "paragraph"])
def test_a_window_over_all_that_follows_is_deletion(problem, scorers, level):
    deleted = LeaveOneOut(level=level).attribute(problem, scorers)
    masked = LeaveOneOut(level=level, ablation=Mask(10_000)).attribute(problem, scorers)
    np.testing.assert_allclose(masked.scores, deleted.scores, atol=1e-4)
    assert masked.base_log_likelihood == pytest.approx(deleted.base_log_likelihood, abs=1e-4)
    assert np.ptp(deleted.scores) > 0.1


def test_windows_grow_towards_deletion_and_cost(problem, scorers):
    deleted = LeaveOneOut().attribute(problem, scorers)
    windows = ["none", "sentence", "paragraph", 10_000]
    masked = [LeaveOneOut(ablation=Mask(w)).attribute(problem, scorers) for w in windows]
    tokens = [attribution.cost.computed_tokens for attribution in masked]
    assert tokens == sorted(tokens)
    assert tokens[0] < tokens[2] < deleted.cost.computed_tokens == tokens[3]
    errors = [np.abs(attribution.scores - deleted.scores).max() for attribution in masked]
    assert errors[3] < 1e-4 < min(errors[:3])


def test_a_window_of_zero_tokens_is_none(problem, scorers):
    none = LeaveOneOut(ablation=Mask("none")).attribute(problem, scorers)
    zero = LeaveOneOut(ablation=Mask(0)).attribute(problem, scorers)
    np.testing.assert_array_equal(none.scores, zero.scores)


def test_the_last_sentence_is_exact(problem, scorers):
    """Behind it come its paragraph's separator, query and response, which are all recomputed."""
    deleted = LeaveOneOut().attribute(problem, scorers)
    masked = LeaveOneOut(ablation=Mask("paragraph")).attribute(problem, scorers)
    assert masked.scores[-1] == pytest.approx(deleted.scores[-1], abs=1e-4)


def test_closed_gaps_move_the_scores(problem, scorers):
    closed = LeaveOneOut(ablation=Mask("none")).attribute(problem, scorers)
    kept = LeaveOneOut(ablation=Mask("none", close_gaps=False)).attribute(problem, scorers)
    assert np.abs(closed.scores - kept.scores).max() > 1e-3


def test_every_stage_may_mask(problem, scorers):
    masking = Mask(10_000)
    exact, masked = (
        TwoStage(
            LeaveOneOut(level="paragraph", ablation=ablation),
            TopK(2, "paragraph"),
            LeaveOneOut(ablation=ablation),
            context=context,
        )
        for ablation, context in ((Deletion(), "pruned"), (masking, "pruned"))
    )
    np.testing.assert_allclose(
        masked.attribute(problem, scorers).scores,
        exact.attribute(problem, scorers).scores,
        atol=1e-4,
    )


def test_rescoring_in_the_full_context_gives_the_exact_scores_of_the_survivors(problem, scorers):
    exact = LeaveOneOut().attribute(problem, scorers).scores
    method = TwoStage(
        LeaveOneOut(level="paragraph"), TopK(1, "paragraph"), LeaveOneOut(), context="full"
    )
    attribution = method.attribute(problem, scorers)
    kept = ~attribution.is_pruned
    np.testing.assert_allclose(attribution.scores[kept], exact[kept], atol=1e-4)
    assert 0 < kept.sum() < 10


@pytest.mark.parametrize("recompute", ["document", -1, True])
def test_unknown_windows_are_refused(recompute):
    with pytest.raises(InvalidInputError, match="paragraph"):
        Mask(recompute)


def test_a_scorer_that_cannot_mask_says_what_to_do(problem):
    scorer = AdditiveScorer.planted(problem, np.ones(10))
    with pytest.raises(InvalidInputError, match="ablation=deletion"):
        LeaveOneOut(ablation=Mask()).attribute(problem, {"target": scorer})
