"""Train a learned attributor:  python -m experiments.train estimator=at2 output=at2.json

Knows Hydra, as `experiments.run` does: everything below gets plain objects.
"""

from __future__ import annotations

import math
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from attribot.content_cache import ContentCache
from attribot.learned.effects import AblationSampler
from attribot.learned.saved import SavedEstimator
from attribot.models.generation import GenerationSettings
from attribot.models.loading import cache_dir, set_threads
from experiments.run import (
    CONF_DIR,
    chosen_models,
    load_models,
    one_line_errors,
    plain_values,
    quieten_libraries,
)
from experiments.runner import check_roles
from experiments.training import TrainingRun, train


def build_training(config: DictConfig) -> TrainingRun:
    """Everything a composed configuration names, loaded; each model once."""
    plain = plain_values(config)
    set_threads(config.num_threads)
    name = HydraConfig.get().runtime.choices["estimator"]
    training = instantiate(config.estimator, _convert_="all")
    sampler = AblationSampler(config.num_ablations, config.seed, instantiate(config.ablation))
    # What a user may have mistyped is read first: loading models can take minutes.
    model_roles = chosen_models(config)
    check_roles({name: training}, model_roles)
    examples = instantiate(config.dataset).load()
    needed = {"target", training.role}
    models = load_models(config, [role for role in model_roles if role in needed])
    return TrainingRun(
        name=name,
        training=training,
        settings=plain["estimator"],
        scorers={role: instantiate(config.scorer, model) for role, model in models.items()},
        dataset_name=HydraConfig.get().runtime.choices["dataset"],
        examples=examples,
        splitter=instantiate(config.splitter),
        template=instantiate(config.template),
        generation=GenerationSettings(**config.generation),
        sampler=sampler,
        cache=ContentCache(Path(config.cache_path or cache_dir() / "scores.sqlite")),
        held_out_share=config.held_out_share,
        progress=config.progress,
    )


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="train")
def main(config: DictConfig) -> float:
    """One training; returns what sweepers maximise: the held-out correlation."""
    quieten_libraries()
    console = Console()
    with one_line_errors():
        run = build_training(config)
        saved = train(run)
        saved.write(Path(config.output))
    print_held_out(saved, console)
    console.print(f"estimator  {config.output}", highlight=False, markup=False, soft_wrap=True)
    command = f"python -m experiments.run attributor={run.name} attributor.path={config.output}"
    console.print(f"   use it  {command}", highlight=False, markup=False, soft_wrap=True)
    mean = saved.held_out["correlation"][run.name]["mean"]
    return math.nan if mean is None else float(mean)


def print_held_out(saved: SavedEstimator, console: Console) -> None:
    """How well scores order the ablations of examples that were not trained on."""
    table = Table(
        title=f"trained on {saved.training['num_examples']} examples, "
        f"judged on {saved.held_out['num_examples']} others",
        box=SIMPLE,
        title_justify="left",
    )
    table.add_column("method")
    table.add_column("Spearman with log-likelihoods of ablations [95%]", justify="right")
    for name, interval in saved.held_out["correlation"].items():
        numbers = [
            "–" if interval[end] is None else f"{interval[end]:.2f}"
            for end in ("mean", "low", "high")
        ]
        table.add_row(escape(name), f"{numbers[0]} [{numbers[1]}, {numbers[2]}]")
    console.print(table)


if __name__ == "__main__":
    main()
