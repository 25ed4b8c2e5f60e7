"""Questions of the command line, asked of models that are loaded once."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from attribot.cli.caches import cache_errors
from attribot.cli.settings import Settings
from attribot.errors import InvalidInputError
from attribot.explain.attribute import attribute
from attribot.explain.given import Context
from attribot.explain.methods import named_method
from attribot.explain.parts import Spans
from attribot.explain.result import AttributionResult
from attribot.explain.terminal import TerminalBar
from attribot.explain.watching import Progress
from attribot.models.bundled import load_bundled
from attribot.models.language_model import LanguageModel
from attribot.models.loading import ACCELERATOR, DType, default_dtype, load_model, set_threads
from attribot.types import Level

SENTENCES = "sentences"


@dataclass(frozen=True)
class Models:
    """The models of settings, which those with another method may share."""

    settings: Settings

    @cached_property
    def loaded(self) -> tuple[LanguageModel, LanguageModel | None]:
        """Target and proxy, loaded when first asked for."""
        # By default PyTorch counts the cores of the machine, not those that a container has.
        if "OMP_NUM_THREADS" not in os.environ:
            set_threads()
        proxy = self.settings.proxy
        return self._load(self.settings.model), None if proxy is None else self._load(proxy)

    def _load(self, name: str | None) -> LanguageModel:
        dtype = cast(DType, self.settings.dtype or default_dtype())
        if name is not None:
            return load_model(name, dtype=dtype)
        with cache_errors():
            return load_bundled(dtype=dtype, device_map=ACCELERATOR)


@dataclass(frozen=True)
class Asker:
    """Attributes one question after the other under the same settings."""

    settings: Settings
    models: Models

    def __post_init__(self) -> None:
        settings, spans = self.settings, self._spans()
        if settings.method != "auto":
            named_method(settings.method, settings.proxy is not None, bool(spans))

    def ask(
        self,
        context: Context,
        query: str = "",
        response: str | None = None,
        progress: Progress | None = None,
        spans: Spans | None = None,
    ) -> AttributionResult:
        """See `explain.attribute.attribute`. spans: None takes those of the settings."""
        settings = self.settings
        model, proxy = self.models.loaded
        return attribute(
            model,
            context=context,
            query=query,
            response=response,
            proxy=proxy,
            method=settings.method,
            messages=settings.messages,
            template=settings.template,
            spans=self._spans() if spans is None else spans,
            level=cast(Level, settings.level),
            max_cost=settings.max_cost,
            max_memory_gb=settings.max_memory_gb,
            max_new_tokens=settings.max_new_tokens,
            score_end_token=settings.score_end_token,
            measure_noise=settings.measure_noise,
            progress=progress,
            cache=settings.cache,
        )

    def _spans(self) -> Spans | None:
        spans = self.settings.spans
        if SENTENCES in spans and len(spans) > 1:
            raise InvalidInputError(
                f"expected --spans {SENTENCES}, or quotes of the response; got both: {spans}"
            )
        if not spans:
            return None
        return SENTENCES if spans == (SENTENCES,) else list(spans)


def bar(prefix: str = "") -> Progress | None:
    """Progress on a terminal; None elsewhere, where watching would only take time.

    prefix: before what is going on, so that questions share one line of the terminal.
    """
    if not sys.stderr.isatty():
        return None
    drawn = TerminalBar()

    def report(done: int, total: int, text: str) -> Any:
        return drawn(done, total, prefix + text)

    return report
