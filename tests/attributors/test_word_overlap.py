import numpy as np
import pytest

from attribot.attributors.word_overlap import WordOverlap
from attribot.types import Cost
from tests.attributors.fakes import build_problem, response_of


def bm25(query: str, documents: list[str], k1: float, b: float) -> list[float]:
    """The formula of the docstring, word by word; idf = ln(1 + (N - df + 1/2) / (df + 1/2))."""
    words = [document.lower().replace(".", "").split() for document in documents]
    mean_length = np.mean([len(document) for document in words])
    scores = []
    for document in words:
        score = 0.0
        for word in query.lower().split():
            frequency, found_in = document.count(word), sum(word in other for other in words)
            idf = np.log(1 + (len(words) - found_in + 0.5) / (found_in + 0.5))
            norm = k1 * (1 - b + b * len(document) / mean_length)
            score += idf * frequency / (frequency + norm)
        scores.append(score)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4)])
def test_equals_the_formula(k1: float, b: float) -> None:
    documents = ["Stone stone bridge.", "River bridge water mill.", "Mill."]
    tiny = build_problem(
        paragraphs=[documents[:2], documents[2:]], response=response_of("stone mill castle mill")
    )
    attribution = WordOverlap(k1, b, stop_words=None).attribute(tiny, {})
    wanted = bm25("stone mill castle mill", documents, k1, b)
    np.testing.assert_allclose(attribution.scores, wanted, rtol=1e-6)
    assert attribution.cost == Cost()


def test_stop_words_count_only_when_none_are_left_out() -> None:
    tiny = build_problem(paragraphs=[["The river.", "A mill."]], response=response_of("the"))
    assert WordOverlap().attribute(tiny, {}).scores.tolist() == [0.0, 0.0]
    assert WordOverlap(stop_words=None).attribute(tiny, {}).scores[0] > 0


@pytest.mark.parametrize(
    ("sentences", "response"),
    [(["Mill."], "castle"), (["Mill."], ""), (["The."], "the"), (["!"], "mill")],
)
def test_no_shared_word_scores_zero(sentences: list[str], response: str) -> None:
    tiny = build_problem(paragraphs=[sentences], response=response_of(response))
    assert WordOverlap().attribute(tiny, {}).scores.tolist() == [0.0]


def test_the_kept_sources_are_the_collection_and_the_candidates_are_scored() -> None:
    full = build_problem(
        paragraphs=[["stone.", "stone."], ["mill.", "stone mill."]], response=response_of("stone")
    )
    tree = full.tree
    kept = tree.remove(tree.all_kept(), [tree.sources[0]])
    candidates = np.array([False, True, False, True])
    scores = WordOverlap().attribute(full.restrict(candidates, kept), {}).scores
    wanted = bm25("stone", ["stone.", "mill.", "stone mill."], 1.5, 0.75)
    np.testing.assert_allclose(scores, [np.nan, wanted[0], np.nan, wanted[2]], rtol=1e-6)
