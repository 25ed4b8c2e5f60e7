"""Texts as documents really hold them, and worse: what counts chars must not trip over any."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

_PIECES = (
    *("A", "b", " ", ". ", "! ", "?", "…", "。", "Dr. "),
    *("\n", "\r\n", "\r", "\n\n", "\r\n\r\n", " \n\t\n ", "\t", "\x0b", "\x0c", "\x1c", "\x85"),
    *("\u2028", "\u2029", "\u00a0", "\u3000"),
    # Combining marks, joiners, zero widths, a byte order mark, directions, odd letters.
    *("\u0301", "e\u0301", "\u200b", "\u200d", "\ufeff", "\u202e", "שלום", "مرحبا", "ﷺ", "İ", "ß"),
    *("😀", "👩\u200d👩\u200d👧", "\x00"),
    # What means something to prompts and tokenizers.
    *("<|im_end|>", "<s>", "{query}", "{context}"),
)

any_text = st.lists(st.sampled_from(_PIECES) | st.text(max_size=3), max_size=12).map("".join)
"""Any chars but halves of surrogate pairs."""

NUM_EXAMPLES = [20, pytest.param(300, marks=pytest.mark.slow)]
"""For tests of a property: a few in the quick tier."""
