"""What an attribution tells: sources with their places, scores and ranks; views and files of it.

Importable without torch, so that saved results can be read anywhere.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from attribot.data.passages import Passage
from attribot.errors import InvalidInputError
from attribot.explain.parts import token_range
from attribot.explain.rendering import cited, heat_map, table
from attribot.extras import import_extra
from attribot.types import Cost, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
# Chars of the best source's text in the short form of a result.
REPR_WIDTH = 60


@dataclass(frozen=True)
class SourceScore:
    """A source: where it stands in what was given, and what it did.

    index: of the source, in the order of the context.
    document: index into `AttributionResult.documents`; document_id, metadata: of that document.
    paragraph: index within the document. char_start, char_end: extent in its text.
    score: positive = the response is less likely without it; NaN where it is pruned.
    rank: 1 = first; tied sources share the best rank of the tie, pruned ones come last, in the
        order of the screen.
    """

    index: int
    text: str
    document: int
    document_id: str
    metadata: Mapping[str, Any]
    paragraph: int
    char_start: int
    char_end: int
    score: float
    rank: int
    is_pruned: bool

    @property
    def number(self) -> int:
        """What citations call it: its index, counted from 1."""
        return self.index + 1


@dataclass(frozen=True)
class SpanScores:
    """A part of the response, at chars `[char_start, char_end)`.

    scores: `[num_sources]`, NaN where pruned. ranks: `[num_sources]`; see `SourceScore`.
    """

    char_start: int
    char_end: int
    text: str
    scores: tuple[float, ...]
    ranks: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class AttributionResult:
    """Which parts of the context made a response likely.

    documents: as given. sources: in the order of the context.
    spans: the parts of the response that were asked for, in the order asked.
    token_offsets: `[num_response_tokens, 2]` chars of each token in `response`; the end-of-turn
        token has none.
    token_scores: `[num_sources, num_response_tokens]` the scores by token [nats], NaN where
        pruned; None for methods without.
    method, reason: what was computed, and why that.
    unit: of the scores.
    cost: of all scoring, plans and the response itself aside.
    model: name of what is explained. provenance: what else the numbers depend on.
    noise_floor: root mean square of what rounding alone does to scores [nats], where measured;
        smaller scores say nothing.
    base_log_likelihood: of the response under the context of the final stage [nats]; None for
        methods without.
    is_response_written: the model wrote the response for this attribution, it was not given.
    is_response_cut: the model was stopped at `max_new_tokens`, before its response came to an end;
        of a given one nothing is known, and this is False. Both are None in results that were
        saved without them.
    """

    query: str
    response: str
    documents: tuple[Passage, ...]
    sources: tuple[SourceScore, ...]
    spans: tuple[SpanScores, ...]
    token_offsets: IntArray
    token_scores: FloatArray | None
    method: str
    reason: str
    unit: str
    cost: Cost
    model: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    noise_floor: float | None = None
    base_log_likelihood: float | None = None
    is_response_written: bool | None = None
    is_response_cut: bool | None = None

    @property
    def scores(self) -> FloatArray:
        """`[num_sources]`, NaN where pruned."""
        return np.array([source.score for source in self.sources])

    def top(self, k: int = 5) -> list[SourceScore]:
        """The first k sources by rank; ties in the order of the context."""
        return sorted(self.sources, key=lambda source: source.rank)[:k]

    def span(self, start: int, end: int) -> AttributionResult:
        """The result of one part of the response, at chars `[start, end)` of it.

        A part that was asked for has scores and ranks of its own; another one has the sums of its
        tokens' scores, and sources that were pruned for the whole response stay so.

        Raises:
            InvalidInputError: no such part was asked for, and there are no scores by token; or it
                covers no token.
        """
        asked = next((s for s in self.spans if (s.char_start, s.char_end) == (start, end)), None)
        if asked is None and self.token_scores is None:
            raise InvalidInputError(
                f"{self.method} has no scores by token: ask for the part with "
                f"attribute(..., spans=[({start}, {end})])"
            )
        if not 0 <= start < end <= len(self.response):
            raise InvalidInputError(
                f"expected a part of the response's {len(self.response)} chars; got "
                f"[{start}, {end})"
            )
        tokens = slice(*token_range(self.response, self.token_offsets, start, end))
        by_token = None if self.token_scores is None else self.token_scores[:, tokens]
        if asked is not None:
            scores, ranks = np.array(asked.scores), asked.ranks
            # What was pruned for the part is not what was pruned for the whole.
            by_token = None
        else:
            assert by_token is not None
            scores = by_token.sum(axis=1)
            ranks = ranks_of(np.where(np.isnan(scores), -np.inf, scores))
        return replace(
            self,
            response=self.response[start:end],
            sources=tuple(
                replace(source, score=float(score), rank=rank, is_pruned=bool(np.isnan(score)))
                for source, score, rank in zip(self.sources, scores, ranks, strict=True)
            ),
            spans=(),
            token_offsets=np.clip(self.token_offsets[tokens], start, end) - start,
            token_scores=by_token,
            base_log_likelihood=None,
        )

    def cite(self, num_citations: int = 2, min_score: float | None = None) -> str:
        """The response with the numbers of its best sources behind every part: "... [2][5]".

        Without parts, behind the whole response. Numbers are those of the table, from 1 on.

        num_citations: at most, behind each part.
        min_score: sources must score more; None asks for half a nat (the source makes the part
            1.6 times as likely) or for anything above 0 in other units.
        """
        return cited(self, num_citations, min_score)

    def to_pandas(self) -> pd.DataFrame:
        """One row per source; parts of the response add a column each, named by their chars.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = import_extra("pandas", "pandas")
        frame: pd.DataFrame = pandas.DataFrame([asdict(source) for source in self.sources])
        for span in self.spans:
            frame[f"score[{span.char_start}:{span.char_end}]"] = span.scores
        return frame

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is pruned has the score None."""
        plain = asdict(self)
        for part in (*plain["sources"], *plain["spans"]):
            part |= {key: _plain(part[key]) for key in ("score", "scores") if key in part}
        plain["token_offsets"] = self.token_offsets.tolist()
        if self.token_scores is not None:
            plain["token_scores"] = _plain(self.token_scores.tolist())
        return {"schema_version": SCHEMA_VERSION, **plain}

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as text.

        Raises:
            InvalidInputError: the metadata of a document hold something that JSON cannot.
        """
        try:
            return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"the result does not go into JSON ({error}): the metadata of documents must be "
                f"texts, finite numbers, lists and mappings"
            ) from error

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> AttributionResult:
        """The result that `to_dict` was taken of.

        Raises:
            InvalidInputError: it is none, or of another version.
        """
        version = plain.get("schema_version") if isinstance(plain, Mapping) else None
        if version != SCHEMA_VERSION:
            raise InvalidInputError(
                f"expected a result of attribot with schema_version {SCHEMA_VERSION}; got "
                f"{version!r}"
            )
        fields = {key: value for key, value in plain.items() if key != "schema_version"}
        scores = fields["token_scores"]
        return cls(
            **fields
            | {
                "documents": tuple(Passage(**each) for each in fields["documents"]),
                "sources": tuple(
                    SourceScore(**each | {"score": _number(each["score"])})
                    for each in fields["sources"]
                ),
                "spans": tuple(_span_scores(each) for each in fields["spans"]),
                "token_offsets": np.array(fields["token_offsets"], dtype=np.int64).reshape(-1, 2),
                "token_scores": None if scores is None else np.array(scores, dtype=np.float64),
                "cost": Cost(**fields["cost"]),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> AttributionResult:
        """The result that `to_json` was taken of.

        Raises:
            InvalidInputError: it is none, or of another version.
        """
        try:
            plain = json.loads(text)
        except ValueError as error:
            raise InvalidInputError(f"expected a result as JSON: {error}") from error
        return cls.from_dict(plain)

    def save_html(self, path: str | Path) -> None:
        """Writes a page to explore the result; see `attribot.save_html`, which takes several."""
        from attribot.explain.saving import save_html

        save_html(self, path)

    def __str__(self) -> str:
        return table(self)

    def __repr__(self) -> str:
        """In one line; `print` shows the scores."""
        best = self.top(1)[0]
        return (
            f"<AttributionResult by {self.method} of {self.model}; sources: {len(self.sources)}, "
            f"documents: {len(self.documents)}; first [{best.number}] {best.score:+.3g} "
            f"{self.unit}: {textwrap.shorten(best.text, REPR_WIDTH, placeholder='...')!r}>"
        )

    def _repr_html_(self) -> str:
        """What notebooks show: the documents, coloured by score."""
        return heat_map(self)


def ranks_of(priority: FloatArray) -> tuple[int, ...]:
    """`[num_sources]` rank of each priority, larger first; ties share the best rank."""
    return tuple(1 + int((priority > value).sum()) for value in priority)


def _plain(value: Any) -> Any:
    """None in the place of NaN, in numbers and lists of them."""
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return None if np.isnan(value) else value


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _span_scores(plain: Mapping[str, Any]) -> SpanScores:
    scores = tuple(_number(score) for score in plain["scores"])
    return SpanScores(**{**plain, "scores": scores, "ranks": tuple(plain["ranks"])})
