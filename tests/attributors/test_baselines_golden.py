"""Baselines on the real prompts that the authors' implementation scored; see `golden/README.md`."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from attribot.attributors.attention import Attention
from attribot.attributors.base import Attributor, Problem
from attribot.attributors.gradient_norm import GradientNorm
from attribot.attributors.similarity import Similarity
from attribot.models.embedder import SentenceEmbedder
from attribot.models.language_model import LanguageModel
from attribot.models.loading import load_model
from attribot.scoring.scorer import ModelScorer
from attribot.types import FloatArray, Response
from tests.attributors.fakes import tree_of

pytestmark = pytest.mark.slow

NAMES = [f"{dataset}-{i}" for dataset, ids in (("squad", "012"), ("hotpotqa", "345")) for i in ids]


@pytest.fixture(scope="module")
def model(bundled_model_dir: Path) -> LanguageModel:
    return load_model(bundled_model_dir, local_files_only=True, device_map=None)


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest, shared_dir: Path) -> dict[str, Any]:
    content = (shared_dir / "golden" / f"{request.param}.json").read_text(encoding="utf-8")
    return dict(json.loads(content))


def golden_scores(golden: dict[str, Any], method: str) -> FloatArray:
    """`[num_sources]`, NaN where the file has null."""
    return np.array(list(chain.from_iterable(golden["scores"][method])), dtype=np.float64)


def golden_problem(golden: dict[str, Any], model: LanguageModel) -> Problem:
    ids = tuple(golden["response_token_ids"])
    tree = tree_of(
        golden["paragraphs"], golden["sentence_separator"], golden["paragraph_separator"]
    )
    response = Response(
        # The golden similarity reads the response without its last token, whatever that is.
        text=str(model.tokenizer.decode(list(ids[:-1]))),
        token_ids=ids,
        tokenizer_sha=model.tokenizer_sha,
        has_end_token=ids[-1] == model.tokenizer.eos_token_id,
    )
    return Problem.of(tree, golden["query"], response)


@pytest.mark.parametrize(
    ("method", "attributor"), [("attention", Attention()), ("gradient_norm", GradientNorm())]
)
def test_token_baselines_rank_as_the_authors(
    golden: dict[str, Any], model: LanguageModel, method: str, attributor: Attributor
) -> None:
    scorers = {"target": ModelScorer(model)}
    scores = attributor.attribute(golden_problem(golden, model), scorers).scores
    wanted = golden_scores(golden, method)
    is_known = ~np.isnan(wanted)
    assert not np.isnan(scores).any()
    # Their source spans are shifted by one token, so values differ.
    assert spearmanr(scores[is_known], wanted[is_known]).statistic >= 0.8


def test_similarity_equals_the_authors(golden: dict[str, Any], model: LanguageModel) -> None:
    embedder = SentenceEmbedder(device="cpu")
    attribution = Similarity().attribute(golden_problem(golden, model), {"embedder": embedder})
    wanted = golden_scores(golden, "similarity")
    np.testing.assert_allclose(attribution.scores, wanted, rtol=0, atol=1e-3)
