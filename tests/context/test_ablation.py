"""Positions of sources in rendered ablations, and of tokens in sources."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from attribot.attributors.ablation import Mask, Window
from attribot.attributors.base import Problem
from attribot.context.ablation import source_char_spans, sources_of_tokens
from attribot.context.partition import NupunktSplitter, build_tree
from attribot.models.generation import response_from_text
from attribot.scoring.base import HiddenSpans
from attribot.scoring.hiding import hidden_tokens, token_anchors
from attribot.types import Document, Example, Paragraph, Response
from tests.attributors.fakes import paragraphs_of, tree_of
from tests.context.texts import NUM_EXAMPLES, any_text
from tests.explain.cases import tiny


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


class Asked:
    """In the place of a scorer: keeps what is to be hidden."""

    def score_masked(
        self,
        prompt: str,
        ablations: Sequence[HiddenSpans],
        response: Response,  # noqa: ARG002
        close_gaps: bool,  # noqa: ARG002
    ) -> Any:
        self.prompt, self.ablations = prompt, ablations


@pytest.mark.parametrize("num_examples", NUM_EXAMPLES)
def test_any_text_is_hidden_token_by_token(num_examples: int) -> None:
    """A token is hidden with its source alone, those of several sources are those of each, and no
    visible char of a source lies outside the tokens."""
    model = tiny()
    windows: list[Window | int] = ["none", "sentence", "paragraph", 3]

    @settings(max_examples=num_examples, deadline=None)
    @given(
        st.lists(any_text, min_size=1, max_size=3),
        st.sampled_from(windows),
        st.data(),
    )
    def check(texts: list[str], window: Window | int, data: st.DataObject) -> None:
        document = Document(tuple(map(Paragraph, texts)))
        tree = build_tree(Example("", "", "", "", (document,)), NupunktSplitter())
        assume(tree.num_sources)
        some = sorted(data.draw(st.sets(st.integers(0, tree.num_sources - 1))))
        problem, asked = Problem.of(tree, "Why?", response_from_text(model, "So.")), Asked()
        Mask(window).score(problem, [*tree.sources[:, None], tree.sources[some]], asked)  # type: ignore[arg-type]
        char_spans = model.encode_prompt(asked.prompt).char_spans
        anchors = token_anchors(asked.prompt, char_spans)
        hidden = [hidden_tokens(anchors, each) for each in asked.ablations]
        removed = np.array([tokens for tokens, _ in hidden])
        assert removed[:-1].sum(axis=0).max() <= 1
        np.testing.assert_array_equal(removed[-1], removed[some].any(axis=0))
        assert not any((tokens & recomputed).any() for tokens, recomputed in hidden)
        offset = problem.template.context_offset(problem.query)
        places = source_char_spans(tree, tree.all_kept()) + offset
        owners = sources_of_tokens(asked.prompt, char_spans, places)
        np.testing.assert_array_equal(owners == np.arange(tree.num_sources)[:, None], removed[:-1])
        is_covered = np.zeros(len(asked.prompt), dtype=bool)
        for start, end in char_spans[char_spans[:, 0] >= 0]:
            is_covered[start:end] = True
        assert not "".join(np.array(list(asked.prompt))[~is_covered]).strip()

    check()
