"""ContextCite on planted likelihoods, and against the arithmetic of the official package."""

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Lasso
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from attribot.attributors.context_cite import ContextCite, RegressionTarget, log1mexp
from attribot.errors import InvalidInputError
from attribot.types import FloatArray
from tests.attributors.fakes import (
    SENTENCES,
    AdditiveScorer,
    RedundantScorer,
    build_problem,
    response_of,
)

WEIGHTS = np.array([3.0, 0.0, -2.0, 0.0, 5.0, 0.0, 0.0, 1.0, -1.0, 7.0])


def planted(base: float = -40.0) -> AdditiveScorer:
    return AdditiveScorer(dict(zip(SENTENCES, WEIGHTS, strict=True)), base)


def official(
    masks: FloatArray, log_p: FloatArray, num_tokens: int, alpha: float, target: RegressionTarget
) -> FloatArray:
    """Weights as context_cite.solver.LassoRegression computes them."""
    outputs = log_p - np.log1p(-np.exp(log_p)) if target == "logit" else log_p
    scaler, lasso = StandardScaler(), Lasso(alpha=alpha, random_state=0, fit_intercept=True)
    make_pipeline(scaler, lasso).fit(masks.astype(np.float32), outputs / num_tokens)
    return np.asarray(lasso.coef_ / scaler.scale_ * num_tokens)


@pytest.mark.parametrize("target", ["logit", "log_likelihood"])
@pytest.mark.parametrize("num_ablations", [13, 31])
def test_agrees_with_the_official_arithmetic(target: RegressionTarget, num_ablations: int) -> None:
    # The base makes some responses nearly certain, where logit and log-likelihood part.
    scorer = planted(base=-16.5)
    method = ContextCite(num_ablations=num_ablations, regression_target=target)
    attribution = method.attribute(build_problem(), {"target": scorer})
    assert len(scorer.prompts) == num_ablations
    masks = np.array([[text in prompt for text in SENTENCES] for prompt in scorer.prompts])
    log_p = -16.5 + masks @ WEIGHTS
    np.testing.assert_allclose(
        attribution.scores, official(masks, log_p, 7, 0.01, target), atol=1e-5
    )


def test_many_ablations_recover_planted_weights() -> None:
    method = ContextCite(num_ablations=211, lasso_alpha=1e-5, regression_target="log_likelihood")
    scores = method.attribute(build_problem(), {"target": planted()}).scores
    np.testing.assert_allclose(scores, WEIGHTS, atol=1e-3)


def test_the_default_penalty_shrinks_by_alpha_per_standardised_mask() -> None:
    # One source: w = (|effect| std - alpha) / std, on targets per response token.
    scorer = AdditiveScorer({"Only one.": 3.0})
    method = ContextCite(num_ablations=16, regression_target="log_likelihood")
    attribution = method.attribute(build_problem(paragraphs=[["Only one."]]), {"target": scorer})
    num_kept = (np.random.default_rng(0).random((16, 1)) < 0.5).sum()
    std = np.sqrt(num_kept / 16 * (1 - num_kept / 16))
    np.testing.assert_allclose(attribution.scores, [3.0 - 7 * 0.01 / std], rtol=1e-9)
    assert attribution.cost.forward_passes == len(scorer.prompts) == 2


def test_redundant_sources_share_the_effect() -> None:
    scorer = RedundantScorer({SENTENCES[0]: 8.0, SENTENCES[4]: 8.0})
    method = ContextCite(num_ablations=509, regression_target="log_likelihood")
    scores = method.attribute(build_problem(), {"target": scorer}).scores
    # Either brings 8 when the other is away, half of the time, and nothing otherwise.
    np.testing.assert_allclose(scores[[0, 4]], [4.0, 4.0], atol=0.5)
    np.testing.assert_allclose(np.delete(scores, [0, 4]), 0.0, atol=0.5)


def test_equal_sentences_share_prompts_but_not_scores() -> None:
    scorer = AdditiveScorer({"Same.": 2.0})
    method = ContextCite(num_ablations=64, lasso_alpha=1e-5, regression_target="log_likelihood")
    attribution = method.attribute(
        build_problem(paragraphs=[["Same.", "Same."], []]), {"target": scorer}
    )
    np.testing.assert_allclose(attribution.scores, [2.0, 2.0], atol=1e-3)
    assert attribution.cost.forward_passes == 3


def test_other_kept_sources_stay_and_removed_ones_stay_away() -> None:
    scorer = planted()
    full = build_problem()
    tree = full.tree
    kept = tree.remove(tree.all_kept(), [tree.sources[4]])
    candidates = np.isin(np.arange(10), [0, 2, 9])
    method = ContextCite(num_ablations=32, lasso_alpha=1e-5, regression_target="log_likelihood")
    scores = method.attribute(full.restrict(candidates, kept), {"target": scorer}).scores
    np.testing.assert_allclose(scores, np.where(candidates, WEIGHTS, np.nan), atol=1e-3)
    assert all(SENTENCES[1] in prompt for prompt in scorer.prompts)
    assert not any(SENTENCES[4] in prompt for prompt in scorer.prompts)


def test_the_seed_decides() -> None:
    first, again, other = (
        ContextCite(seed=seed).attribute(build_problem(), {"target": planted()}).scores
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_certain_one_token_response_has_a_finite_logit() -> None:
    scorer = AdditiveScorer({"Only one.": 5.0}, base=-5.0)
    single = build_problem(paragraphs=[["Only one."]], response=response_of("Yes", num_tokens=1))
    scores = ContextCite(lasso_alpha=1e-9).attribute(single, {"target": scorer}).scores
    certain = 24 * np.log(2)
    np.testing.assert_allclose(scores, [certain + 5.0 + np.log1p(-np.exp(-5.0))], rtol=1e-6)


def test_masks_that_are_all_alike_give_no_effect() -> None:
    scores = ContextCite(num_ablations=1).attribute(build_problem(), {"target": planted()}).scores
    np.testing.assert_array_equal(scores, np.zeros(10))


def test_log1mexp_keeps_its_digits() -> None:
    log_p = np.array([-(2.0**-24), -1e-3, -0.5, -0.7, -3.0, -50.0])
    with localcontext(prec=60):
        wanted = [float((1 - Decimal(value).exp()).ln()) for value in log_p.tolist()]
    np.testing.assert_allclose(log1mexp(log_p), wanted, rtol=1e-14)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"num_ablations": 0}, "num_ablations must be at least 1; got 0"),
        ({"keep_probability": 1.0}, "keep_probability must lie between 0 and 1; got 1.0"),
        ({"lasso_alpha": 0.0}, "lasso_alpha must be positive; got 0.0"),
        ({"regression_target": "odds"}, r"one of \['logit', 'log_likelihood'\]; got 'odds'"),
    ],
)
def test_settings_outside_their_range(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ContextCite(**setting)
