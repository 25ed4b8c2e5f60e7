"""How far next-token distributions move from those after another prompt.

Distributions over a whole vocabulary never leave this module: those of one prompt are kept, those
of every other prompt are compared with them as soon as they are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from attribot.scoring.batching import TokenIds
from attribot.scoring.padded import response_log_probs
from attribot.types import FloatArray

# Copies of distributions are made for this many positions at a time, whatever the response.
POSITIONS_AT_A_TIME = 32


@dataclass(eq=False)
class KeptDistributions:
    """Next-token distributions of one response after one prompt, for others to be compared with.

    Both methods take logits `[num_response_tokens, vocab_size]`, whatever their dtype; arithmetic
    is in float32. Memory: that of the log-probabilities kept, 4 m V bytes for m response tokens and
    a vocabulary of V.

    log_probs: `[num_response_tokens, vocab_size]`; empty before `keep`.
    """

    log_probs: torch.Tensor

    @classmethod
    def empty(cls) -> KeptDistributions:
        return cls(torch.empty(0))

    def keep(self, logits: torch.Tensor, response: TokenIds) -> FloatArray:
        """Takes the distributions over; gives the response's log-likelihoods as an engine does."""
        self.log_probs = logits.float().log_softmax(-1)
        return response_log_probs(logits, response)

    def divergences(self, logits: torch.Tensor, response: TokenIds) -> FloatArray:
        """`[num_response_tokens]` Jensen-Shannon divergences from those kept [nats]."""
        assert len(self.log_probs) == len(response)
        starts = range(0, len(response), POSITIONS_AT_A_TIME)
        parts = [
            jensen_shannon(logits[rows].float().log_softmax(-1), self.log_probs[rows])
            for rows in (slice(start, start + POSITIONS_AT_A_TIME) for start in starts)
        ]
        return np.asarray(torch.cat(parts).double().cpu().numpy())


def jensen_shannon(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """JSD(P, Q) = 1/2 KL(P || M) + 1/2 KL(Q || M) with M = (P + Q) / 2 [nats]: `[...]`.

    In [0, log 2]. With t = (p - q) / (p + q) it is

        sum_v M_v ((1 + t) log(1 + t) + (1 - t) log(1 - t)) / 2

    which keeps its digits where P and Q are nearly equal: t is the tanh of half the difference of
    log-probabilities, and no two logarithms of nearly the same size are subtracted.

    log_p, log_q: `[..., vocab_size]`.
    """
    t = torch.tanh((log_p - log_q) / 2)
    terms = torch.special.xlog1py(1 + t, t) + torch.special.xlog1py(1 - t, -t)
    divergence: torch.Tensor = ((log_p.exp() + log_q.exp()) / 2 * terms / 2).sum(-1)
    return divergence
