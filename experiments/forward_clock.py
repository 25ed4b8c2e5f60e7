"""Time inside a model's forward passes, by hooks on the model, and quiet to measure it in."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from transformers.utils.logging import disable_progress_bar


@contextmanager
def undisturbed() -> Iterator[None]:
    """No progress bars, and no garbage collection over the objects of all imported libraries, which
    would take longer than small passes."""
    disable_progress_bar()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class ForwardClock:
    """Adds up the seconds that a module's forward passes take; a context manager."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.seconds = 0.0
        self._module = module
        self._device = device
        self._start = 0.0

    def __enter__(self) -> Self:
        self._hooks = (
            self._module.register_forward_pre_hook(self._begin),
            self._module.register_forward_hook(self._end),
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *_: Any) -> None:
        self._start = read_clock(self._device)

    def _end(self, *_: Any) -> None:
        self.seconds += read_clock(self._device) - self._start


def read_clock(device: torch.device) -> float:
    """Seconds on a clock of its own epoch, read when the device has done all that was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
