import numpy as np

from attribot.attributors.similarity import Similarity
from attribot.types import Cost
from tests.attributors.fakes import LetterCountEmbedder, build_problem, response_of


def test_cosines_of_letter_counts_by_hand() -> None:
    # Response (a, b, c) = (1, 0, 0); sources (1, 0, 0), (0, 2, 0), (3, 0, 4).
    tiny = build_problem(paragraphs=[["a.", "bb."], ["aaa cccc."]], response=response_of("A"))
    attribution = Similarity().attribute(tiny, {"embedder": LetterCountEmbedder()})
    np.testing.assert_allclose(attribution.scores, [1.0, 0.0, 0.6], atol=1e-15)
    assert attribution.cost == Cost(forward_passes=4)


def test_only_candidates_are_embedded() -> None:
    full = build_problem()
    candidates = np.arange(10) % 3 == 1
    scorers = {"embedder": LetterCountEmbedder()}
    attribution = Similarity().attribute(full.restrict(candidates), scorers)
    everything = Similarity().attribute(full, scorers)
    np.testing.assert_allclose(
        attribution.scores, np.where(candidates, everything.scores, np.nan), atol=1e-15
    )
    assert attribution.cost.forward_passes == candidates.sum() + 1
