"""The page's data: text cut without loss, numbers as they were, refusals of what does not fit."""

import json
from typing import Any

import numpy as np
import pytest

from attribot.errors import InvalidInputError
from attribot.explain.result import SCHEMA_VERSION, AttributionResult
from attribot.report import page_data
from attribot.report.page_data import data_of_results, rounded, source_data
from attribot.report.response_parts import (
    ranks_of,
    response_pieces,
    scores_of_parts,
    tokens_of_parts,
)
from tests.report.page_results import (
    RESPONSE,
    RESPONSE_SENTENCES,
    SENTENCES,
    attention,
    result,
)

YEAR = {"char_start": 13, "char_end": 17, "scores": [0.5, 2.0, None, -1.0], "ranks": [2, 1, 4, 3]}


def example_of(*results: dict[str, Any], sentences: Any = RESPONSE_SENTENCES) -> Any:
    data = data_of_results(results, sentences)
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    return data["examples"][0]


def test_the_context_and_the_response_come_back_whole() -> None:
    example = example_of(result())
    context = "".join(source["before"] + source["text"] for source in example["sources"])
    given = result()["documents"][0]["text"]
    assert context + example["after"] == given
    assert [source["text"] for source in example["sources"]] == list(SENTENCES)
    assert [source["paragraph"] for source in example["sources"]] == [0, 0, 1, 1]
    assert "".join(piece["text"] for piece in example["pieces"]) == RESPONSE
    assert example["parts"] == ["It opened in 1889.", "A radio saved it."]
    assert example["tokens"][:4] + example["tokens"][-1:] == ["It", " opened", " in", " 1889.", ""]


def test_scores_of_a_sentence_are_those_of_its_tokens() -> None:
    of = result()
    one = example_of(of)["results"][0]
    tokens = np.array(of["token_scores"][:3], dtype=float)
    # Four words each; the end-of-turn token is of neither.
    expected = [tokens[:, :4].sum(axis=1), tokens[:, 4:8].sum(axis=1)]
    found = np.array([row[:3] for row in one["part_scores"]], dtype=float)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert [row[3] for row in one["part_scores"]] == [None, None]
    assert one["part_ranks"] == [ranks_of(row) for row in one["part_scores"]]
    np.testing.assert_allclose(np.array(one["token_scores"][:3]), tokens, rtol=1e-2)
    assert one["token_scores"][3] is None
    assert (one["scores"][3], one["ranks"]) == (None, [source["rank"] for source in of["sources"]])


def test_the_page_reads_what_results_write() -> None:
    real = AttributionResult.from_dict({"schema_version": SCHEMA_VERSION, **result()})
    expected = data_of_results([result()], RESPONSE_SENTENCES)
    assert data_of_results([real.to_dict()], RESPONSE_SENTENCES) == expected


def test_spans_of_the_result_take_the_place_of_sentences() -> None:
    example = example_of(result(spans=[YEAR], token_scores=None))
    assert example["parts"] == ["1889"]
    assert example["results"][0]["part_scores"] == [[0.5, 2.0, None, -1.0]]
    assert example["results"][0]["part_ranks"] == [[2, 1, 4, 3]]
    assert [piece["part"] for piece in example["pieces"]] == [-1, 0, -1]


def test_the_page_knows_the_tokens_of_every_part() -> None:
    # "It", " opened", " in", " 1889.", " A", " radio", " saved", " it.", and the end-of-turn token.
    assert example_of(result())["part_tokens"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert example_of(result(spans=[YEAR]))["part_tokens"] == [[3]]
    assert example_of(attention())["part_tokens"] == [[], []]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0)])
def test_results_with_spans_stand_beside_results_without(order: tuple[int, ...]) -> None:
    """Those without have the sums of their tokens, where they have tokens."""
    given = [result("loo", spans=[YEAR]), attention(), result("proxy")]
    example = example_of(*(given[index] for index in order))
    assert example["parts"] == ["1889"]
    found = dict(zip(order, example["results"], strict=True))
    assert found[0]["part_scores"] == [[0.5, 2.0, None, -1.0]]
    assert found[1]["part_scores"] is None
    sums = np.array([row[3] for row in given[2]["token_scores"]], dtype=float)
    np.testing.assert_allclose(np.array(found[2]["part_scores"][0], float), sums, rtol=1e-3)


def test_a_method_without_token_scores_has_no_parts_and_says_so() -> None:
    data = data_of_results([result(has_tokens=False)], RESPONSE_SENTENCES)
    (one,) = data["examples"][0]["results"]
    assert one is not None
    assert (one["part_scores"], one["token_scores"]) == (None, None)
    assert data["part_note"] == "This method scores the whole response, not its sentences."
    assert data_of_results([result()], RESPONSE_SENTENCES)["part_note"] == ""


def test_two_methods_stand_on_one_page() -> None:
    data = data_of_results([result(), attention()], RESPONSE_SENTENCES)
    assert [method["name"] for method in data["methods"]] == ["loo", "attention"]
    assert [one and one["part_scores"] is None for one in data["examples"][0]["results"]] == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("response", {"response": "Another response of the model here, as long."}),
        ("sources", {"sentences": SENTENCES[:3]}),
        ("spans", {"spans": [{**YEAR, "char_start": 3}]}),
        ("tokens", {"token_offsets": [[0, 1]]}),
    ],
)
def test_results_about_something_else_are_refused(what: str, changes: dict[str, Any]) -> None:
    given = [attention(), result(spans=[YEAR]), result("other", **changes)]
    given = given[what in ("response", "sources") :]
    with pytest.raises(InvalidInputError, match=f"the same {what}; loo and other differ"):
        data_of_results(given)


