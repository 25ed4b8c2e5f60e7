"""From the char extents that an ablation hides to the tokens it hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attribot.models.language_model import LanguageModel
from attribot.scoring.base import HiddenSpans
from attribot.scoring.batching import TokenIds
from attribot.scoring.keys import bytes_key, ids_key
from attribot.types import BoolArray, IntArray


@dataclass(frozen=True, eq=False)
class MaskedPrompt:
    """Masked ablations of one prompt, equal ones once.

    removed, recomputed: `[num_distinct, num_prompt_tokens]`; see `HiddenSpans`.
    rows: per ablation, 0 where nothing is removed, else 1 + its index among the distinct ones.
    mask_keys: `[1 + num_distinct]` what stands for the masks of a row. prompt_key: for the prompt.
    """

    token_ids: TokenIds
    removed: BoolArray
    recomputed: BoolArray
    rows: tuple[int, ...]
    mask_keys: tuple[bytes, ...]
    prompt_key: bytes

    @classmethod
    def of(
        cls, model: LanguageModel, prompt: str, ablations: Sequence[HiddenSpans]
    ) -> MaskedPrompt:
        encoded = model.encode_prompt(prompt)
        anchors = token_anchors(prompt, encoded.char_spans)
        hidden = [hidden_tokens(anchors, ablation) for ablation in ablations]
        keys = [bytes_key(np.stack(masks).tobytes()) for masks in hidden]
        distinct = {key: masks for key, masks in zip(keys, hidden, strict=True) if masks[0].any()}
        row_of = {key: row for row, key in enumerate(distinct, start=1)}
        shape = (len(distinct), len(encoded.token_ids))
        return cls(
            encoded.token_ids,
            np.array([removed for removed, _ in distinct.values()], dtype=bool).reshape(shape),
            np.array([anew for _, anew in distinct.values()], dtype=bool).reshape(shape),
            tuple(row_of.get(key, 0) for key in keys),
            (b"", *distinct),
            ids_key(encoded.token_ids),
        )

    def key(self, row: int, response: TokenIds, close_gaps: bool) -> object:
        """What stands for a row in a memory; for the whole prompt, row 0, as without masks."""
        prompt = self.prompt_key, ids_key(response)
        return prompt if row == 0 else (*prompt, self.mask_keys[row], close_gaps)


def hidden_tokens(anchors: IntArray, ablation: HiddenSpans) -> tuple[BoolArray, BoolArray]:
    """Removed and recomputed tokens, each `[num_prompt_tokens]`.

    A token goes with its first visible char: the white space before a word belongs to it.

    anchors: see `token_anchors`.
    """
    removed = _inside(anchors, ablation.removed)
    recomputed = _inside(anchors, ablation.recomputed)
    for last in np.flatnonzero(removed[:-1] & ~removed[1:]):
        recomputed[last + 1 : last + 1 + ablation.num_following] = True
    # Whatever the chat template puts behind the prompt has seen all of it.
    behind = np.flatnonzero(anchors >= 0)[-1] + 1
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
