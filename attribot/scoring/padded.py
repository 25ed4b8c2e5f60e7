"""Scoring batch by batch: rows padded on the right, prefixes taken from the batch before.

Right for every decoder, sliding windows included, because masks come from the model itself and
padding stands where causal attention never looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from attribot.models.kv_cache import PrefixStates
from attribot.models.language_model import input_device
from attribot.scoring.batching import Batch, TokenIds, plan_batches
from attribot.types import FloatArray


def score_padded(
    model: PreTrainedModel,
    prompts: Sequence[TokenIds],
    response: TokenIds,
    batch_size: int,
    prefix_reuse: bool,
    all_logits: bool = False,
) -> tuple[FloatArray, list[tuple[int, int]]]:
    """Log-likelihoods `[num_prompts, num_response_tokens]` [nats] of distinct prompts.

    The second value holds (computed tokens, reused tokens) of each sequence.

    all_logits: compute logits at every position, as the paper's code does; see `LikelihoodEngine`.
    """
    sequences = [prompt + response[:-1] for prompt in prompts]
    reusable = [len(prompt) - 1 for prompt in prompts]
    batches = plan_batches(sequences, reusable, batch_size, prefix_reuse)
    out = np.empty((len(prompts), len(response)))
    states = PrefixStates.empty()
    work = [(0, 0)] * len(prompts)
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        keeps_states = following is not None and following.num_reused > 0
        rows, cache = _forward(model, batch, states, sequences, response, keeps_states, all_logits)
        out[list(batch.rows)] = rows
        if cache is not None:
            length = len(sequences[batch.rows[-1]])
            states = PrefixStates.of(cache, len(batch.rows) - 1, length)
        for row in batch.rows:
            work[row] = (len(sequences[row]) - batch.num_reused, batch.num_reused)
    return out, work


def _forward(
    model: PreTrainedModel,
    batch: Batch,
    states: PrefixStates,
    sequences: Sequence[TokenIds],
    response: TokenIds,
    keeps_states: bool,
    all_logits: bool,
) -> tuple[FloatArray, DynamicCache | None]:
    """`[batch_size, num_response_tokens]` and the cache, where it is wanted."""
    device = input_device(model)
    suffixes = [sequences[row][batch.num_reused :] for row in batch.rows]
    width, num_logits = max(map(len, suffixes)), len(response)
    input_ids = torch.zeros((len(suffixes), width), dtype=torch.long)
    for row, suffix in enumerate(suffixes):
        input_ids[row, : len(suffix)] = torch.tensor(suffix)
    positions = torch.arange(batch.num_reused, batch.num_reused + width)
    starts = [len(suffix) - num_logits for suffix in suffixes]
    wanted = torch.arange(min(starts), max(starts) + num_logits)
    uses_cache = keeps_states or batch.num_reused > 0
    cache = states.as_cache(batch.num_reused, len(suffixes)) if uses_cache else None
    logits = model(
        input_ids=input_ids.to(device),
        position_ids=positions.expand(len(suffixes), -1).to(device),
        past_key_values=cache,
        use_cache=uses_cache,
        logits_to_keep=0 if all_logits else wanted.to(device),
    ).logits
    first_kept = 0 if all_logits else min(starts)
    rows = []
    for row, start in enumerate(starts):
        offset = start - first_kept
        rows.append(response_log_probs(logits[row, offset : offset + num_logits], response))
    return np.stack(rows), cache if keeps_states else None


def response_log_probs(logits: torch.Tensor, response: TokenIds) -> FloatArray:
    """`[num_response_tokens]` [nats] from logits `[num_response_tokens, vocab_size]`.

    Log-softmax is taken in float32 whatever the model's dtype.
    """
    targets = torch.tensor(response, device=logits.device)[:, None]
    logits = logits.float()
    chosen = logits.gather(-1, targets)[:, 0] - logits.logsumexp(-1)
    return np.asarray(chosen.double().cpu().numpy())
