import numpy as np

from attribot.attributors.random_scores import RandomScores
from tests.attributors.fakes import build_problem, paragraphs_of


def test_the_same_seed_and_problem_give_the_same_scores() -> None:
    first, second = (RandomScores(seed=3).attribute(build_problem(), {}).scores for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert len(set(first)) == 10


def test_another_seed_or_problem_gives_others() -> None:
    scores = RandomScores(seed=3).attribute(build_problem(), {}).scores
    assert not np.isin(RandomScores(seed=4).attribute(build_problem(), {}).scores, scores).any()
    other = build_problem(paragraphs=paragraphs_of()[::-1])
    assert not np.isin(RandomScores(seed=3).attribute(other, {}).scores, scores).any()


def test_only_candidates_get_scores() -> None:
    candidates = np.arange(10) % 3 == 1
    scores = RandomScores().attribute(build_problem().restrict(candidates), {}).scores
    np.testing.assert_array_equal(~np.isnan(scores), candidates)
