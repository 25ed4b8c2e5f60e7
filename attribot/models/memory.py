"""Peak memory of a stretch of work, on a GPU or on the CPU.

reset_peak_memory(device)
...                            # the work
peak_memory(device)
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
from pathlib import Path

import torch

# Writing 5 resets the peak resident set size that the status file reports (man 5 proc).
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def reset_peak_memory(device: torch.device, *, hands_back: bool = True) -> None:
    """Begins the stretch that the next `peak_memory` reports on; no effect where it gives NaN.

    hands_back: what earlier work has freed is given back to the system first, so that it does not
        count. That takes a tenth of a second and more in a process that holds many objects, and
        the work that follows has to ask for its memory anew: not to be done beside a clock.
    """
    if hands_back:
        gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _has_resident_peak(device):
        libc = ctypes.CDLL(None)
        if hands_back and hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        _CLEAR_REFS.write_text("5")


def peak_memory(device: torch.device) -> float:
    """Largest memory in use since `reset_peak_memory` [bytes], model weights included.

    That of the GPU's allocator, or for a model on the CPU that resident in this process. NaN where
    the system keeps no peak that could be reset: on other devices, and outside Linux.
    """
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if not _has_resident_peak(device):
        return math.nan
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return 1024.0 * int(lines["VmHWM"].split()[0])


def _has_resident_peak(device: torch.device) -> bool:
    return device.type == "cpu" and os.access(_CLEAR_REFS, os.W_OK)
