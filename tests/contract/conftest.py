"""Options as attributors, and their runs, kept for the session."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from attribot.attributors.base import Attributor
from tests.contract.options import build
from tests.contract.tiny_runs import model_of, run


@pytest.fixture(scope="session")
def attributor_of(tmp_path_factory):
    """The attributor of an option, built once; with changed settings, anew."""
    folder = tmp_path_factory.mktemp("needs")

    @cache
    def cached(option: str) -> Attributor:
        return build(option, model_of("target"), folder)

    def attributor(option: str, **changes: Any) -> Attributor:
        if changes:
            return build(option, model_of("target"), folder, **changes)
        return cached(option)

    return attributor


@pytest.fixture(scope="session")
def plain_run(attributor_of):
    """The run of an option on the plain problem: many tests look at it."""
    return cache(lambda option: run(attributor_of(option), "plain"))
