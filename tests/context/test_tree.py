"""Masks over random trees: rendering against a naive join of the kept pieces."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.context.partition import NupunktSplitter, build_tree
from attribot.context.tree import ContextTree
from attribot.types import LEVELS, Document, Example, Paragraph, Separators
from tests.context.texts import any_text

texts = st.text(alphabet="ab. \n", max_size=5) | any_text
sentence_lists = st.lists(texts.filter(str.strip), max_size=4)
headers = st.sampled_from(["", "H\n", "## x\n\n"])


@dataclass(frozen=True)
class Case:
    """Documents as plain lists: (header, [(header, sentences)])."""

    documents: list[tuple[str, list[tuple[str, list[str]]]]]
    separators: Separators

    def tree(self) -> ContextTree:
        documents = []
        for header, paragraphs in self.documents:
            cut = []
            for paragraph_header, sentences in paragraphs:
                ends = np.cumsum([len(sentence) for sentence in sentences], dtype=int).tolist()
                cut.append(Paragraph("".join(sentences), tuple(ends), paragraph_header))
            documents.append(Document(tuple(cut), header))
        example = Example("", "", "", "", tuple(documents), separators=self.separators)
        return build_tree(example, NupunktSplitter())

    def render(self, kept: list[bool]) -> str:
        """The context by walking the lists; `kept` is consumed in the order of the nodes."""
        out, node = "", iter(kept)
        for header, paragraphs in self.documents:
            in_document, text = next(node), header
            for paragraph_header, sentences in paragraphs:
                in_paragraph, inner = next(node), paragraph_header
                for index, sentence in enumerate(sentences):
                    is_open = index == len(sentences) - 1 and not sentence[-1].isspace()
                    if next(node):
                        inner += sentence + (self.separators.sentence if is_open else "")
                text += inner + self.separators.paragraph if in_paragraph else ""
            out += text + self.separators.document if in_document else ""
        return out


cases = st.builds(
    Case,
    st.lists(
        st.tuples(headers, st.lists(st.tuples(headers, sentence_lists), max_size=3)), max_size=3
    ),
    st.builds(
        Separators,
        st.sampled_from(["", " "]),
        st.sampled_from(["", "\n\n"]),
        st.sampled_from(["", "\n--\n"]),
    ),
)


def random_nodes(tree: ContextTree, data: st.DataObject) -> list[int]:
    return data.draw(st.lists(st.integers(0, tree.num_nodes - 1))) if tree.num_nodes else []


@settings(max_examples=40, deadline=None)
@given(cases, st.data())
def test_render_is_the_join_of_the_kept_pieces(case: Case, data: st.DataObject) -> None:
    tree = case.tree()
    kept = tree.remove(tree.all_kept(), random_nodes(tree, data))
    assert tree.render(kept) == case.render(kept.tolist())
    assert tree.render(tree.all_kept()) == tree.text


@settings(max_examples=40, deadline=None)
@given(cases, st.data())
def test_removals_compose_in_any_order(case: Case, data: st.DataObject) -> None:
    tree = case.tree()
    first, second = random_nodes(tree, data), random_nodes(tree, data)
    one_way = tree.remove(tree.remove(tree.all_kept(), first), second)
    other_way = tree.remove(tree.remove(tree.all_kept(), second), first)
    at_once = tree.remove(tree.all_kept(), [*first, *second])
    np.testing.assert_array_equal(one_way, other_way)
    np.testing.assert_array_equal(one_way, at_once)


@settings(max_examples=40, deadline=None)
@given(cases)
def test_extents_nest_and_contents_are_stripped(case: Case) -> None:
    tree = case.tree()
    for node in range(tree.num_nodes):
        start, end, parent = tree.start[node], tree.end[node], tree.parent[node]
        assert start <= tree.content_start[node] <= tree.content_end[node] <= end
        if parent >= 0:
            assert tree.level[node] == tree.level[parent] + 1
            assert tree.start[parent] <= start <= end <= tree.end[parent]
    sentences = [s for _, paragraphs in case.documents for _, cut in paragraphs for s in cut]
    contents = [tree.source_text(source) for source in range(tree.num_sources)]
    assert contents == [sentence.strip() for sentence in sentences]


def two_paragraphs() -> ContextTree:
    paragraphs = (Paragraph("A b. C d.", (5, 9)), Paragraph("E f.", (4,)))
    example = Example("", "", "", "", (Document(paragraphs, "H\n"),))
    return build_tree(example, NupunktSplitter())


def test_hand_worked_arrays() -> None:
    tree = two_paragraphs()
    assert tree.text == "H\nA b. C d. \n\nE f. \n\n"
    assert [LEVELS[level] for level in tree.level] == [
        "document",
        "paragraph",
        "sentence",
        "sentence",
        "paragraph",
        "sentence",
    ]
    np.testing.assert_array_equal(tree.parent, [-1, 0, 1, 1, 0, 4])
    np.testing.assert_array_equal(tree.start, [0, 2, 2, 7, 14, 14])
    np.testing.assert_array_equal(tree.end, [21, 14, 7, 12, 21, 19])
    np.testing.assert_array_equal(tree.content_start, [2, 2, 2, 7, 14, 14])
    np.testing.assert_array_equal(tree.content_end, [18, 11, 6, 11, 18, 18])
    np.testing.assert_array_equal(tree.sources, [2, 3, 5])
    np.testing.assert_array_equal(tree.unit_of_source("paragraph"), [1, 1, 4])
    np.testing.assert_array_equal(tree.unit_of_source("document"), [0, 0, 0])


def test_removing_sentences_leaves_and_removing_a_paragraph_takes_its_separator() -> None:
    tree = two_paragraphs()
    assert tree.render(tree.remove(tree.all_kept(), tree.sources)) == "H\n\n\n\n\n"
    without_paragraph = tree.remove(tree.all_kept(), [1])
    assert tree.render(without_paragraph) == "H\nE f. \n\n"
    np.testing.assert_array_equal(tree.kept_sources(without_paragraph), [False, False, True])
