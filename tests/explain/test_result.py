"""What a result shows, and how it travels."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from attribot.data.passages import Passage
from attribot.errors import InvalidInputError
from attribot.explain.result import (
    AttributionResult,
    SourceScore,
    SpanScores,
    ranks_of,
)
from attribot.types import Cost

NAN = math.nan
DOCUMENT = Passage("<b>One</b> & two. Three. Four.", "a<b", {"page": 7})
TEXTS = ("<b>One</b> & two.", "Three.", "Four.")
SCORES = (3.0, NAN, -1.5)
RESPONSE = "First part. <i>Second</i> part."


def source(index: int, score: float, rank: int) -> SourceScore:
    start = DOCUMENT.text.index(TEXTS[index])
    return SourceScore(
        index=index,
        text=TEXTS[index],
        document=0,
        document_id=DOCUMENT.document_id,
        metadata=DOCUMENT.metadata,
        paragraph=0,
        char_start=start,
        char_end=start + len(TEXTS[index]),
        score=score,
        rank=rank,
        is_pruned=math.isnan(score),
    )


def result_of(with_tokens: bool = True) -> AttributionResult:
    """Three sources, the second pruned; four tokens, two of them in each part."""
    tokens = np.array([[1.0, 0.5, 0.25, 1.25], [NAN] * 4, [-1.0, -0.5, 2.0, -2.0]])
    return AttributionResult(
        query="Why?",
        response=RESPONSE,
        documents=(DOCUMENT,),
        sources=tuple(map(source, range(3), SCORES, (1, 3, 2))),
        spans=(
            SpanScores(0, 12, "First part. ", (2.0, 0.75, NAN), (1, 2, 3)),
            SpanScores(12, 31, "<i>Second</i> part.", (0.25, 0.125, 0.5), (2, 3, 1)),
        ),
        token_offsets=np.array([[0, 5], [5, 11], [11, 25], [25, 31]]),
        token_scores=tokens if with_tokens else None,
        method="mask",
        reason="because <so>",
        unit="nats",
        cost=Cost(forward_passes=7, computed_tokens=1234, wall_seconds=0.5),
        model="tiny",
        base_log_likelihood=-11.0,
    )


def test_ranks_share_the_best_place_of_a_tie() -> None:
    assert ranks_of(np.array([2.0, 5.0, 2.0, 1.0])) == (2, 1, 2, 4)


def test_top_is_by_rank() -> None:
    assert [each.number for each in result_of().top(2)] == [1, 3]
    np.testing.assert_array_equal(result_of().scores, SCORES)


def test_the_table_shows_scores_and_says_what_it_leaves_out() -> None:
    lines = str(result_of()).splitlines()
    assert "mask: because <so>" in lines[1]
    assert "7 forward passes, 1,234 tokens computed, 0.5 s" in lines[2]
    rows = [line.split(maxsplit=4) for line in lines[-3:]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[1] for row in rows] == ["+3.000", "-1.500", "pruned"]
    assert [row[2] for row in rows] == ["[1]", "[3]", "[2]"]
    many = replace(result_of(), sources=result_of().sources * 5, noise_floor=0.012)
    assert str(many).splitlines()[-2:] == [
        "... and 5 more sources",
        "scores below 0.012 nats are rounding noise",
    ]


def test_citations_stand_behind_their_parts() -> None:
    result = result_of()
    assert result.cite() == "First part. [1][2] <i>Second</i> part."
    assert result.cite(1, 0.2) == "First part. [1] <i>Second</i> part. [3]"
    assert replace(result, spans=()).cite() == RESPONSE + " [1]"
    assert replace(result, unit="cosine").cite(9).endswith("part. [3][1][2]")


def test_a_part_that_was_asked_for_has_its_own_scores() -> None:
    part = result_of().span(0, 12)
    assert part.response == "First part. "
    np.testing.assert_array_equal(part.scores, [2.0, 0.75, NAN])
    assert [each.rank for each in part.sources] == [1, 2, 3]
    assert [each.is_pruned for each in part.sources] == [False, False, True]
    assert part.token_offsets.tolist() == [[0, 5], [5, 11]]


def test_another_part_sums_the_scores_of_its_tokens() -> None:
    part = result_of().span(6, 25)
    np.testing.assert_array_equal(part.scores, [0.75, NAN, 1.5])
    assert [each.rank for each in part.sources] == [2, 3, 1]
    assert part.token_offsets.tolist() == [[0, 5], [5, 19]]


def test_parts_that_cannot_be_told_are_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"mask has no scores by token: .*spans=\[\(6, 25\)"
    ):
        result_of(with_tokens=False).span(6, 25)
    with pytest.raises(InvalidInputError, match=r"expected a part of the response's 31 chars; got"):
        result_of().span(6, 99)
    assert result_of(with_tokens=False).span(12, 31).sources[2].rank == 1


def test_json_gives_the_result_back() -> None:
    for result in (result_of(), result_of(with_tokens=False)):
        text = result.to_json()
        again = AttributionResult.from_json(text)
        assert again.to_json() == text
        np.testing.assert_array_equal(again.scores, result.scores)
        assert again.documents == result.documents
        assert again.token_offsets.tolist() == result.token_offsets.tolist()
        assert str(again) == str(result)
    plain = json.loads(result_of().to_json())
    assert plain["sources"][1]["score"] is None
    assert plain["token_scores"][1] == [None] * 4
    assert plain["schema_version"] == 1


def test_json_says_how_the_response_came_about() -> None:
    written = replace(result_of(), is_response_written=True, is_response_cut=False)
    again = AttributionResult.from_json(written.to_json())
    assert (again.is_response_written, again.is_response_cut) == (True, False)
    # Files from before these were kept.
    plain = written.to_dict()
    del plain["is_response_written"], plain["is_response_cut"]
    older = AttributionResult.from_dict(plain)
    assert (older.is_response_written, older.is_response_cut) == (None, None)
    assert older.to_json() == result_of().to_json()


def test_the_short_form_is_one_line() -> None:
    assert repr(result_of()) == (
        "<AttributionResult by mask of tiny; sources: 3, documents: 1; first [1] +3 nats: "
        "'<b>One</b> & two.'>"
    )
    long = replace(source(0, 3.0, 1), text="word " * 999)
    assert len(repr(replace(result_of(), sources=(long,)))) < 200


def test_other_json_is_refused() -> None:
    for text in ("{}", "[]", '{"schema_version": 9}'):
        with pytest.raises(InvalidInputError, match="expected a result of attribot with schema_v"):
            AttributionResult.from_json(text)
    with pytest.raises(InvalidInputError, match="expected a result as JSON"):
        AttributionResult.from_json("{")


def test_metadata_that_json_cannot_hold_is_named() -> None:
    odd = replace(result_of(), documents=(replace(DOCUMENT, metadata={"when": object()}),))
    with pytest.raises(InvalidInputError, match="the metadata of documents must be texts"):
        odd.to_json()


def test_pandas_has_a_row_per_source() -> None:
    frame = result_of().to_pandas()
    assert frame["text"].tolist() == list(TEXTS)
    np.testing.assert_array_equal(frame["score"], SCORES)
    np.testing.assert_array_equal(frame["score[12:31]"], [0.25, 0.125, 0.5])
    assert frame["metadata"].tolist() == [{"page": 7}] * 3
