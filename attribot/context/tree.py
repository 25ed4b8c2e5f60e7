"""The context as a flat, immutable tree of documents, paragraphs and sentences.

Every node owns one extent `[start, end)` of the rendered context; a node's children lie inside it.
Removing a node removes its extent, headers and separators of the nodes *above* it stay. A mask over
nodes therefore renders by cutting extents, the full mask renders the context itself, and pruning is
mask composition: no tree is ever copied and source ids never change.

    text   "H\\nA b. C d. \\n\\nE f. \\n\\n"          levels     0 document (header "H\\n")
            [-------------------------)             document   1 paragraph of 0
               [------------)[-------)              paragraph  2, 3 sentences of 1
               [----)[----)  [----)                 sentence   ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from attribot.types import LEVELS, BoolArray, IntArray, Level


@dataclass(frozen=True, eq=False)
class ContextTree:
    """Nodes in document order, parents before children.

    text: the full context as rendered.
    parent: `[num_nodes]` index of the parent node, -1 for documents.
    level: `[num_nodes]` index into `types.LEVELS`.
    start, end: `[num_nodes]` char extent in `text`, separators and headers included.
    content_start, content_end: `[num_nodes]` the extent without header and separator.
    document_ids: `[num_documents]` names given by the data set.
    """

    text: str
    parent: IntArray
    level: IntArray
    start: IntArray
    end: IntArray
    content_start: IntArray
    content_end: IntArray
    document_ids: tuple[str, ...]

    @property
    def num_nodes(self) -> int:
        return len(self.parent)

    @property
    def num_sources(self) -> int:
        return len(self.sources)

    @property
    def sources(self) -> IntArray:
        """`[num_sources]` node of each source; the position is the source id."""
        return self.units("sentence")

    def units(self, level: Level) -> IntArray:
        """`[num_units]` nodes of a level, in document order."""
        return np.flatnonzero(self.level == LEVELS.index(level))

    def unit_of_source(self, level: Level) -> IntArray:
        """`[num_sources]` node at `level` that each source lies in (itself for sentences)."""
        nodes = self.sources.copy()
        while (above := self.level[nodes] > LEVELS.index(level)).any():
            nodes[above] = self.parent[nodes[above]]
        return nodes

    def all_kept(self) -> BoolArray:
        """`[num_nodes]` the mask of the full context."""
        return np.ones(self.num_nodes, dtype=bool)

    def remove(self, kept: BoolArray, nodes: Iterable[int]) -> BoolArray:
        """`[num_nodes]` `kept` without `nodes` and everything below them."""
        out = kept.copy()
        out[np.fromiter(nodes, dtype=np.int64)] = False
        for node in range(self.num_nodes):
            if self.parent[node] >= 0 and not out[self.parent[node]]:
                out[node] = False
        return out

    def kept_sources(self, kept: BoolArray) -> BoolArray:
        """`[num_sources]` kept mask over sources of a mask over nodes."""
        return kept[self.sources]

    def render(self, kept: BoolArray) -> str:
        """The context with the extents of all removed nodes cut out."""
        pieces, position = [], 0
        for node in np.flatnonzero(~kept):
            if self.start[node] >= position:
                pieces.append(self.text[position : self.start[node]])
            position = max(position, int(self.end[node]))
        pieces.append(self.text[position:])
        return "".join(pieces)

    def source_text(self, source_id: int) -> str:
        """Text of one source without its separator."""
        node = self.sources[source_id]
        return self.text[self.content_start[node] : self.content_end[node]]
