"""AT2 with given weights: the sum it is, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from attribot.attributors.at2 import AT2
from attribot.attributors.attention import Attention
from attribot.attributors.trained_for import TrainedFor
from attribot.content_cache import ContentCache
from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import SharedScorer, StoredScorer
from attribot.types import Cost
from tests.attributors.fakes import AdditiveScorer, WordLengthTokenScorer, build_problem
from tests.attributors.heads import PlantedHeads, planted_masses
from tests.models.tiny import tiny_language_model

WEIGHTS = ((0.5, -0.25, 0.0), (2.0, 0.125, -1.0))


def planted(num_sources: int) -> PlantedHeads:
    problem = build_problem([num_sources])
    return PlantedHeads.linear(problem, planted_masses(num_sources), np.zeros(num_sources))


def test_scores_are_weighted_sums_of_attention() -> None:
    scorer, masses = planted(7), planted_masses(7)
    attribution = AT2(WEIGHTS).attribute(build_problem([7]), {"target": scorer})
    wanted = [
        sum(WEIGHTS[layer][head] * mass[layer, head] for layer in range(2) for head in range(3))
        for mass in masses
    ]
    np.testing.assert_allclose(attribution.scores, wanted, rtol=1e-12)
    assert attribution.cost == Cost(forward_passes=1)
    assert not scorer.prompts


def test_only_candidates_of_the_kept_context_are_scored() -> None:
    full, masses = build_problem([2, 3, 2]), planted_masses(7)
    tree = full.tree
    kept = tree.remove(tree.all_kept(), [tree.sources[0], tree.sources[5]])
    candidates = np.isin(np.arange(7), [1, 4, 6])
    scorer = PlantedHeads.linear(full, masses, np.zeros(7))
    scores = AT2(WEIGHTS).attribute(full.restrict(candidates, kept), {"target": scorer}).scores
    wanted = np.where(candidates, np.tensordot(masses, np.array(WEIGHTS), axes=2), np.nan)
    np.testing.assert_allclose(scores, wanted, rtol=1e-12)


def test_a_single_source_has_a_score() -> None:
    scores = AT2(WEIGHTS).attribute(build_problem([1]), {"target": planted(1)}).scores
    np.testing.assert_allclose(scores, np.tensordot(planted_masses(1), WEIGHTS, axes=2))


@pytest.fixture(scope="module")
def scorer() -> ModelScorer:
    return ModelScorer(tiny_language_model("llama", num_layers=3))


def test_equal_weights_are_attention(scorer: ModelScorer) -> None:
    response = response_from_text(scorer.language_model, "The king built it.")
    problem = build_problem([2, 3], response=response)
    found = AT2(((0.25,) * 4,) * 3).attribute(problem, {"proxy": scorer, "target": scorer})
    wanted = Attention().attribute(problem, {"target": scorer})
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    assert found.cost == replace(wanted.cost, peak_memory_bytes=found.cost.peak_memory_bytes)


def test_a_model_of_another_shape_is_refused(scorer: ModelScorer) -> None:
    response = response_from_text(scorer.language_model, "The king.")
    problem = build_problem([2], response=response)
    with pytest.raises(
        InvalidInputError,
        match=r"for 2 layers of 3 heads, but the model of the role 'target' has 3 layers of 4: "
        r"train weights for it with `python -m experiments.train`",
    ):
        AT2(WEIGHTS).attribute(problem, {"target": scorer})


def test_another_model_of_the_same_shape_is_refused() -> None:
    other = TrainedFor.of("mine", {"weights": "mine", "dtype": "float32"})
    with pytest.raises(
        InvalidInputError,
        match=r"trained for mine, but the role 'proxy' is filled by another model or another "
        r"setting of it \(dtype 'float32' -> None, weights 'mine' -> 'planted'\): .*"
        r"allow_other_model=true",
    ):
        AT2(WEIGHTS, other, "proxy").attribute(build_problem([2]), {"proxy": planted(2)})


def test_the_model_it_was_trained_for_is_taken() -> None:
    own = TrainedFor.of("planted", {"weights": "planted"})
    for trained_for in (own, None):
        AT2(WEIGHTS, trained_for).attribute(build_problem([2]), {"target": planted(2)})


def test_a_scorer_that_does_not_tell_its_model_is_refused() -> None:
    own = TrainedFor.of("planted", {"weights": "planted"})
    with pytest.raises(InvalidInputError, match="WordLengthTokenScorer, which does not tell its"):
        AT2(WEIGHTS, own).attribute(build_problem([2]), {"target": WordLengthTokenScorer()})


def test_all_scorers_of_a_model_tell_its_fingerprint(scorer: ModelScorer) -> None:
    trained_for = TrainedFor.of("tiny", scorer.language_model.fingerprint)
    stored = StoredScorer(scorer, ContentCache())
    own: list[Any] = [scorer, scorer.opened(), scorer.planning(), stored]
    for same in [*own, SharedScorer(stored, scorer.planning())]:
        trained_for.check(same, "target")
    stranger = ModelScorer(tiny_language_model("llama", num_layers=3, seed=1))
    with pytest.raises(InvalidInputError, match="weights '"):
        trained_for.check(stranger, "target")


def test_the_role_is_honoured_and_checked() -> None:
    with pytest.raises(InvalidInputError, match=r"no model has the role 'proxy'.*\['target'\]"):
        AT2(WEIGHTS, role="proxy").attribute(build_problem([2]), {"target": planted(2)})
    with pytest.raises(InvalidInputError, match="AdditiveScorer, which is no TokenScorer"):
        AT2(WEIGHTS).attribute(build_problem([2]), {"target": AdditiveScorer({})})


@pytest.mark.parametrize(
    "weights", [(), ((),), ((1.0, 2.0), (1.0,)), ((1.0, float("nan")),)], ids=str
)
def test_weights_that_are_no_table_are_refused(weights: tuple[tuple[float, ...], ...]) -> None:
    with pytest.raises(InvalidInputError, match="expected finite weights, as many for every layer"):
        AT2(weights)


def test_it_hashes_and_compares_as_its_settings() -> None:
    own = TrainedFor.of("planted", {"weights": "planted"})
    assert hash(AT2(WEIGHTS, own)) == hash(AT2(WEIGHTS, own))
    assert AT2(WEIGHTS, own) != AT2(WEIGHTS, None)
