"""Scoring batch by batch: rows padded on the right, prefixes taken from the batch before.

Right for every decoder, sliding windows included, because masks come from the model itself and
padding stands where causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from attribot.models.kv_cache import PrefixStates
from attribot.models.language_model import input_device
from attribot.scoring.batching import Batch, TokenIds
from attribot.scoring.planning import Pair
from attribot.types import FloatArray

Reduction = Callable[[torch.Tensor, TokenIds], FloatArray]
"""From the logits that predict a response, `[num_response_tokens, vocab_size]`, and its ids to one
number per token, `[num_response_tokens]`; `response_log_probs` is one."""


def score_padded(
    model: PreTrainedModel,
    pairs: Sequence[Pair],
    batches: Sequence[Batch],
    reduce: Reduction,
    all_logits: bool = False,
) -> list[FloatArray]:
    """What `reduce` makes of the logits of every pair, `[num_response_tokens]` each.

    all_logits: compute logits at every position, as the paper's code does; see `LikelihoodEngine`.
    """
    answers: dict[int, FloatArray] = {}
    states = PrefixStates.empty()
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        keeps_states = following is not None and following.num_reused > 0
        rows, cache = _forward(model, batch, states, pairs, keeps_states, reduce, all_logits)
        answers |= dict(zip(batch.rows, rows, strict=True))
        if cache is not None:
            prompt, response = pairs[batch.rows[-1]]
            length = len(prompt) + len(response) - 1
            states = PrefixStates.of(cache, len(batch.rows) - 1, length)
    return [answers[row] for row in range(len(pairs))]


def _forward(
    model: PreTrainedModel,
    batch: Batch,
    states: PrefixStates,
    pairs: Sequence[Pair],
    keeps_states: bool,
    reduce: Reduction,
    all_logits: bool,
) -> tuple[list[FloatArray], DynamicCache | None]:
    """What `reduce` makes of the batch's rows, and the cache where it is wanted."""
    device = input_device(model)
    responses = [pairs[row][1] for row in batch.rows]
    suffixes = [
        (pairs[row][0] + response[:-1])[batch.num_reused :]
        for row, response in zip(batch.rows, responses, strict=True)
    ]
    width = max(map(len, suffixes))
    input_ids = torch.zeros((len(suffixes), width), dtype=torch.long)
    for row, suffix in enumerate(suffixes):
        input_ids[row, : len(suffix)] = torch.tensor(suffix)
    positions = torch.arange(batch.num_reused, batch.num_reused + width)
    first_wanted = min(len(s) - len(r) for s, r in zip(suffixes, responses, strict=True))
    wanted = torch.arange(first_wanted, width)
    uses_cache = keeps_states or batch.num_reused > 0
    cache = states.as_cache(batch.num_reused, len(suffixes)) if uses_cache else None
    logits = model(
        input_ids=input_ids.to(device),
        position_ids=positions.expand(len(suffixes), -1).to(device),
        past_key_values=cache,
        use_cache=uses_cache,
        logits_to_keep=0 if all_logits else wanted.to(device),
    ).logits
    first_kept = 0 if all_logits else first_wanted
    rows = []
    for row, (suffix, response) in enumerate(zip(suffixes, responses, strict=True)):
        end = len(suffix) - first_kept
        rows.append(reduce(logits[row, end - len(response) : end], response))
    return rows, cache if keeps_states else None


def response_log_probs(logits: torch.Tensor, response: TokenIds) -> FloatArray:
    """`[num_response_tokens]` [nats] from logits `[num_response_tokens, vocab_size]`.

    Log-softmax is taken in float32 whatever the model's dtype.
    """
    targets = torch.tensor(response, device=logits.device)[:, None]
    logits = logits.float()
    chosen = logits.gather(-1, targets)[:, 0] - logits.logsumexp(-1)
    return np.asarray(chosen.double().cpu().numpy())
