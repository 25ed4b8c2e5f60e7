"""How many units the adaptive rules keep: hand-worked screens, limits, and the promised recall."""

import numpy as np
import pytest

from attribot.attributors.adaptive_keep import (
    KeepGap,
    KeepOutliers,
    KeepRecall,
    recall_threshold,
    unit_distances,
)
from attribot.attributors.keep import Keep, RankedUnits, TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.errors import InvalidInputError
from attribot.evaluation.outliers import GeneralizedESD, MedianAbsoluteDeviation
from attribot.types import Attribution, Cost
from tests.attributors.fakes import AdditiveScorer, build_problem

NAN = np.nan
# Best first: sources 7, 1, 3, 2 and the six others.
SCORES = np.array([0.0, 8, 5, 6, 0.5, 0.25, 0.125, 9, 0.0625, -1])


@pytest.fixture(scope="module")
def problem():
    return build_problem((2, 3, 5))


def kept_sources(keep, problem, *stage_scores):
    """Ids of the sources that survive a screen of the given stages."""
    screen = Attribution(np.array(stage_scores, dtype=float), Cost())
    return np.searchsorted(problem.tree.sources, keep.survivors(screen, problem.tree)).tolist()


RULES = [
    KeepGap(),
    KeepOutliers(MedianAbsoluteDeviation()),
    KeepRecall(0.5),
    KeepRecall(0.3, "rank_share"),
    KeepRecall(3, "rank"),
]


@pytest.mark.parametrize("keep", RULES, ids=repr)
def test_a_screen_with_four_clear_winners_keeps_them(problem, keep):
    assert isinstance(keep, Keep)
    assert kept_sources(keep, problem, SCORES) == [1, 2, 3, 7]


@pytest.mark.parametrize("keep", RULES, ids=repr)
def test_one_unit_is_kept_at_least(problem, keep):
    only = np.full(10, NAN)
    only[4] = -3.0
    assert kept_sources(keep, problem, only) == [4]


@pytest.mark.parametrize("keep", [*RULES, TopK(3)], ids=repr)
def test_a_screen_that_scored_nothing_is_refused(problem, keep):
    with pytest.raises(InvalidInputError, match="scored no source"):
        kept_sources(keep, problem, np.full(10, NAN))


@pytest.mark.parametrize("keep", RULES, ids=repr)
def test_the_unit_of_the_scores_does_not_matter(problem, keep):
    assert kept_sources(keep, problem, 1e-3 * SCORES - 70) == kept_sources(keep, problem, SCORES)


@pytest.mark.parametrize(
    "keep",
    [
        KeepGap(min_k=10),
        KeepOutliers(GeneralizedESD(), min_k=10),
        KeepRecall(1.0),
        KeepRecall(9, "rank"),
    ],
    ids=repr,
)
def test_keeping_all_is_exact(problem, keep):
    scorers = {"target": AdditiveScorer.planted(problem, SCORES)}
    exact = LeaveOneOut().attribute(problem, scorers)
    method = TwoStage(LeaveOneOut(), keep, LeaveOneOut())
    np.testing.assert_array_equal(method.attribute(problem, scorers).scores, exact.scores)


def test_gaps_are_sought_within_the_bounds(problem):
    # Gaps behind the k best: 1, 2, 1, 4.5 and small ones.
    assert kept_sources(KeepGap(max_k=3), problem, SCORES) == [1, 7]
    assert kept_sources(KeepGap(max_k=1), problem, SCORES) == [7]
    assert kept_sources(KeepGap(min_k=3, max_k=3), problem, SCORES) == [1, 3, 7]
    # Behind five and more the largest is that before the worst.
    assert kept_sources(KeepGap(min_k=5), problem, SCORES) == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_of_equal_gaps_the_last_counts(problem):
    assert kept_sources(KeepGap(max_k=4), problem, np.ones(10)) == [0, 1, 2, 3]
    assert kept_sources(KeepGap(), problem, np.arange(10.0)) == list(range(1, 10))


def test_tied_units_are_not_parted_by_a_gap(problem):
    scores = np.array([0.0, 4, 0, 0, 4, 0, 0, 0, 4, 0])
    assert kept_sources(KeepGap(max_k=5), problem, scores) == [1, 4, 8]


def test_the_best_outliers_stay_where_too_many_stand_out(problem):
    rule = MedianAbsoluteDeviation()
    assert kept_sources(KeepOutliers(rule, max_k=2), problem, SCORES) == [1, 7]
    assert kept_sources(KeepOutliers(rule, min_k=5), problem, SCORES) == [1, 2, 3, 4, 7]


def test_without_outliers_the_best_unit_stays(problem):
    assert kept_sources(KeepOutliers(GeneralizedESD()), problem, np.ones(10)) == [0]


def test_constant_scores_are_no_distance_apart(problem):
    assert kept_sources(KeepRecall(0.0), problem, np.ones(10)) == list(range(10))
    assert kept_sources(KeepRecall(0.0, "rank"), problem, np.ones(10)) == [0]


def test_units_of_a_level_have_the_score_of_their_best_source(problem):
    screen = Attribution(SCORES[None], Cost())
    tree = problem.tree
    paragraphs = tree.units("paragraph")
    ranked = RankedUnits.of_screen(screen, tree, "paragraph")
    assert ranked.nodes.tolist() == paragraphs[[2, 0, 1]].tolist()
    assert ranked.scores.tolist() == [9, 8, 6]
    # The second gap is the larger one.
    assert KeepGap(level="paragraph").survivors(screen, tree).tolist() == [
        paragraphs[0],
        paragraphs[2],
    ]


