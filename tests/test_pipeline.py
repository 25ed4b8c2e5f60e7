"""One example from text to metric values, on a tiny model, against the oracle."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from attribot.attributors.base import Problem
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.content_cache import ContentCache
from attribot.context.partition import NupunktSplitter
from attribot.errors import EmptyResponseError, InvalidInputError, PromptTooLongError
from attribot.evaluation.evaluator import FaithfulnessEvaluation
from attribot.models.generation import generate_response
from attribot.models.language_model import LanguageModel
from attribot.pipeline import PosedExample, assess_attribution, attribute_example, pose_example
from attribot.prompting import PromptTemplate
from attribot.scoring.scorer import ModelScorer
from attribot.types import Attribution, Cost, Document, Example, GoldSpan, Paragraph, Response
from tests.experiments.tiny_experiment import (
    CONTEXTS,
    GENERATION,
    QUERIES,
    full_prompt,
    num_sources,
    oracle_log_likelihoods,
    oracle_scores,
    rendered_prompt,
    tiny_example,
)
from tests.models.tiny import tiny_language_model

TOLERANCE = 1e-4
NAME = "bridge"
NUM_SOURCES = num_sources(NAME)
SEED = 7


@pytest.fixture(scope="module")
def target() -> LanguageModel:
    return tiny_language_model("llama", seed=1)


@pytest.fixture(scope="module")
def posed(target: LanguageModel) -> PosedExample:
    return pose(tiny_example(NAME), target)


def pose(example: Example, target: LanguageModel) -> PosedExample:
    return pose_example(
        example, target, NupunktSplitter(), PromptTemplate(), GENERATION, ContentCache()
    )


def assessed(
    posed: PosedExample, attribution: Attribution, target: LanguageModel, **settings: Any
) -> dict[str, float]:
    """Metric values by name, the reference being all zeros but for its first score."""
    reference = np.eye(NUM_SOURCES)[0]
    evaluation = FaithfulnessEvaluation(**settings)
    scorer = ModelScorer(target)
    return dict(assess_attribution(posed, attribution, reference, evaluation, scorer, SEED))


def test_an_example_is_split_answered_and_given_its_gold(
    posed: PosedExample, target: LanguageModel
) -> None:
    prompt = full_prompt(NAME)
    assert posed.problem.prompt() == prompt
    assert posed.problem.query == QUERIES[NAME]
    assert posed.problem.response == generate_response(target, prompt, max_new_tokens=7)
    sentences = [sentence for paragraph in CONTEXTS[NAME] for sentence in paragraph]
    tree = posed.problem.tree
    assert [tree.source_text(source) for source in range(tree.num_sources)] == sentences
    assert posed.gold is not None
    assert posed.gold.tolist() == [False, True, False, False, False, False]


def test_the_end_token_is_attributed_unless_it_is_left_out() -> None:
    ending = tiny_language_model("llama", seed=1)
    written = generate_response(ending, full_prompt(NAME), max_new_tokens=7).token_ids
    ending.model.generation_config.eos_token_id = written[3]
    parts = NupunktSplitter(), PromptTemplate(), GENERATION, ContentCache()
    whole, cut = (
        pose_example(tiny_example(NAME), ending, *parts, score_end_token=scored).problem.response
        for scored in (True, False)
    )
    end = written.index(written[3])
    assert (whole.token_ids, whole.has_end_token) == (written[: end + 1], True)
    assert (cut.token_ids, cut.has_end_token, cut.text) == (written[:end], False, whole.text)
    scorers = {"target": ModelScorer(ending)}
    problem = pose_example(tiny_example(NAME), ending, *parts, score_end_token=False).problem
    scores = attribute_example(problem, LeaveOneOut(), scorers).scores
    expected = oracle_scores(ending, NAME, range(NUM_SOURCES), cut)
    np.testing.assert_allclose(scores, expected, atol=TOLERANCE, rtol=0)


def test_gold_spans_become_sources(target: LanguageModel) -> None:
    """A span may cover several sentences; an example without spans has no mask."""
    example = tiny_example(NAME)
    first = example.documents[0].paragraphs[0]
    spans = (GoldSpan(0, 0, 3, len(first.text) - 3), GoldSpan(0, 2, 0, 4))
    gold = pose(replace(example, gold=spans), target).gold
    assert gold is not None
    assert gold.tolist() == [True, True, True, False, True, False]
    assert pose(replace(example, gold=()), target).gold is None


@dataclass(frozen=True)
class Sleeper:
    """Takes a known time and nothing else."""

    seconds: float

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:  # noqa: ARG002
        time.sleep(self.seconds)
        return Attribution(np.zeros((1, problem.tree.num_sources)), Cost(forward_passes=3))


def test_the_attribution_is_timed(posed: PosedExample, target: LanguageModel) -> None:
    cost = attribute_example(posed.problem, Sleeper(0.05), {}).cost
    assert 0.05 <= cost.wall_seconds < 5
    assert cost.forward_passes == 3
    real = attribute_example(posed.problem, LeaveOneOut(), {"target": ModelScorer(target)})
    assert real.cost.wall_seconds > 0
    expected = oracle_scores(target, NAME, range(NUM_SOURCES), posed.problem.response)
    np.testing.assert_allclose(real.scores, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("k", [None, 2])
def test_lds_and_log_prob_drop_equal_the_oracle(
    posed: PosedExample, target: LanguageModel, k: int | None
) -> None:
    """Exact scores, and those of a method that prunes all but k sources: they count as 0."""
    method = LeaveOneOut() if k is None else TwoStage(LeaveOneOut(), TopK(k), LeaveOneOut())
    attribution = attribute_example(posed.problem, method, {"target": ModelScorer(target)})
    values = assessed(posed, attribution, target, num_lds_ablations=13, log_prob_drop_ks=(1, 3, 7))
    rng = np.random.default_rng([SEED, zlib.crc32(NAME.encode())])
    masks = rng.random((13, NUM_SOURCES)) < 0.5
    response = posed.problem.response
    prompts = [rendered_prompt(NAME, np.flatnonzero(mask)) for mask in masks]
    likelihoods = oracle_log_likelihoods(target, prompts, response)
    predicted = masks @ np.nan_to_num(attribution.scores)
    assert values["lds"] == pytest.approx(spearmanr(predicted, likelihoods).statistic)
    order = np.argsort(-attribution.priority)
    for removed in (1, 3):
        prompt = rendered_prompt(NAME, order[removed:])
        full, ablated = oracle_log_likelihoods(target, [full_prompt(NAME), prompt], response)
        drop = values[f"log_prob_drop@{removed}"]
        assert drop == pytest.approx(full - ablated, abs=TOLERANCE)
    # Seven sources cannot be removed from six.
    assert "log_prob_drop@7" not in values


def test_necessity_and_sufficiency_equal_the_oracle(
    posed: PosedExample, target: LanguageModel
) -> None:
    """Insertion and deletion are read at every number of the six sources, by the oracle too."""
    scores = np.array([0.0, 3.0, -1.0, 2.0, 5.0, 1.0])
    values = assessed(
        posed,
        Attribution(scores[None], Cost()),
        target,
        num_lds_ablations=0,
        log_prob_drop_ks=(2,),
        log_prob_hold_ks=(2, 7),
        num_curve_points=5,
    )
    order = np.argsort(-scores)
    response = posed.problem.response
    prompts = [
        rendered_prompt(NAME, np.sort(kept))
        for k in range(NUM_SOURCES + 1)
        for kept in (order[:k], order[NUM_SOURCES - k :])
    ]
    top, bottom = oracle_log_likelihoods(target, prompts, response).reshape(-1, 2).T
    full = top[NUM_SOURCES]
    expected = {
        "log_prob_drop@2": full - bottom[NUM_SOURCES - 2],
        "log_prob_hold@2": full - top[2],
        "insertion_auc": np.mean((top[:-1] + top[1:]) / 2 - top[0]) / len(response.token_ids),
        "deletion_auc": np.mean((bottom[:-1] + bottom[1:]) / 2 - top[0]) / len(response.token_ids),
    }
    found = {n: v for n, v in values.items() if n.startswith(("log_prob", "insertion", "deletion"))}
    assert found == pytest.approx(expected, abs=TOLERANCE)


def test_every_method_is_judged_by_the_same_ablations(
    posed: PosedExample, target: LanguageModel
) -> None:
    """Scores that are equal up to a factor have the same LDS; another seed has other masks."""
    scores = np.arange(1.0, NUM_SOURCES + 1)
    values = [
        assessed(posed, Attribution(factor * scores[None], Cost()), target)["lds"]
        for factor in (1, 2)
    ]
    assert values[0] == values[1]
    other = FaithfulnessEvaluation()
    attribution, scorer = Attribution(scores[None], Cost()), ModelScorer(target)
    moved = assess_attribution(posed, attribution, scores, other, scorer, SEED + 1)
    assert dict(moved)["lds"] != values[0]


def test_without_further_ablations_no_model_is_asked(posed: PosedExample) -> None:
    attribution = Attribution(np.ones((1, NUM_SOURCES)), Cost())
    evaluation = FaithfulnessEvaluation(num_lds_ablations=0, log_prob_drop_ks=())
    reference = np.eye(NUM_SOURCES)[0]
    values = dict(assess_attribution(posed, attribution, reference, evaluation, None, SEED))  # type: ignore[arg-type]
    assert {"average_precision", "gold_average_precision"} <= set(values)
    assert not [name for name in values if name.startswith(("lds", "log_prob"))]


def test_one_source_is_enough(target: LanguageModel) -> None:
    posed = pose(tiny_example("sea"), target)
    attribution = attribute_example(posed.problem, LeaveOneOut(), {"target": ModelScorer(target)})
    expected = oracle_scores(target, "sea", [0], posed.problem.response)
    np.testing.assert_allclose(attribution.scores, expected, atol=TOLERANCE, rtol=0)
    evaluation = FaithfulnessEvaluation(num_lds_ablations=5)
    scorer, reference = ModelScorer(target), attribution.scores
    values = dict(assess_attribution(posed, attribution, reference, evaluation, scorer, SEED))
    # One source has no outlier and no order; removing it is the whole attribution.
    assert values["has_outliers"] == 0
    assert np.isnan([values["average_precision"], values["spearman"]]).all()
    assert values["log_prob_drop@1"] == pytest.approx(expected[0], abs=TOLERANCE)
    assert "log_prob_drop@3" not in values


@pytest.mark.parametrize("text", ["", " \n "])
def test_a_context_without_sentences_is_refused(target: LanguageModel, text: str) -> None:
    example = replace(tiny_example("sea"), documents=(Document((Paragraph(text),)),))
    with pytest.raises(InvalidInputError, match="the context has no sources: it needs at least"):
        pose(example, target)


def test_an_empty_response_is_refused(posed: PosedExample, target: LanguageModel) -> None:
    tree, sha = posed.problem.tree, target.tokenizer_sha
    with pytest.raises(InvalidInputError, match="the response is empty: there is nothing to attr"):
        Problem.of(tree, QUERIES[NAME], Response("", (), sha, has_end_token=False))
    silent = tiny_language_model("llama", seed=1)
    first = generate_response(silent, full_prompt(NAME), max_new_tokens=1).token_ids[0]
    silent.model.generation_config.eos_token_id = first
    with pytest.raises(EmptyResponseError, match="the response of tiny-llama-1 is empty"):
        pose(tiny_example(NAME), silent)


def test_a_context_that_does_not_fit_is_refused(target: LanguageModel) -> None:
    num_tokens = len(target.encode_prompt(full_prompt(NAME)).token_ids)
    short = tiny_language_model("llama", seed=1, max_positions=num_tokens)
    message = rf"take {num_tokens + 7} tokens, but tiny-llama-1 accepts at most {num_tokens}: short"
    with pytest.raises(PromptTooLongError, match=message):
        pose(tiny_example(NAME), short)
