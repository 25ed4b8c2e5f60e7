"""The attributors and prunings of conf/, as small as they get: found by globbing, named nowhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from attribot.attributors.at2 import AT2
from attribot.attributors.base import Attributor
from attribot.attributors.fw_shapley import FWShapley, SourceNetwork
from attribot.attributors.source_features import feature_names
from attribot.attributors.trained_for import TrainedFor
from attribot.learned.saved import SavedEstimator
from attribot.models.language_model import LanguageModel

CONF = Path(__file__).resolve().parents[2] / "conf"
ATTRIBUTORS = [f"attributor/{path.stem}" for path in sorted((CONF / "attributor").glob("*.yaml"))]
PRUNINGS = [f"pruning/{path.stem}" for path in sorted((CONF / "pruning").glob("*.yaml"))]
# Settings that say how much is computed, wherever they stand: enough for five sources.
SMALL = {"budget": 16, "num_ablations": 16, "num_steps": 4}
REQUIRED = "???"

Settings = dict[str, Any]
Maker = Callable[[LanguageModel, Path], Settings]


def at2_file(model: LanguageModel, path: Path) -> Settings:
    """Random weights."""
    shape = model.model.config.num_hidden_layers, model.model.config.num_attention_heads
    weights = np.random.default_rng(0).normal(size=shape)
    trained_for = TrainedFor.of(model.name, model.fingerprint)
    learned = AT2(tuple(map(tuple, weights.tolist())), trained_for)
    SavedEstimator.of(learned, {}, {}).write(path)
    return {"path": str(path)}


def fw_shapley_file(model: LanguageModel, path: Path) -> Settings:
    """A random linear network."""
    num_features = len(feature_names(model.model.config.num_hidden_layers))
    linear = tuple(np.random.default_rng(0).normal(size=num_features).tolist())
    network = SourceNetwork((0.0,) * num_features, (1.0,) * num_features, 0.0, linear)
    learned = FWShapley(network, TrainedFor.of(model.name, model.fingerprint))
    SavedEstimator.of(learned, {}, {}).write(path)
    return {"path": str(path)}


# What makes the values that the user has to give (`???`), by the `_target_` that wants them.
NEEDS: Mapping[str, Maker] = {
    "attribot.learned.saved.load_at2": at2_file,
    "attribot.learned.saved.load_fw_shapley": fw_shapley_file,
}


@cache
def settings_of(option: str) -> Settings:
    """The option as composed, its interpolations resolved."""
    group, name = option.split("/")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=[f"{group}={name}"])
    node = config.attributor if group == "attributor" else config.pruning.method
    settings = OmegaConf.to_container(node, resolve=True)
    assert isinstance(settings, dict)
    return {str(key): value for key, value in settings.items()}


def is_seeded(option: str) -> bool:
    """Whether it has a seed of its own; nothing is composed, since collecting tests asks."""
    return "seed" in OmegaConf.load(CONF / f"{option}.yaml")


def budget_of(option: str) -> int | None:
    """Forward passes that the option may take; None: it has no such setting."""
    settings = settings_of(option)
    return next((SMALL[key] for key in ("budget", "num_ablations") if key in settings), None)


def build(option: str, target: LanguageModel, folder: Path, **changes: Any) -> Attributor:
    """The option's attributor, small; files that it needs are made in `folder`."""
    settings = _filled(settings_of(option) | changes, target, folder)
    attributor = instantiate(settings, _convert_="all")
    assert isinstance(attributor, Attributor)
    return attributor


def _filled(node: Any, target: LanguageModel, folder: Path) -> Any:
    if isinstance(node, list):
        return [_filled(value, target, folder) for value in node]
    if not isinstance(node, dict):
        return node
    if REQUIRED in node.values():
        wanted = node.get("_target_")
        assert wanted in NEEDS, f"{wanted} has values to fill: say in NEEDS what makes them: {node}"
        node = node | NEEDS[wanted](target, folder / f"{wanted}.json")
    return {key: SMALL.get(key, _filled(value, target, folder)) for key, value in node.items()}
