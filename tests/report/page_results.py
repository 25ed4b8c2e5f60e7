"""Made-up results of the one-call interface, as the mappings that the page is built from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

SENTENCES = ("Paris is a capital.", "The tower opened in 1889.", "A radio saved it.", "Rain fell.")
RESPONSE = "It opened in 1889. A radio saved it."
RESPONSE_SENTENCES = [(0, 18), (19, 36)]


def token_offsets(text: str) -> list[list[int]]:
    """Words with the space before them, then an end-of-turn token without text."""
    words = text.split(" ")
    ends = list(accumulate(len(word) + 1 for word in words))
    starts = [max(end - len(word) - 2, 0) for word, end in zip(words, ends, strict=True)]
    offsets = [[start, end - 1] for start, end in zip(starts, ends, strict=True)]
    return [*offsets, [len(text), len(text)]]


def token_scores(num_sources: int, num_tokens: int, seed: int = 0) -> list[list[float]]:
    """Noise; the second source makes the fourth token likely, the third the sixth unlikely."""
    scores = np.random.default_rng(seed).normal(0, 0.01, (num_sources, num_tokens))
    scores[1, 3] += 4
    scores[2 % num_sources, 5 % num_tokens] -= 3
    return [[float(score) for score in row] for row in scores]


def result(
    method: str = "loo",
    sentences: Sequence[str] = SENTENCES,
    response: str = RESPONSE,
    has_tokens: bool = True,
    query: str = "When did it open?",
    names: Sequence[str] = ("tower.txt",),
    **changes: Any,
) -> dict[str, Any]:
    """A result as `to_dict` writes it, paragraphs of two sentences; the last source is pruned.

    names: of the documents, which hold a paragraph each, the last one all that are left.
    """
    offsets = token_offsets(response)
    by_token: list[list[float | None]] = [
        list(row) for row in token_scores(len(sentences), len(offsets), seed=len(method))
    ]
    by_token[-1] = [None] * len(offsets)
    scores = [None if None in row else float(np.sum(np.array(row, float))) for row in by_token]
    order = np.argsort([-np.inf if score is None else score for score in scores])[::-1]
    ranks = np.argsort(order) + 1
    texts, sources = [""] * len(names), []
    for index, sentence in enumerate(sentences):
        paragraph = index // 2
        document = min(paragraph, len(names) - 1)
        text = texts[document] + ("" if not texts[document] else " " if index % 2 else "\n\n")
        texts[document] = text + sentence
        sources.append(
            {
                "index": index,
                "text": sentence,
                "document": document,
                "document_id": names[document],
                "metadata": {},
                "paragraph": paragraph - document,
                "char_start": len(text),
                "char_end": len(text) + len(sentence),
                "score": scores[index],
                "rank": int(ranks[index]),
                "is_pruned": scores[index] is None,
            }
        )
    return {
        "query": query,
        "response": response,
        "documents": [
            {"text": text, "document_id": name, "metadata": {}}
            for text, name in zip(texts, names, strict=True)
        ],
        "sources": sources,
        "spans": [],
        "token_offsets": offsets,
        "token_scores": by_token if has_tokens else None,
        "method": method,
        "reason": "Exact leave-one-out is cheap enough here.",
        "unit": "nats",
        "cost": {
            "forward_passes": 5,
            "computed_tokens": 120,
            "reused_tokens": 30,
            "flops": 1e9,
            "wall_seconds": 0.5,
            "peak_memory_bytes": 0,
        },
        "model": "tiny",
        "noise_floor": 0.1,
        "base_log_likelihood": -2.5,
    } | changes


def attention(**changes: Any) -> dict[str, Any]:
    """The result of a method whose scores have no sign, without scores by token."""
    of = result("attention", has_tokens=False, unit="attention mass", noise_floor=None, **changes)
    for source in of["sources"]:
        source["score"] = abs(source["score"] or 0.0)
        source["is_pruned"] = False
    return of
