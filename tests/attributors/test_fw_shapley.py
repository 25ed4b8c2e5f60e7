"""FW-Shapley with a given network: its features, its arithmetic, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from attribot.attributors.fw_shapley import FWShapley, SourceNetwork
from attribot.attributors.source_features import feature_names, source_features
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.types import Cost
from tests.attributors.fakes import build_problem, response_of
from tests.attributors.heads import PlantedHeads, planted_masses

NUM_LAYERS = 2
NUM_FEATURES = NUM_LAYERS + 6


def network(num_features: int = NUM_FEATURES, num_hidden: int = 3) -> SourceNetwork:
    """Any parameters, all different."""
    drawn = np.random.default_rng(5)

    def vector(size: int) -> tuple[float, ...]:
        return tuple(drawn.normal(size=size).tolist())

    return SourceNetwork(
        centre=vector(num_features),
        scale=tuple(drawn.gamma(2.0, size=num_features).tolist()),
        bias=0.75,
        linear=vector(num_features),
        hidden=tuple(vector(num_features) for _ in range(num_hidden)),
        hidden_bias=vector(num_hidden),
        output=vector(num_hidden),
    )


def planted(num_sources: int) -> PlantedHeads:
    problem = build_problem([num_sources])
    return PlantedHeads.linear(problem, planted_masses(num_sources), np.zeros(num_sources))


def test_features_by_hand() -> None:
    response = response_of("He built a bridge of stone.", num_tokens=7)
    problem = build_problem([3], response=response)
    scorer, masses = planted(3), planted_masses(3)
    features, cost = source_features(problem, scorer)
    by_layer = masses.mean(axis=2)
    wanted = {
        "attention.layer0": by_layer[:, 0] / by_layer[:, 0].mean(),
        "attention.layer1": by_layer[:, 1] / by_layer[:, 1].mean(),
        # "Alpha built the bridge." "Bravo paid for stone." "Charlie drew a map."
        "token_share": np.array([4, 4, 4]) / 12,
        "position": [0.0, 0.5, 1.0],
        # he, built, bridge, of, stone
        "response_overlap": [2 / 5, 1 / 5, 0.0],
        # who, built, the, bridge
        "query_overlap": [3 / 4, 0.0, 0.0],
        "log_num_sources": [math.log(3)] * 3,
        "log_num_response_tokens": [math.log(7)] * 3,
    }
    assert feature_names(NUM_LAYERS) == tuple(wanted)
    np.testing.assert_allclose(features, np.array(list(wanted.values())).T, rtol=1e-12)
    assert cost == Cost(forward_passes=1)


def test_features_of_one_source_without_words_or_attention() -> None:
    problem = build_problem(paragraphs=[["?"]], response=response_of("!", num_tokens=1))
    scorer = PlantedHeads(["?"], np.zeros((1, 2, 3)), lambda _: 0.0)
    features, _ = source_features(problem, scorer)
    np.testing.assert_array_equal(features, [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])


def test_the_network_by_hand() -> None:
    small = SourceNetwork((1.0, 0.0), (2.0, 1.0), 0.5, (3.0, -1.0), ((1.0, 1.0),), (-2.0,), (4.0,))
    wanted = 0.5 + 3.0 * 1.0 - 1.0 * 2.0 + 4.0 * math.tanh(1.0 + 2.0 - 2.0)
    np.testing.assert_allclose(small.of(np.array([[3.0, 2.0]])), [wanted])
    linear = SourceNetwork((1.0, 0.0), (2.0, 1.0), 0.5, (3.0, -1.0))
    np.testing.assert_allclose(linear.of(np.array([[3.0, 2.0], [1.0, 0.0]])), [1.5, 0.5])


@pytest.mark.parametrize("num_sources", [1, 7])
def test_scores_are_the_networks(num_sources: int) -> None:
    problem, scorer = build_problem([num_sources]), planted(num_sources)
    attribution = FWShapley(network()).attribute(problem, {"target": scorer})
    wanted = network().of(source_features(problem, scorer)[0])
    np.testing.assert_array_equal(attribution.scores, wanted)
    assert attribution.cost == Cost(forward_passes=1)
    assert not scorer.prompts


def test_only_candidates_count() -> None:
    full = build_problem([7])
    candidates = np.isin(np.arange(7), [1, 4, 6])
    some, scorer = full.restrict(candidates), planted(7)
    scores = FWShapley(network()).attribute(some, {"target": scorer}).scores
    np.testing.assert_array_equal(np.isnan(scores), ~candidates)
    # Attention is relative to that of the candidates.
    layer = planted_masses(7).mean(axis=2)[candidates, 0]
    features, _ = source_features(some, scorer)
    np.testing.assert_allclose(features[:, 0], layer / layer.mean(), rtol=1e-12)
    np.testing.assert_array_equal(scores[candidates], network().of(features))


def test_a_model_with_other_layers_is_refused() -> None:
    with pytest.raises(
        InvalidInputError,
        match="for 3 layers, but the model of the role 'target' has 2: train one for it",
    ):
        FWShapley(network(3 + 6)).attribute(build_problem([2]), {"target": planted(2)})


def test_another_model_is_refused() -> None:
    other = TrainedFor.of("mine", {"weights": "mine"})
    with pytest.raises(InvalidInputError, match="weights 'mine' -> 'planted'"):
        FWShapley(network(), other).attribute(build_problem([2]), {"target": planted(2)})


def test_parameters_that_do_not_fit_are_refused() -> None:
    two = (1.0, 1.0)
    with pytest.raises(InvalidInputError, match=r"got \[2, 2, 1\] per feature, \[0, 0, 0\] per"):
        SourceNetwork(two, two, 0.0, (1.0,))
    with pytest.raises(InvalidInputError, match=r"\[1, 1, 2\] per unit"):
        SourceNetwork(two, two, 0.0, two, (two,), (0.0,), two)
    for scale, bias in (((1.0, 0.0), 0.0), (two, math.inf)):
        with pytest.raises(InvalidInputError, match="finite parameters and positive scales"):
            SourceNetwork(two, scale, bias, two)
