"""Ctrl-C that is not lost.

Python raises KeyboardInterrupt wherever it happens to be, and prints and forgets it in places such
as the callback of a weak reference. So it is noted as well, and looked at between pieces of work.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import NoReturn

_NOTED = threading.Event()


def listen() -> None:
    """Notes Ctrl-C from now on; for the main thread of a process of our own."""
    signal.signal(signal.SIGINT, _interrupt)


def check() -> None:
    """Raises KeyboardInterrupt if there was a Ctrl-C."""
    if _NOTED.is_set():
        _NOTED.clear()
        raise KeyboardInterrupt


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    _NOTED.set()
    raise KeyboardInterrupt