def test_units_that_only_an_earlier_stage_scored_come_last(problem):
    final = np.full(10, NAN)
    final[[2, 3, 4]] = [1.0, 3.0, 0.5]
    first = np.array([9.0, 8, 1, 1, 1, 0, 0, 0, 0, 0])
    first[9] = NAN
    ranked = RankedUnits.of_screen(Attribution(np.array([final, first]), Cost()), problem.tree)
    sources = np.searchsorted(problem.tree.sources, ranked.nodes)
    assert sources.tolist() == [3, 2, 4, 0, 1, 5, 6, 7, 8]
    np.testing.assert_array_equal(ranked.scores, [3, 1, 0.5] + 6 * [NAN])
    np.testing.assert_allclose(unit_distances(ranked, "gap"), [0, 0.8, 1] + 6 * [2])
    np.testing.assert_array_equal(unit_distances(ranked, "rank"), range(9))
    np.testing.assert_allclose(unit_distances(ranked, "rank_share"), np.arange(9) / 9)
    assert kept_sources(KeepGap(), problem, final, first) == [3]
    assert kept_sources(KeepGap(min_k=5), problem, final, first) == [0, 1, 2, 3, 4]
    assert kept_sources(KeepRecall(1.0), problem, final, first) == [2, 3, 4]
    assert kept_sources(KeepRecall(2.0), problem, final, first) == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert kept_sources(KeepOutliers(np.ones_like), problem, final, first) == [2, 3, 4]


@pytest.mark.parametrize("recall", [0.5, 0.75, 0.9])
@pytest.mark.parametrize("num_examples", [9, 10, 23])
def test_one_outlier_per_example_gives_the_quantile_of_split_conformal(recall, num_examples):
    distances = np.random.default_rng(num_examples).random(num_examples)
    rank = int(np.ceil((num_examples + 1) * recall - 1e-9))
    threshold = recall_threshold([np.array([d]) for d in distances], recall)
    assert threshold == np.sort(distances)[rank - 1]


def test_examples_count_alike_however_many_outliers_they_have():
    many, one = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5])
    # (misses + 1) / 3 <= 1 / 2 takes misses <= 1 / 2: the one outlier of its example, and half of
    # the four of the other would do; but those are nearer, so all are kept.
    assert recall_threshold([many, one], 0.5) == 0.5
    assert recall_threshold([many, one], 0.3) == 0.4
    # (misses + 1) / 3 <= 0.9 takes misses <= 1.7: a half of the four outliers is more than enough.
    assert recall_threshold([many, one], 0.1) == 0.2
    assert recall_threshold([many, one, np.array([])], 0.1) == 0.2


def simulated_example(rng):
    """A screen that sees outliers through noise; context length and number of outliers vary."""
    num_sources = int(rng.integers(5, 30))
    is_outlier = np.zeros(num_sources, dtype=bool)
    is_outlier[rng.choice(num_sources, size=int(rng.integers(1, 4)), replace=False)] = True
    scores = rng.normal(size=num_sources) + 2 * is_outlier
    return scores, is_outlier


def outlier_distances(scores, is_outlier, distance):
    ranks = (-scores).argsort().argsort()
    ranked = RankedUnits.of_sources(np.arange(len(scores)), len(scores) - ranks, scores)
    return unit_distances(ranked, distance)[ranks[is_outlier]]


@pytest.mark.parametrize("distance", ["gap", "rank", "rank_share"])
@pytest.mark.parametrize(("recall", "num_examples"), [(0.8, 9), (0.9, 19)])
def test_the_promised_recall_is_kept_in_expectation(distance, recall, num_examples):
    """Calibration and one new example are drawn anew each time: the expectation is over both."""
    rng = np.random.default_rng(0)
    pool = [outlier_distances(*simulated_example(rng), distance) for _ in range(500)]
    num_draws = 500
    recalls = []
    for _ in range(num_draws):
        *calibration, new = [pool[i] for i in rng.choice(500, num_examples + 1, replace=False)]
        recalls.append((new <= recall_threshold(calibration, recall)).mean())
    error = np.std(recalls) / np.sqrt(num_draws)
    assert np.mean(recalls) > recall - 3 * error
    if distance == "gap":
        # Without ties it is not far exceeded either: 2 / (N + 1) at most, by theorem 2.
        assert np.mean(recalls) < recall + 2 / (num_examples + 1) + 3 * error


def test_too_few_examples_are_refused():
    with pytest.raises(InvalidInputError, match=r"0\.9 needs at least 9 .* got 8"):
        recall_threshold([np.array([1.0])] * 8 + [np.array([])] * 5, 0.9)
    assert recall_threshold([np.array([1.0])] * 9, 0.9) == 1.0


@pytest.mark.parametrize("recall", [0.0, 1.0, -0.5, NAN])
def test_a_recall_outside_its_range_is_refused(recall):
    with pytest.raises(InvalidInputError, match="between 0 and 1"):
        recall_threshold([np.array([1.0])], recall)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: KeepGap(min_k=0), "min_k=0"),
        (lambda: KeepGap(min_k=11), "min_k=11, max_k=10"),
        (lambda: KeepOutliers(GeneralizedESD(), max_k=0), "max_k=0"),
        (lambda: KeepRecall(-0.1), r"at least 0; got -0\.1"),
        (lambda: KeepRecall(NAN), "at least 0; got nan"),
        (lambda: KeepRecall(0.1, "share"), "'gap', 'rank', 'rank_share'.*'share'"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(InvalidInputError, match=message):
        build()


def test_rules_compare_and_hash_as_their_settings():
    assert len({*RULES, *RULES}) == len(RULES)
