"""Ctrl-C, also where Python forgets it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from attribot.cli.interrupts import check, listen


@pytest.fixture(autouse=True)
def _listening() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    listen()
    yield
    signal.signal(signal.SIGINT, before)


def test_it_is_raised_at_once_and_again_at_the_next_look() -> None:
    check()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        check()
    check()