def test_no_result_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one result"):
        data_of_results([])


def test_documents_follow_each_other_and_empty_ones_are_passed_over() -> None:
    of = result()
    texts = ("# One. \n", "", "Two. Three!")
    documents = [
        {"text": text, "document_id": str(index), "metadata": {}}
        for index, text in enumerate(texts)
    ]
    places = [(0, 2, 6), (2, 0, 4), (2, 5, 10)]
    sources = [
        {**source, "document": document, "char_start": start, "char_end": end}
        for source, (document, start, end) in zip(of["sources"], places, strict=False)
    ]
    example = example_of(
        {**of, "documents": documents, "sources": sources, "token_scores": None}, sentences=()
    )
    assert [(one["before"], one["text"], one["document"]) for one in example["sources"]] == [
        ("# ", "One.", "document 1"),
        ("", "Two.", "document 3"),
        (" ", "Three", "document 3"),
    ]
    closings = [source.get("closing") for source in example["sources"]]
    assert (closings, example["after"]) == (["", " \n\n\n", None], "!")


def test_token_scores_beyond_the_limit_are_left_out_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_data, "MAX_TOKEN_SCORES", 35)
    one = example_of(result())["results"][0]
    assert one["token_scores"] is None
    assert len(one["part_scores"]) == 2
    assert one["notes"][-1] == (
        "Scores by token are left out: 36 of them, more than the 35 that a page holds."
    )


def test_text_beyond_16_bits_is_cut_where_python_counts() -> None:
    context = "Title 🗼\n😀 one. \n\ntwo"
    cut, after = source_data(context, [(8, 14), (17, 19)], ["a", "b"], [0, 1])
    assert cut == [
        {"text": "😀 one.", "before": "Title 🗼\n", "document": "a", "paragraph": 0, "closing": ""},
        {"text": "tw", "before": " \n\n", "document": "b", "paragraph": 1, "closing": ""},
    ]
    assert after == "o"


def test_tokens_of_one_char_share_its_piece() -> None:
    # An emoji of three tokens, all with its offsets; parts that overlap.
    pieces = response_pieces(
        "a😀b", [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3), (3, 3)], [(0, 2), (1, 3)]
    )
    assert [(piece["text"], piece["tokens"], piece["part"]) for piece in pieces] == [
        ("a", [0], 0),
        ("😀", [1, 2, 3], 0),
        ("b", [4], 1),
    ]
    assert response_pieces("", [], []) == []


def test_tokens_of_a_part_are_those_that_say_some_of_it() -> None:
    text, offsets = "So. Then I", [(0, 2), (2, 3), (3, 8), (8, 10), (10, 10)]
    # White space ends the sentence before it, and begins the token behind it.
    assert tokens_of_parts(text, offsets, [(0, 4), (4, 10)]) == [[0, 1], [2, 3]]
    # Quotes begin and end within tokens; what lies between is inside.
    assert tokens_of_parts(text, offsets, [(5, 6), (1, 5), (0, 10)]) == [
        [2],
        [0, 1, 2],
        [0, 1, 2, 3],
    ]
    assert tokens_of_parts("a\n\nb", [(0, 1), (1, 3), (3, 4)], [(0, 3), (3, 4)]) == [[0, 1], [2]]
    blank = [(0, 1), (1, 3), (3, 4)]
    assert tokens_of_parts("a\n\nb", blank, [(0, 2), (2, 3)]) == [[0, 1], [1]]
    assert tokens_of_parts(text, [], [(0, 4)]) == [[]]


def test_they_are_those_that_the_span_of_a_result_counts() -> None:
    real = AttributionResult.from_dict({"schema_version": SCHEMA_VERSION, **result()})
    parts = [(0, 18), (19, 36), (13, 17), (5, 21), (35, 36)]
    given = tokens_of_parts(RESPONSE, real.token_offsets.tolist(), parts)
    assert real.token_scores is not None
    found = np.array(scores_of_parts(real.token_scores.tolist()[:3], given), float)
    expected = [real.span(start, end).scores[:3] for start, end in parts]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_scores_of_a_part_are_sums_and_none_where_pruned() -> None:
    scores = scores_of_parts([[1.0, 2.0, 4.0, 8.0], [None] * 4], [[0, 1], [1, 2], []])
    assert scores == [[3.0, None], [6.0, None], [0.0, None]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.23456, 1.235), (-0.000123456, -0.0001235), (float("nan"), None), (None, None)],
)
def test_numbers_keep_four_digits(value: float | None, expected: float | None) -> None:
    assert rounded(value) == expected


def test_ranks_share_ties_and_put_the_pruned_last() -> None:
    assert ranks_of([0.5, None, 2.0, 0.5, -1.0, None]) == [2, 5, 1, 2, 4, 5]


def test_a_document_begins_where_its_name_changes() -> None:
    cut, _ = source_data("abcd", [(0, 1), (1, 2), (2, 3), (3, 4)], ["x", "x", "y", "x"], [0] * 4)
    assert ["closing" in source for source in cut] == [True, False, True, True]


def test_documents_of_one_name_are_parted_all_the_same() -> None:
    example = example_of(result(names=("same.txt", "same.txt")))
    assert [source["document"] for source in example["sources"]] == ["same.txt"] * 4
    assert ["closing" in source for source in example["sources"]] == [True, False, True, False]
    assert [source["paragraph"] for source in example["sources"]] == [0, 0, 0, 0]
