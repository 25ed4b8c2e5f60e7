"""The dtype that `dtype=auto` takes: measured on the machine at hand, not guessed from its name."""

from __future__ import annotations

import functools
import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import linear

logger = logging.getLogger(__name__)

# bfloat16 costs accuracy: it has to be clearly faster, beyond what timings scatter.
MIN_SPEEDUP = 1.5
# The feed-forward layer of a small decoder, read by a prompt of a few sentences.
_NUM_TOKENS, _HIDDEN_SIZE, _INTERMEDIATE_SIZE = 256, 768, 3072
_NUM_TIMINGS = 5

Timer = Callable[[torch.dtype], float]


@dataclass(frozen=True)
class ProbedDtype:
    """What a device computes best in.

    dtype: of the weights and the arithmetic.
    speedup: seconds in float32 over seconds in bfloat16, whichever of them was taken; None where
        nothing was timed.
    """

    dtype: torch.dtype
    speedup: float | None


def matmul_seconds(dtype: torch.dtype) -> float:
    """Wall seconds of one linear layer of decoder shape on the CPU, at the threads in force."""
    tokens = torch.ones(_NUM_TOKENS, _HIDDEN_SIZE, dtype=dtype)
    weights = torch.ones(_INTERMEDIATE_SIZE, _HIDDEN_SIZE, dtype=dtype)
    start = time.perf_counter()
    linear(tokens, weights)
    return time.perf_counter() - start


def probe_dtype(device: torch.device, timer: Timer = matmul_seconds) -> ProbedDtype:
    """float16 on an accelerator; on a CPU bfloat16 where it is fast, and float32 elsewhere.

    On a CPU, bfloat16 has to be at least `MIN_SPEEDUP` times as fast as float32: only some have
    instructions for it, and the others emulate it, more slowly than float32. Float16 is never
    timed there: it saves memory, not time. Takes a fraction of a second. Source: ours.

    timer: seconds that some work takes in a dtype.
    """
    if device.type != "cpu":
        logger.info("dtype=auto is float16 on %s", device)
        return ProbedDtype(torch.float16, None)
    pair = (torch.float32, torch.bfloat16)
    for dtype in pair:
        timer(dtype)
    # Interleaved, so that a change of the machine's load meets both.
    timings = [[timer(dtype) for dtype in pair] for _ in range(_NUM_TIMINGS)]
    full, half = (statistics.median(seconds) for seconds in zip(*timings, strict=True))
    speedup = full / half
    probed = ProbedDtype(torch.bfloat16 if speedup >= MIN_SPEEDUP else torch.float32, speedup)
    logger.info(
        "dtype=auto is %s on this CPU: bfloat16 is %.2f times as fast as float32 with %d threads",
        str(probed.dtype).removeprefix("torch."),
        speedup,
        torch.get_num_threads(),
    )
    return probed


def probed_dtype(device: torch.device) -> ProbedDtype:
    """As `probe_dtype`, once per kind of device and number of threads: all models of a process
    that load with `dtype=auto` get the same answer."""
    return _probe_once(device.type, torch.get_num_threads())


@functools.cache
def _probe_once(device_type: str, _num_threads: int) -> ProbedDtype:
    return probe_dtype(torch.device(device_type))
