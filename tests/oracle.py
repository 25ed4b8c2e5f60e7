"""The slow and obvious way: one whole forward pass per prompt, every logit, no cache."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from attribot.models.language_model import LanguageModel
from attribot.types import FloatArray


def naive_token_log_likelihoods(
    model: LanguageModel, prompts: Sequence[tuple[int, ...]], response: tuple[int, ...]
) -> FloatArray:
    """`[num_prompts, num_response_tokens]` [nats]."""
    rows = []
    for prompt in prompts:
        with torch.inference_mode():
            logits = model.model(torch.tensor([prompt + response]), use_cache=False).logits[0]
        log_probs = logits.double().log_softmax(-1)
        rows.append(
            [log_probs[len(prompt) - 1 + i, token].item() for i, token in enumerate(response)]
        )
    return np.array(rows)
