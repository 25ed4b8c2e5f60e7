"""Divergences of next-token distributions: the formula, and all ways to compute them alike."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from attribot.content_cache import ContentCache
from attribot.errors import NonFiniteLogitsError, PromptTooLongError
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.scoring.base import DistributionScorer
from attribot.scoring.divergence import POSITIONS_AT_A_TIME, KeptDistributions, jensen_shannon
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.held import HeldStates
from attribot.scoring.planning import Strategy
from attribot.scoring.scorer import ModelScorer
from attribot.scoring.stored import SharedScorer, StoredScorer
from attribot.types import Cost, FloatArray
from tests.models.tiny import Architecture, tiny_language_model

RESPONSE = (5, 17, 101, 23, 7)
BASE = tuple(int(i) for i in np.random.default_rng(5).integers(4, 300, size=47))
ABLATED = [BASE[:7] + BASE[12:], BASE[:20] + BASE[31:], BASE[3:], BASE[:40] + BASE[43:]]
TEXTS = [
    "The king built it. The sea is far. Who?",
    "The sea is far. Who?",
    "The king built it. Who?",
]


def oracle(
    model: LanguageModel,
    base: tuple[int, ...],
    prompts: list[tuple[int, ...]],
    response: tuple[int, ...],
) -> FloatArray:
    """`[num_prompts, num_response_tokens]` one whole pass per prompt, and SciPy."""
    distributions = []
    for prompt in [base, *prompts]:
        with torch.inference_mode():
            logits = model.model(torch.tensor([prompt + response[:-1]]), use_cache=False).logits[0]
        distributions.append(logits[-len(response) :].double().softmax(-1).numpy())
    return np.array([jensenshannon(d, distributions[0], axis=1) ** 2 for d in distributions[1:]])


def test_the_formula_agrees_with_scipy() -> None:
    generator = np.random.default_rng(0)
    p, q = generator.dirichlet(np.full(13, 0.2), size=(2, 7))
    ours = jensen_shannon(torch.tensor(p).log(), torch.tensor(q).log())
    np.testing.assert_allclose(ours.numpy(), jensenshannon(p, q, axis=1) ** 2, rtol=1e-10)


def test_distributions_without_a_common_token_are_log_two_apart() -> None:
    apart = torch.tensor([[0.0, -200.0], [-200.0, 0.0]])
    np.testing.assert_allclose(jensen_shannon(apart, apart.flip(-1)).numpy(), np.log(2), rtol=1e-6)
    assert jensen_shannon(apart, apart).tolist() == [0.0, 0.0]


def test_nearly_equal_distributions_keep_their_digits_in_float32() -> None:
    generator = np.random.default_rng(1)
    logits, noise = generator.normal(size=(2, 3, 1009))
    near = torch.tensor(logits + 1e-3 * noise).log_softmax(-1)
    exact = jensen_shannon(torch.tensor(logits).log_softmax(-1), near)
    assert exact.max() < 1e-6
    rounded = jensen_shannon(torch.tensor(logits).float().log_softmax(-1), near.float())
    np.testing.assert_allclose(rounded.double().numpy(), exact.numpy(), rtol=1e-2)


def test_long_responses_are_compared_in_parts() -> None:
    length = 2 * POSITIONS_AT_A_TIME + 5
    base, other = torch.randn((2, length, 11), generator=torch.Generator().manual_seed(0))
    kept, response = KeptDistributions.empty(), tuple(i % 11 for i in range(length))
    log_likelihoods = kept.keep(base, response)
    np.testing.assert_allclose(
        log_likelihoods, base.log_softmax(-1)[range(length), response], atol=1e-6
    )
    whole = jensenshannon(base.softmax(-1), other.softmax(-1), axis=1) ** 2
    np.testing.assert_allclose(kept.divergences(other, response), whole, atol=1e-6)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
@pytest.mark.parametrize(
    ("strategy", "batch_size"), [("naive", 1), ("naive", 3), ("cached", 1), ("packed", 1)]
)
def test_all_strategies_agree_with_whole_passes(
    architecture: Architecture, strategy: Strategy, batch_size: int
) -> None:
    model = tiny_language_model(architecture)
    engine = LikelihoodEngine(model.model, strategy, batch_size)
    pairs = [(prompt, RESPONSE) for prompt in ABLATED]
    values, cost = engine.pair_divergences((BASE, RESPONSE), [*pairs, pairs[0]])
    expected = oracle(model, BASE, ABLATED, RESPONSE)
    np.testing.assert_allclose(values, [*expected, expected[0]], atol=1e-5, rtol=0)
    assert expected.min(axis=1).max() > 1e-3
    assert cost.forward_passes == 1 + len(ABLATED)


def test_packed_scoring_goes_on_from_the_states_of_the_base() -> None:
    engine = LikelihoodEngine(tiny_language_model("llama").model)
    held = HeldStates()
    _, cost = engine.pair_divergences(
        (BASE, RESPONSE), [(prompt, RESPONSE) for prompt in ABLATED], held
    )
    _, together = engine.pair_log_likelihoods([(p, RESPONSE) for p in [BASE, *ABLATED]])
    assert (cost.computed_tokens, cost.flops) == (together.computed_tokens, together.flops)
    # The base is left to later calls, no ablation is.
    assert [branch.sequence for branch in held.branches] == [BASE + RESPONSE[:-1]]


def test_a_scorer_asks_equal_prompts_once_and_remembers_them() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, "The king.")
    scorer = ModelScorer(model).opened()
    assert isinstance(scorer, DistributionScorer)
    first = scorer.divergences(TEXTS[0], [TEXTS[1], TEXTS[2], TEXTS[1]], response)
    assert first.cost.forward_passes == 3
    ids = [model.encode_prompt(text).token_ids for text in TEXTS]
    expected = oracle(model, ids[0], ids[1:], model.encode_response(response))
    np.testing.assert_allclose(first.token_divergences, expected[[0, 1, 0]], atol=1e-5, rtol=0)
    again = scorer.divergences(TEXTS[0], [TEXTS[2]], response)
    assert again.cost == Cost()
    np.testing.assert_array_equal(again.token_divergences[0], first.token_divergences[1])
    # Of another base it is another question.
    other = scorer.divergences(TEXTS[1], [TEXTS[2]], response)
    assert other.cost.forward_passes == 2
    assert np.abs(other.token_divergences - again.token_divergences).max() > 1e-3


@pytest.mark.parametrize("strategy", ["naive", "cached", "packed"])
def test_a_plan_counts_what_a_call_costs(strategy: Strategy) -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, "The king.")
    scorer = ModelScorer(model, strategy)
    real, planned = scorer.opened(), scorer.planning()
    for base, *prompts in (TEXTS, TEXTS[::-1]):
        counted, measured = (s.divergences(base, prompts, response) for s in (planned, real))
        for name in ("forward_passes", "computed_tokens", "reused_tokens", "flops"):
            assert getattr(counted.cost, name) == getattr(measured.cost, name)
        assert counted.token_divergences.shape == measured.token_divergences.shape
        assert (counted.token_divergences >= 0).all()


def test_answers_are_stored_and_shared() -> None:
    model = tiny_language_model("llama")
    response = response_from_text(model, "The king.")
    scorer, cache = ModelScorer(model), ContentCache()
    stored = StoredScorer(scorer, cache)
    stored.divergences(TEXTS[0], TEXTS[1:2], response)
    fresh = stored.divergences(TEXTS[0], TEXTS[1:], response)
    assert fresh.cost.forward_passes == 2
    expected = scorer.divergences(TEXTS[0], TEXTS[1:], response)
    np.testing.assert_allclose(fresh.token_divergences, expected.token_divergences, atol=1e-5)
    again = StoredScorer(scorer, cache).divergences(TEXTS[0], TEXTS[1:], response)
    assert again.cost == Cost()
    np.testing.assert_array_equal(again.token_divergences, fresh.token_divergences)
    # Another base, and the log-likelihoods of the same prompts, have keys of their own.
    assert stored.divergences(TEXTS[1], TEXTS[2:], response).cost.forward_passes == 2
    assert stored.score(TEXTS[1:], response).cost.forward_passes == 2
    shared = SharedScorer(stored, scorer).opened()
    answer = shared.divergences(TEXTS[0], TEXTS[1:], response)
    np.testing.assert_array_equal(answer.token_divergences, fresh.token_divergences)
    assert answer.cost.forward_passes == 3
    assert answer.cost.peak_memory_bytes == 0


def test_too_long_a_prompt_and_bad_weights_are_refused() -> None:
    model = tiny_language_model("llama", max_positions=64)
    response = response_from_text(model, "The king.")
    with pytest.raises(PromptTooLongError, match="accepts at most 64"):
        ModelScorer(model).divergences("Who?", ["Who? " * 40], response)
    with torch.no_grad():
        model.model.get_output_embeddings().weight[3] = torch.nan
    with pytest.raises(NonFiniteLogitsError, match="check the weights"):
        ModelScorer(model).divergences("Who?", ["Who built it?"], response)
