"""Models of given geometries with random weights, side by side, and a way timed under them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from attribot.attributors.ablation import Mask
from attribot.attributors.base import Problem
from attribot.errors import InvalidInputError
from attribot.evaluation.efficiency import PromptShape
from attribot.models.flex_packed import MAX_COMPILED
from attribot.models.geometry import random_model
from attribot.models.language_model import LanguageModel
from attribot.models.memory import peak_memory, reset_peak_memory
from attribot.scoring.cost import ModelGeometry
from attribot.scoring.engine import LikelihoodEngine
from attribot.scoring.scorer import ModelScorer
from attribot.types import Cost
from experiments.efficiency.compositions import Composition
from experiments.efficiency.counting import SyntheticPrompt
from experiments.forward_clock import ForwardClock, read_clock

# Which models a way asks, and how, does not depend on the prompt.
_ANY_SHAPE = PromptShape(12, 3, 1)


@dataclass(frozen=True)
class Clocked:
    """One attribution by the clock.

    cost: counted.
    seconds: from the problem to its scores; rendering, tokenising and planning included.
    forward_seconds: of these, inside the forward passes of all models.
    peak_memory_bytes, resting_memory_bytes: in use at most, and before; NaN where unknown.
    """

    cost: Cost
    seconds: float
    forward_seconds: float
    peak_memory_bytes: float
    resting_memory_bytes: float


@dataclass(frozen=True, eq=False)
class TimedModels:
    """What fills the roles, and one scorer per role and strategy, made when first asked for."""

    models: Mapping[str, LanguageModel]
    _scorers: dict[tuple[str, str], ModelScorer] = field(default_factory=dict, init=False)

    @classmethod
    def random(
        cls,
        geometries: Mapping[str, Path],
        device: torch.device,
        dtype: torch.dtype,
        tokenizer: PreTrainedTokenizerFast,
    ) -> TimedModels:
        """Models drawn at random on the device, by role, all with one tokenizer; `check_memory`
        says beforehand whether they fit.

        Raises:
            InvalidInputError: a model has fewer tokens than the tokenizer.
        """
        if device.type == "cuda":
            _admit_kernels()
        models = {}
        for role, path in geometries.items():
            model = random_model(path, device, dtype)
            known, asked = model.config.get_text_config().vocab_size, len(tokenizer)
            if known < asked:
                raise InvalidInputError(
                    f"{path.stem} has a vocabulary of {known:,} tokens, and the prompts have "
                    f"{asked:,} different ones: take shorter prompts"
                )
            models[role] = LanguageModel(model, tokenizer, path.stem)
        return cls(models)

    @property
    def target(self) -> LanguageModel:
        return self.models["target"]

    @cached_property
    def geometries(self) -> dict[str, ModelGeometry]:
        return {role: ModelGeometry.of(model.model) for role, model in self.models.items()}

    def check_length(self, prompt: SyntheticPrompt) -> None:
        """Raises PromptTooLongError where a model does not read so much."""
        for model in self.models.values():
            model.check_length(prompt.prompt_tokens, prompt.response_tokens)

    def refusal(self, way: Composition) -> str | None:
        """Why a model does not admit a way; None where all do."""
        engines = [self._engine(role, way) for role in self._roles(way)]
        reasons = [engine.refusals.get(engine.strategy) for engine in engines]
        if any(isinstance(stage.ablation, Mask) for stage in way.stages(_ANY_SHAPE)):
            reasons += [engine.masking_refusal(True) for engine in engines]
        return next(filter(None, reasons), None)

    def plan(self, way: Composition, problem: Problem) -> Cost:
        """What `run` computes, without computing it."""
        planning = {role: self._scorer(role, way).planning() for role in self.models}
        return way.attributor.attribute(problem, planning).cost

    def run(self, way: Composition, problem: Problem) -> Cost:
        """One attribution, with a memory of its own."""
        opened = {role: self._scorer(role, way).opened() for role in self.models}
        return way.attributor.attribute(problem, opened).cost

    def clocked(self, way: Composition, problem: Problem) -> Clocked:
        """As `run`, measured.

        The clock of the forward passes waits for the device before and after each. That takes
        nothing away from passes to come: the engine itself reads numbers off each before the next.
        """
        device = self.target.device
        reset_peak_memory(device)
        resting = peak_memory(device)
        with ExitStack() as stack:
            clocks = [
                stack.enter_context(ForwardClock(module, device)) for module in self._modules(way)
            ]
            start = read_clock(device)
            cost = self.run(way, problem)
            seconds = read_clock(device) - start
        forward_seconds = sum(clock.seconds for clock in clocks)
        return Clocked(cost, seconds, forward_seconds, peak_memory(device), resting)

    def _modules(self, way: Composition) -> list[PreTrainedModel]:
        """All that forward passes are made with."""
        modules = []
        for role in self._roles(way):
            engine = self._engine(role, way)
            modules.append(engine.model)
            if engine.strategy == "packed":
                modules.append(engine.packed_passes.view)
        return modules

    def _roles(self, way: Composition) -> list[str]:
        return sorted({stage.role for stage in way.stages(_ANY_SHAPE)})

    def _engine(self, role: str, way: Composition) -> LikelihoodEngine:
        engine = self._scorer(role, way).engine
        assert isinstance(engine, LikelihoodEngine)
        return engine

    def _scorer(self, role: str, way: Composition) -> ModelScorer:
        key = role, way.strategy
        if key not in self._scorers:
            self._scorers[key] = ModelScorer(self.models[role], way.strategy)
        return self._scorers[key]


def check_memory(
    geometries: Mapping[str, Path], device: torch.device, dtype: torch.dtype
) -> dict[str, int]:
    """Bytes of each role's weights.

    Raises:
        InvalidInputError: together they exceed what the device has free.
    """
    meta = torch.device("meta")
    sizes = {
        role: ModelGeometry.of(random_model(path, meta, dtype)).weight_bytes
        for role, path in geometries.items()
    }
    available = available_bytes(device)
    if sum(sizes.values()) > available:
        parts = [f"{geometries[role].stem} {size / 1e9:.1f}" for role, size in sizes.items()]
        raise InvalidInputError(
            f"the weights need {sum(sizes.values()) / 1e9:.1f} GB ({', '.join(parts)}), and "
            f"{device} has {available / 1e9:.1f} GB: take smaller models or a smaller --dtype, or "
            f"leave out --proxy"
        )
    return sizes


def available_bytes(device: torch.device) -> float:
    """What is free on a GPU, or all memory of a machine; infinite where a device does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "cpu":
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return math.inf


def _admit_kernels() -> None:
    """PyTorch before 2.13 keeps eight kernels of a function for the whole process: too few for two
    models, see `flex_packed`."""
    import torch._dynamo.config

    torch._dynamo.config.recompile_limit = MAX_COMPILED
