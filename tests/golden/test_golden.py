"""Agreement with the authors' implementation on six real prompts, on the bundled model."""

import json
from functools import lru_cache
from hashlib import sha256

import numpy as np
import pytest

from attribot.attributors.base import Problem
from attribot.attributors.keep import TopK
from attribot.attributors.leave_one_out import LeaveOneOut
from attribot.attributors.two_stage import TwoStage
from attribot.content_cache import ContentCache
from attribot.context.partition import tree_from_sentences
from attribot.models.bundled import load_bundled
from attribot.models.layer_drop import drop_layers
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import StoredScorer
from attribot.types import Response, Separators

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bundled_model_dir")]

NAMES = ("hotpotqa-3", "hotpotqa-4", "hotpotqa-5", "squad-0", "squad-1", "squad-2")
PROXY_WITHOUT = (10, 11, 12, 13)
TOLERANCE = 2e-3


def hierarchical(k):
    return TwoStage(LeaveOneOut(level="paragraph"), TopK(k, "paragraph"), LeaveOneOut())


def pruning(k):
    return TwoStage(LeaveOneOut("proxy"), TopK(k), LeaveOneOut())


METHODS = {
    "loo": LeaveOneOut(),
    "loo_cached": LeaveOneOut(),
    "hierarchical_k1": hierarchical(1),
    "hierarchical_k2": hierarchical(2),
    "proxy_loo": LeaveOneOut("proxy"),
    "pruning_k3": pruning(3),
    "pruning_k5": pruning(5),
}


@lru_cache(maxsize=1)
def models():
    target = load_bundled(attn_implementation="eager")
    return target, drop_layers(target, PROXY_WITHOUT)


def load(name, shared_dir):
    golden = json.loads((shared_dir / "golden" / f"{name}.json").read_text())
    separators = Separators(golden["sentence_separator"], golden["paragraph_separator"])
    tree = tree_from_sentences(golden["paragraphs"], separators)
    target, _ = models()
    ids = tuple(golden["response_token_ids"])
    has_end = ids[-1] == target.tokenizer.eos_token_id
    text = golden["response"].removesuffix(target.tokenizer.eos_token)
    response = Response(text, ids, target.tokenizer_sha, has_end)
    return golden, Problem.of(tree, golden["query"], response)


def flat(nested):
    return np.array(
        [np.nan if value is None else value for row in nested for value in row], dtype=float
    )


@pytest.fixture(params=NAMES)
def case(request, shared_dir):
    return load(request.param, shared_dir)


def test_prompt_and_likelihood_are_the_authors(case):
    golden, problem = case
    target, _ = models()
    prompt = problem.prompt()
    assert sha256(target.render(prompt).encode()).hexdigest() == golden["prompt_sha256"]
    assert len(target.encode_prompt(prompt).token_ids) == golden["num_prompt_tokens"]
    scores = ModelScorer(target).score([prompt], problem.response)
    np.testing.assert_allclose(
        scores.token_log_likelihoods[0], golden["token_log_probs"], atol=TOLERANCE
    )
    assert scores.log_likelihoods[0] == pytest.approx(golden["full_log_likelihood"], abs=TOLERANCE)


def test_scores_are_the_authors(case):
    golden, problem = case
    target, proxy = models()
    # Methods that ask for the same ablations share them; only what is asked for is judged here.
    cache = ContentCache()
    scorers = {
        role: StoredScorer(ModelScorer(model), cache)
        for role, model in (("target", target), ("proxy", proxy))
    }
    for key, method in METHODS.items():
        attribution = method.attribute(problem, scorers)
        expected = flat(golden["scores"][key])
        np.testing.assert_array_equal(attribution.is_pruned, np.isnan(expected), err_msg=key)
        np.testing.assert_allclose(
            attribution.scores, expected, atol=TOLERANCE, rtol=0, equal_nan=True, err_msg=key
        )
