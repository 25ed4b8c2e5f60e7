"""The bundled sentence embedder."""

import sys

import numpy as np
import pytest

from attribot.errors import InvalidInputError, ModelNotFoundError
from attribot.models.bundled import bundled_embedder_dir
from attribot.models.embedder import SentenceEmbedder
from attribot.scoring.base import Embedder

LONG_TEXT = "The river runs to the sea. " * 60


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    try:
        bundled_embedder_dir()
    except ModelNotFoundError as error:
        pytest.skip(str(error))
    return SentenceEmbedder(device="cpu")


@pytest.mark.slow
def test_rows_have_unit_length_and_do_not_depend_on_one_another(embedder: SentenceEmbedder) -> None:
    texts = ["A castle on a hill.", "Yes.", "The river runs from the hill to the sea, slowly."]
    rows = embedder.embed(texts)
    assert rows.shape == (3, 384)
    assert rows.dtype == np.float64
    np.testing.assert_allclose((rows**2).sum(axis=1), 1.0, rtol=1e-12)
    alone = np.concatenate([embedder.embed([text]) for text in texts[::-1]])[::-1]
    np.testing.assert_allclose(rows, alone, atol=1e-6)


@pytest.mark.slow
def test_long_texts_are_refused_unless_truncation_is_asked_for(embedder: SentenceEmbedder) -> None:
    with pytest.raises(InvalidInputError, match="at most 256 tokens, but a text has 422"):
        embedder.embed(["Short.", LONG_TEXT])
    cutting = SentenceEmbedder(device="cpu", truncate=True)
    np.testing.assert_allclose(
        cutting.embed([LONG_TEXT]), cutting.embed([LONG_TEXT + "A castle."]), atol=1e-6
    )


def test_is_an_embedder_that_names_its_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(SentenceEmbedder(), Embedder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"sentence_transformers .*attribot\[baselines\]"):
        SentenceEmbedder("somewhere").embed(["Text."])
