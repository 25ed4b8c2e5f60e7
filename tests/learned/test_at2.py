"""The weights that AT2 learns: from planted truths, and against a search of all directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from attribot.attributors.at2 import AT2
from attribot.attributors.trained_for import TrainedFor
from attribot.errors import InvalidInputError
from attribot.learned.at2 import AT2Training
from attribot.learned.effects import AblationSampler, Effects, Lesson
from attribot.types import BoolArray, FloatArray
from tests.attributors.fakes import build_problem, source_texts
from tests.attributors.heads import PlantedHeads, planted_masses

PLANTED = TrainedFor.of("planted", {"weights": "planted"})
FAST = AT2Training(num_steps=60, learning_rate=0.05)


def lesson_of(
    num_sources: int,
    seed: int,
    value: Callable[[FloatArray, BoolArray], float],
    training: AT2Training = FAST,
) -> Lesson:
    """An example with planted attention, where log p is `value(masses, kept)`."""
    problem, masses = build_problem([num_sources]), planted_masses(num_sources, seed=seed)
    scorer = PlantedHeads(source_texts(problem), masses, lambda kept: value(masses, kept))
    effects = AblationSampler(12, seed).uniform_effects("x", problem, scorer)
    return Lesson(training.features(problem, scorer), effects)


def head_1_2(masses: FloatArray, kept: BoolArray) -> float:
    """The effect is the mass of one head, of another size in every example."""
    return float(masses[:, 1, 2] @ kept * masses[0, 0, 0] - 40.0)


def mean_correlation(weights: FloatArray, lessons: Sequence[Lesson]) -> float:
    """The objective as it is defined."""
    return float(
        np.mean(
            [
                np.corrcoef(
                    lesson.effects.masks @ np.tensordot(lesson.features, weights, weights.ndim),
                    lesson.effects.log_likelihoods,
                )[0, 1]
                for lesson in lessons
            ]
        )
    )


def test_it_finds_the_head_that_decides() -> None:
    lessons = [lesson_of(5 + seed % 3, seed, head_1_2) for seed in range(20)]
    attributor = FAST.fit(lessons, PLANTED)
    weights = np.array(attributor.weights)
    assert weights.shape == (2, 3)
    assert np.abs(weights).sum() == pytest.approx(1.0)
    assert weights[1, 2] > 0.9
    assert mean_correlation(weights, lessons) > 0.99 > mean_correlation(np.ones((2, 3)), lessons)


def test_what_it_learned_scores_new_examples() -> None:
    lessons = [lesson_of(6, seed, head_1_2) for seed in range(20)]
    attributor = FAST.fit(lessons, PLANTED)
    problem, masses = build_problem([7]), planted_masses(7, seed=99)
    scorer = PlantedHeads.linear(problem, masses, np.zeros(7))
    scores = attributor.attribute(problem, {"target": scorer}).scores
    assert np.corrcoef(scores, masses[:, 1, 2])[0, 1] > 0.98


def test_it_ends_at_the_best_of_all_directions() -> None:
    drawn = np.random.default_rng(3)
    lessons = []
    for num_sources in (4, 6, 7, 4, 5):
        masks = drawn.random((16, num_sources)) < 0.5
        effects = Effects(masks, np.zeros(16), drawn.normal(size=16))
        lessons.append(Lesson(drawn.gamma(1.0, size=(num_sources, 1, 2)), effects))
    weights = np.array(AT2Training(num_steps=100, learning_rate=0.1).fit(lessons, PLANTED).weights)
    angles = np.linspace(0, 2 * np.pi, 721)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, None]
    best = max(mean_correlation(direction, lessons) for direction in directions)
    assert mean_correlation(weights, lessons) == pytest.approx(best, abs=1e-4)


def test_an_ablation_drawn_twice_counts_twice() -> None:
    drawn = np.random.default_rng(3)
    masks, values = drawn.random((16, 5)) < 0.5, drawn.normal(size=16)
    features = drawn.gamma(1.0, size=(5, 1, 2))
    twice = Effects(np.vstack([masks, masks[:4]]), np.zeros(20), np.append(values, values[:4]))
    heavy = Effects(masks, np.log([2.0] * 4 + [1.0] * 12), values)
    once = Effects(masks, np.zeros(16), values)
    found = [
        np.array(FAST.fit([Lesson(features, effects)], PLANTED).weights)
        for effects in (twice, heavy, once)
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    assert np.abs(found[0] - found[2]).max() > 1e-2


def test_size_and_sign_of_effects_do_not_weigh() -> None:
    """Correlation is blind to the scale of an example, not to its direction."""
    lessons = [lesson_of(6, seed, head_1_2) for seed in range(4)]
    louder = [
        Lesson(
            7.0 * lesson.features,
            Effects(
                lesson.effects.masks,
                lesson.effects.log_weights,
                3.0 * lesson.effects.log_likelihoods - 50.0,
            ),
        )
        for lesson in lessons
    ]
    weights = [np.array(FAST.fit(given, PLANTED).weights) for given in (lessons, louder)]
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-3)


def test_examples_that_never_vary_teach_nothing() -> None:
    varying = [lesson_of(6, seed, head_1_2) for seed in range(3)]
    constant = lesson_of(6, 4, lambda masses, kept: -40.0)  # noqa: ARG005
    unseen = Lesson(np.zeros((6, 2, 3)), varying[0].effects)
    assert FAST.fit(varying, PLANTED) == FAST.fit([*varying, constant, unseen], PLANTED)
    with pytest.raises(InvalidInputError, match="nothing can be learned from 2 examples"):
        FAST.fit([constant, unseen], PLANTED)


def test_one_source_is_no_obstacle() -> None:
    lessons = [lesson_of(1, 0, head_1_2), *(lesson_of(6, seed, head_1_2) for seed in range(8))]
    assert np.array(FAST.fit(lessons, PLANTED).weights)[1, 2] > 0.8
    alone = np.array(FAST.fit(lessons[:1], PLANTED).weights)
    assert np.isfinite(alone).all()


def test_the_seed_decides_the_batches() -> None:
    lessons = [lesson_of(6, seed, head_1_2) for seed in range(6)]

    def fitted(seed: int, batch_size: int) -> AT2:
        training = AT2Training(num_steps=20, learning_rate=0.02, batch_size=batch_size, seed=seed)
        return training.fit(lessons, PLANTED)

    assert fitted(0, 2) == fitted(0, 2) != fitted(1, 2)
    assert np.allclose(fitted(0, 6).weights, fitted(1, 6).weights, atol=1e-5)


def test_it_says_what_it_was_trained_for() -> None:
    training = AT2Training(role="proxy", num_steps=1)
    attributor = training.fit([lesson_of(4, 0, head_1_2)], PLANTED)
    assert (attributor.role, attributor.trained_for) == ("proxy", PLANTED)
    np.testing.assert_array_equal(training.log_weights(3), np.zeros(4))


@pytest.mark.parametrize("setting", [{"num_steps": 0}, {"learning_rate": 0.0}, {"batch_size": -1}])
def test_settings_have_to_be_positive(setting: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="expected positive num_steps, learning_rate"):
        AT2Training(**setting)
