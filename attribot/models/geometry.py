"""Models of a given geometry with random weights: what a model costs, without its weights.

Time, memory and counted FLOPs depend on a model's shapes alone, so they can be measured where the
weights cannot be had.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from attribot.errors import InvalidInputError


def random_model(
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    attn_implementation: str = "sdpa",
) -> PreTrainedModel:
    """A causal language model in eval mode, drawn at random on `device` in `dtype`.

    No copy in another type or place is made on the way, so it needs the memory of its weights only.

    path: a YAML file; see `geometry_config`.

    Raises:
        InvalidInputError: the file cannot be used.
    """
    config = geometry_config(path)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attn_implementation
        )
    model.eval().requires_grad_(False)
    return model


def geometry_config(path: Path) -> PretrainedConfig:
    """The transformers configuration that a YAML file describes.

    The file names a `model_type` and settings of that type, as in the `config.json` of a model;
    what it leaves out has the type's default.

    Raises:
        InvalidInputError: no such file, no mapping with a known model type, or settings that the
            type does not have or refuses.
    """
    settings = _settings(path)
    model_type = settings.pop("model_type")
    try:
        known = set(AutoConfig.for_model(model_type).to_dict())
    except ValueError as error:
        raise InvalidInputError(
            f"{path}: unknown model_type {model_type!r}; expected one of transformers, such as "
            f"llama, qwen2, qwen3, mistral or gemma3_text"
        ) from error
    # Configurations keep whatever they are given: a misspelt size would go unnoticed.
    if unknown := sorted(set(settings) - known):
        raise InvalidInputError(
            f"{path}: {model_type} has no setting {', '.join(unknown)}; known: "
            f"{', '.join(sorted(known))}"
        )
    try:
        return AutoConfig.for_model(model_type, **settings)
    except StrictDataclassError as error:
        raise InvalidInputError(f"{path}: {model_type} refuses the settings: {error}") from error


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInputError(
            f"cannot read {path} ({error.strerror}): expected a YAML file with a model's geometry"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(settings, dict) or "model_type" not in settings:
        raise InvalidInputError(
            f"{path}: expected a mapping with model_type and its settings; got {settings!r:.80}"
        )
    return settings
