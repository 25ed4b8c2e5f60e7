"""Positions of sources in rendered ablations, and of tokens in sources."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attribot.context.ablation import source_char_spans, sources_of_tokens
from tests.attributors.fakes import paragraphs_of, tree_of


@given(removed=st.sets(st.integers(0, 13)), header=st.sampled_from(["", "# Head\n"]))
def test_spans_cut_each_kept_source_out_of_the_rendered_context(
    removed: set[int], header: str
) -> None:
    tree = tree_of(paragraphs_of(), header=header)
    kept = tree.remove(tree.all_kept(), removed)
    rendered, spans = tree.render(kept), source_char_spans(tree, kept)
    for source, node in enumerate(tree.sources):
        if kept[node]:
            start, end = spans[source]
            assert rendered[start:end] == tree.text[tree.start[node] : tree.end[node]]
        else:
            assert spans[source].tolist() == [-1, -1]


def test_spans_by_hand() -> None:
    tree = tree_of([["A.", "Bb."], ["Ccc."]], header="#")
    # "#A. Bb. \n\n#Ccc. \n\n" without "A. "
    kept = tree.remove(tree.all_kept(), [tree.sources[0]])
    assert tree.render(kept) == "#Bb. \n\n#Ccc. \n\n"
    assert source_char_spans(tree, kept).tolist() == [[-1, -1], [1, 5], [8, 13]]


@pytest.mark.parametrize(
    ("span", "source"),
    [
        ((0, 3), 0),  # "One"
        ((3, 6), 1),  # " Tw": its white space is the separator of the first source
        ((2, 6), 0),  # "e Tw" straddles two sources: the first visible char decides
        ((7, 10), 2),  # "\n\nT": so does it across a paragraph border
        ((7, 9), -1),  # "\n\n" belongs to the paragraph, to none of its sources
        ((3, 4), 0),  # " " alone goes with the source whose separator it is
        ((13, 15), 2),  # "e!" reaches past the end, into the chat template
        ((-2, 2), 0),  # and before the start
        ((4, 4), -1),  # an empty token
        ((-1, -1), -1),  # a token of the chat template
    ],
)
def test_the_first_visible_char_decides(span: tuple[int, int], source: int) -> None:
    text = "One Two\n\nThree"
    source_spans = np.array([[0, 4], [4, 7], [9, 14]])
    assert sources_of_tokens(text, np.array([span]), source_spans).tolist() == [source]


def test_removed_sources_hold_no_token() -> None:
    spans = np.array([[0, 1], [2, 3]])
    assert sources_of_tokens("a b", spans, np.array([[-1, -1], [2, 3]])).tolist() == [-1, 1]
