"""From the char extents that an ablation hides to the tokens it hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribot.models.language_model import LanguageModel
from attribot.scoring.base import HiddenSpans
from attribot.scoring.batching import TokenIds
from attribot.types import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class MaskedPrompt:
    """Masked ablations of one prompt, equal ones once.

    removed, recomputed: `[num_distinct, num_prompt_tokens]`; see `HiddenSpans`.
    rows: per ablation, 0 where nothing is removed, else 1 + its index among the distinct ones.
    """

    token_ids: TokenIds
    removed: BoolArray
    recomputed: BoolArray
    rows: tuple[int, ...]

    @classmethod
    def of(
        cls, model: LanguageModel, prompt: str, ablations: Sequence[HiddenSpans]
    ) -> MaskedPrompt:
        encoded = model.encode_prompt(prompt)
        distinct: dict[bytes, tuple[BoolArray, BoolArray]] = {}
        rows = []
        for ablation in ablations:
            removed, recomputed = hidden_tokens(prompt, encoded.char_spans, ablation)
            key = removed.tobytes() + recomputed.tobytes()
            if removed.any():
                distinct.setdefault(key, (removed, recomputed))
            rows.append(1 + list(distinct).index(key) if removed.any() else 0)
        shape = (len(distinct), len(encoded.token_ids))
        return cls(
            encoded.token_ids,
            np.array([removed for removed, _ in distinct.values()], dtype=bool).reshape(shape),
            np.array([anew for _, anew in distinct.values()], dtype=bool).reshape(shape),
            tuple(rows),
        )

    def key(self, row: int, response: TokenIds, close_gaps: bool) -> object:
        """What a row asks; the whole prompt, row 0, is asked by its ids alone."""
        if row == 0:
            return self.token_ids, response
        removed, recomputed = self.removed[row - 1], self.recomputed[row - 1]
        return self.token_ids, removed.tobytes(), recomputed.tobytes(), close_gaps, response


def hidden_tokens(
    prompt: str, char_spans: IntArray, ablation: HiddenSpans
) -> tuple[BoolArray, BoolArray]:
    """Removed and recomputed tokens, each `[num_prompt_tokens]`.

    A token goes with its first visible char: the white space before a word belongs to it.
    """
    anchors = token_anchors(prompt, char_spans)
    removed = _inside(anchors, ablation.removed)
    recomputed = _inside(anchors, ablation.recomputed)
    for last in np.flatnonzero(removed[:-1] & ~removed[1:]):
        recomputed[last + 1 : last + 1 + ablation.num_following] = True
    # Whatever the chat template puts behind the prompt has seen all of it.
    behind = np.flatnonzero(char_spans[:, 0] >= 0)[-1] + 1
    recomputed[behind:] = True
    return removed, recomputed & ~removed


def token_anchors(prompt: str, char_spans: IntArray) -> IntArray:
    """`[num_tokens]` position of the char that decides where a token belongs; -1 outside."""
    anchors = np.full(len(char_spans), -1)
    for token, (start, end) in enumerate(char_spans):
        if start >= 0:
            text = prompt[start:end]
            blank = len(text) - len(text.lstrip())
            anchors[token] = start + (blank if blank < len(text) else 0)
    return anchors


def _inside(anchors: IntArray, spans: IntArray) -> BoolArray:
    """`[num_tokens]` whether a token's anchor lies in one of `spans` `[num_spans, 2]`."""
    starts, ends = spans[:, 0], spans[:, 1]
    inside = (anchors[:, None] >= starts) & (anchors[:, None] < ends)
    return np.asarray(inside.any(axis=1))
