"""A run that kills its own process, as a power cut would, at a chosen moment of its writing.

    python -m tests.experiments.interruptible_run RUN_DIR CACHE [KILL_AT [SHARE]]

Writes are counted from 1: every append to a JSON lines file and every replacement of a whole file.
The process receives SIGKILL once SHARE (0 to 1) of write number KILL_AT has reached the file.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from attribot.content_cache import ContentCache
from experiments.runner import run
from tests.experiments.tiny_experiment import tiny_experiment

METHODS = ("loo_naive", "hierarchical", "proxy_pruning", "word_overlap")


def main(run_dir: str, cache: str, kill_at: int | None = None, share: float = 1.0) -> None:
    torch.set_num_threads(1)
    if kill_at is not None:
        kill_at_write(kill_at, share)
    with ContentCache(cache) as stored:
        run(tiny_experiment(Path(run_dir), methods=METHODS, cache=stored))


def kill_at_write(number: int, share: float) -> None:
    """Arm the process; replacements of files are all or nothing, so they happen if `share` is 1."""
    write, replace = os.write, Path.replace
    left = number

    def is_fatal() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def fatal_write(descriptor: int, content: bytes) -> int:
        # Others write too, multiprocessing into its pipes: only records are counted.
        if content[:1] != b"{" or not is_fatal():
            return write(descriptor, content)
        write(descriptor, content[: int(share * len(content))])
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def fatal_replace(self: Path, target: Path) -> Path:
        is_last = is_fatal()
        if not is_last or share == 1:
            replace(self, target)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return target

    os.write = fatal_write  # type: ignore[assignment]
    Path.replace = fatal_replace  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    folder, store, *moment = sys.argv[1:]
    main(folder, store, *map(int, moment[:1]), *map(float, moment[1:]))
