"""How far leave-one-out scores move by rounding alone: the floor below which scores say nothing."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.scoring.scorer import ModelScorer
from attribot.types import FloatArray

# A float32 copy of a model of this size takes 8 GB.
MAX_PARAMETERS = 2_000_000_000

# (sentences of the context, query, response); original texts.
_PASSAGES = (
    (
        (
            "The lighthouse at Tarn Head was built in 1871 on a rock that the tide cuts off twice "
            "a day.",
            "Its lamp was lit by whale oil for the first nine years.",
            "When the price of oil rose, the harbour board changed to paraffin.",
            "The keeper rowed ashore every second Friday to fetch bread, letters and lamp glass.",
            "In the winter of 1904 a storm tore away the landing stage, and nobody reached the "
            "rock for five weeks.",
            "The harbour got a power station in 1926, and a cable was laid along the sea bed.",
            "Since then the lamp has been electric, and the last keeper left two years later.",
            "His cottage is a museum today, open from May to September.",
        ),
        "What fuelled the lamp of the lighthouse before it became electric?",
        "At first it was lit by whale oil, and later by paraffin, until the cable was laid in "
        "1926.",
    ),
    (
        (
            "Bakers in the valley let their dough rest overnight in a cold cellar.",
            "The slow rise gives the bread its sour taste.",
            "Rye was for a long time the only grain that grew above the tree line, so most loaves "
            "are dark.",
            "Wheat came with the railway, and with it the white rolls that are sold on Sundays.",
            "A loaf is scored with the mark of its house before it goes into the common oven.",
            "The oven is lit on Thursdays and stays warm until Saturday.",
            "Caraway is added in the lower villages, fennel in the upper ones.",
            "Visitors take the hard crust for a fault, but it keeps the loaf fresh for two weeks.",
        ),
        "Why does the bread of the valley taste sour?",
        "The dough rests overnight in a cold cellar, and its slow rise makes the bread sour.",
    ),
)


@dataclass(frozen=True)
class NoiseCase:
    """Prompts whose leave-one-out scores are computed twice.

    prompt: with the whole context.
    ablated_prompts: `[num_sources]` the same without one source each.
    response: the text that is scored, without its end-of-turn token.
    """

    prompt: str
    ablated_prompts: tuple[str, ...]
    response: str


@dataclass(frozen=True)
class NoiseFloor:
    """Deviations of leave-one-out scores from float32 arithmetic [nats].

    dtype: of the model that was measured.
    rms, largest: root mean square and maximum of the absolute deviations.
    num_scores: how many scores that is.
    """

    dtype: str
    rms: float
    largest: float
    num_scores: int


def built_in_cases() -> tuple[NoiseCase, ...]:
    """Two short contexts of eight sentences each, the same for every model."""
    return tuple(
        NoiseCase(
            _prompt(sentences, query),
            tuple(
                _prompt(sentences[:index] + sentences[index + 1 :], query)
                for index in range(len(sentences))
            ),
            response,
        )
        for sentences, query, response in _PASSAGES
    )


def noise_floor(
    model: LanguageModel,
    cases: Sequence[NoiseCase] = (),
    *,
    max_parameters: int = MAX_PARAMETERS,
) -> NoiseFloor:
    """The deviation of the model's scores from those of the same weights in float32 [nats].

        deviation(s) = LOO(s; model as it is, packed) - LOO(s; float32 arithmetic, naive)

    So the floor of a float32 model is what packing changes. What rounding the weights themselves
    to the dtype changes is no part of it. Costs `2 * (1 + num_sources)` sequences a case, and the
    memory of a float32 copy of the model while it runs. Source: ours.

    cases: none = `built_in_cases`. Noise grows with the lengths of prompt and response, so cases of
        one's own data tell more.

    Raises:
        InvalidInputError: the float32 copy would have more than `max_parameters`, or the weights
            are quantised or not in memory.
    """
    cases = cases or built_in_cases()
    reference = in_float32(model, max_parameters)
    deviations = _loo_scores(ModelScorer(model), cases) - _loo_scores(
        ModelScorer(reference, strategy="naive"), cases
    )
    return NoiseFloor(
        dtype=model.dtype,
        rms=float(np.sqrt(np.mean(deviations**2))),
        largest=float(np.abs(deviations).max()),
        num_scores=len(deviations),
    )


def _loo_scores(scorer: ModelScorer, cases: Sequence[NoiseCase]) -> FloatArray:
    """`[num_scores]` leave-one-out scores of all cases in turn [nats]."""
    scores = []
    for case in cases:
        response = response_from_text(scorer.language_model, case.response, add_end_token=False)
        prompts = [case.prompt, *case.ablated_prompts]
        values = scorer.score(prompts, response).log_likelihoods
        scores.append(values[0] - values[1:])
    return np.concatenate(scores)


def in_float32(model: LanguageModel, max_parameters: int = MAX_PARAMETERS) -> LanguageModel:
    """The model with its weights, as they are rounded, in float32; a float32 model itself.

    Raises:
        InvalidInputError: the copy would have more than `max_parameters`, or the weights are
            quantised or not in memory.
    """
    if model.model.dtype == torch.float32:
        return model
    parameters = list(model.model.parameters())
    if getattr(model.model, "is_quantized", False) or any(p.is_meta for p in parameters):
        raise InvalidInputError(
            f"{model.name} has no float32 copy: expected plain weights in memory, but they are "
            f"quantised or offloaded; load the model without quantization_config and onto one "
            f"device"
        )
    num_parameters = sum(parameter.numel() for parameter in parameters)
    if num_parameters > max_parameters:
        raise InvalidInputError(
            f"a float32 copy of {model.name} has {num_parameters:,} parameters "
            f"({4e-9 * num_parameters:.0f} GB), more than max_parameters={max_parameters:,}: load "
            f"it in float32 or float16, or measure a smaller model of the family"
        )
    return replace(model, model=copy.deepcopy(model.model).float())


def _prompt(sentences: Sequence[str], query: str) -> str:
    return (
        "Answer the question based on the provided context:\n\nContext:\n"
        f"{' '.join(sentences)}\n\nQuestion: {query}"
    )
