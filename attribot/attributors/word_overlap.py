"""Word overlap as attribution: BM25."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attribot.attributors.base import Problem
from attribot.extras import import_extra
from attribot.types import Attribution, Cost, FloatArray


@dataclass(frozen=True)
class WordOverlap:
    """BM25 of the response as query against the sources of the kept context as documents.

        score(s) = sum over words w of R of
                   idf(w) * tf(w, s) / (tf(w, s) + k1 * (1 - b + b * |s| / mean |s|))

    k1: how slowly repeated words saturate. b: how far long sources are held back, in [0, 1].
    stop_words: language of the words left out, by its two-letter code; None leaves out none.

    Words are runs of two or more letters or digits, in lower case. A source that shares no word
    with the response scores 0.

    Measures: likeness, of words.
    Use: as a free screen, and as the baseline to beat before a model is asked.

    Cost: no forward pass. Source: Robertson and Zaragoza (2009), section 3.3, in the variant of
    Lucene, by the package bm25s; as a baseline for attribution: ours.
    """

    k1: float = 1.5
    b: float = 0.75
    stop_words: str | None = "en"

    def attribute(self, problem: Problem, scorers: Mapping[str, Any]) -> Attribution:  # noqa: ARG002
        """Scores of the problem's candidates, at least 0; other sources get NaN."""
        sources = np.flatnonzero(problem.tree.kept_sources(problem.kept))
        scores = np.full(problem.tree.num_sources, np.nan)
        scores[sources] = self._bm25(
            problem.response.text, [problem.tree.source_text(int(i)) for i in sources]
        )
        return Attribution(np.where(problem.candidates, scores, np.nan)[None], Cost())

    def _bm25(self, query: str, documents: list[str]) -> FloatArray:
        """`[num_documents]`"""
        bm25s = import_extra("bm25s", "baselines")
        words, *document_words = bm25s.tokenize(
            [query, *documents], stopwords=self.stop_words, return_ids=False, show_progress=False
        )
        shared = set(words) & set().union(*document_words)
        if not shared:
            # The index of bm25s fails on documents or queries without a word.
            return np.zeros(len(documents))
        index = bm25s.BM25(k1=self.k1, b=self.b)
        index.index(document_words, show_progress=False)
        scores = index.get_scores([word for word in words if word in shared])
        return np.asarray(scores, dtype=np.float64)
