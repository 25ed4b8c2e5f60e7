"""Progress by example and method: a bar on a terminal, a line per example elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress:
    """Shows example, method and time left; a context manager.

    The time left is that of the examples so far, which is fair because every example meets every
    method.
    """

    def __init__(self, num_examples: int, enabled: bool = True) -> None:
        self.num_examples = num_examples
        self._console = Console(stderr=True)
        self._start = time.monotonic()
        self._shown = -1
        self._enabled = enabled
        self._bar = RichProgress(
            TextColumn("examples"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}  {task.fields[what]}", markup=False),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task("examples", total=num_examples, left="", what="")

    def show(self, index: int, example_id: str, step: str) -> None:
        """Example number `index` is at `step`."""
        left = self._time_left(index)
        self._bar.update(self._task, completed=index, left=left, what=f"{example_id}  {step}")
        if self._enabled and not self._console.is_terminal and index != self._shown:
            text = f"example {index + 1}/{self.num_examples}  {example_id}  {left}"
            self._console.print(text, markup=False)
        self._shown = index

    def _time_left(self, index: int) -> str:
        if index == 0:
            return ""
        seconds = (time.monotonic() - self._start) / index * (self.num_examples - index)
        return f"{seconds / 60:.0f} min left" if seconds >= 90 else f"{seconds:.0f} s left"

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()
