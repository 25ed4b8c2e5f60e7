"""Where the sources stand once parts of the context are removed."""

from __future__ import annotations

import numpy as np

from attribot.context.tree import ContextTree
from attribot.types import BoolArray, IntArray


def node_char_spans(tree: ContextTree, kept: BoolArray) -> IntArray:
    """Extents of all nodes in `tree.render(kept)`: `[num_nodes, 2]`, (-1, -1) where removed.

    kept: `[num_nodes]` as `ContextTree.remove` returns it.

    A char of the full context moves left by the removed chars before it:
        position(c) = number of kept chars before c
    """
    is_kept_char = np.ones(len(tree.text), dtype=bool)
    for node in np.flatnonzero(~kept):
        is_kept_char[tree.start[node] : tree.end[node]] = False
    position = np.concatenate([[0], np.cumsum(is_kept_char)])
    spans = np.stack([position[tree.start], position[tree.end]], axis=1)
    spans[~kept] = -1
    return spans


def source_char_spans(tree: ContextTree, kept: BoolArray) -> IntArray:
    """Extents of the sources, `[num_sources, 2]`; see `node_char_spans`."""
    return node_char_spans(tree, kept)[tree.sources]


def sources_of_tokens(text: str, token_spans: IntArray, source_spans: IntArray) -> IntArray:
    """Source that each token belongs to: `[num_tokens]`, -1 for none.

    text: what `token_spans` `[num_tokens, 2]` and `source_spans` `[num_sources, 2]` point into;
        spans (-1, -1) lie outside it.

    Tokens often carry the white space before a word, which belongs to the separator of the source
    before it: the first char that is not white space decides, and the first char in tokens of
    white space alone.
    """
    source_of_char = np.full(len(text), -1, dtype=np.int64)
    for source, (start, end) in enumerate(np.clip(source_spans, 0, len(text))):
        source_of_char[start:end] = source
    sources = np.full(len(token_spans), -1, dtype=np.int64)
    # A token at the border of the text may reach into the chat template.
    for token, (start, end) in enumerate(np.clip(token_spans, 0, len(text))):
        if start < end:
            num_visible = len(text[start:end].lstrip())
            sources[token] = source_of_char[end - num_visible if num_visible else start]
    return sources
