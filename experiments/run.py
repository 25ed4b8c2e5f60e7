"""Run an experiment that Hydra composes:  python -m experiments.run [group=option] [key=value]

The only place that knows Hydra: everything below gets plain objects.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import pandas as pd
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, MissingMandatoryValue, OmegaConf
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from attribot.content_cache import ContentCache
from attribot.errors import AttribotError, InvalidInputError
from attribot.manifest import run_id
from attribot.models.generation import GenerationSettings
from attribot.models.language_model import LanguageModel
from attribot.models.loading import cache_dir, set_threads
from attribot.scoring.noise import noise_floor
from experiments.dry_run import plan_run, print_plan
from experiments.runner import Experiment, Method, check_roles, roles, run

CONF_DIR = str(Path(__file__).resolve().parents[1] / "conf")

# Settings that change neither scores nor counted costs: two runs that differ in them alone are one.
WITHOUT_INFLUENCE = (
    "tracking",
    "output_dir",
    "cache_path",
    "num_threads",
    "progress",
    "dry_run",
    "scorer.batch_size",
    "scorer.max_tokens_per_pass",
    "scorer.max_memory_gb",
    "methods.*.scorer.batch_size",
    "methods.*.scorer.max_tokens_per_pass",
    "methods.*.scorer.max_memory_gb",
)


def build_experiment(config: DictConfig) -> Experiment:
    """Everything a composed configuration names, loaded; each model once."""
    plain = plain_values(config)
    set_threads(config.num_threads)
    attributors = {
        name: instantiate(method.method, _convert_="all") for name, method in config.methods.items()
    }
    # What a user may have mistyped is read first: loading models can take minutes.
    model_roles = chosen_models(config)
    check_roles(attributors, ["embedder", *model_roles])
    examples = instantiate(config.dataset).load()
    needed = {"target"}.union(*(roles(attributor) for attributor in attributors.values()))
    models = load_models(config, [role for role in model_roles if role in needed])
    embedder = {"embedder": instantiate(config.embedder)} if "embedder" in needed else {}
    methods: dict[str, Method] = {}
    # Methods of equal settings share their scorers, and with them the models' packed views.
    built: dict[str, dict[str, Any]] = {}
    for name, method in config.methods.items():
        settings = OmegaConf.merge(config.scorer, method.get("scorer") or {})
        key = OmegaConf.to_yaml(settings, resolve=True, sort_keys=True)
        if key not in built:
            built[key] = {role: instantiate(settings, model) for role, model in models.items()}
        scorers = built[key]
        methods[name] = Method(
            method.label,
            method.kind,
            attributors[name],
            {**scorers, **embedder},
            method.get("family", ""),
        )
    return Experiment(
        run_id=run_identity(config),
        run_dir=run_dir_of(config),
        config=plain,
        models=models,
        methods=methods,
        naive=config.naive if config.naive in methods else None,
        dataset_name=HydraConfig.get().runtime.choices["dataset"],
        examples=examples,
        splitter=instantiate(config.splitter),
        template=instantiate(config.template),
        generation=GenerationSettings(**config.generation),
        evaluation=instantiate(config.evaluation, _convert_="all"),
        cache=ContentCache(Path(config.cache_path or cache_dir() / "scores.sqlite")),
        tracker=instantiate(config.tracking),
        seed=config.seed,
        progress=config.progress,
        shares_ablations=config.share_ablations,
        score_end_token=config.score_end_token,
    )


def run_identity(config: DictConfig) -> str:
    """The id of the run that a composed configuration describes."""
    return run_id(plain_values(config), WITHOUT_INFLUENCE)


def run_dir_of(config: DictConfig) -> Path:
    """The folder of that run."""
    return Path(config.output_dir) / f"{config.name}-{run_identity(config)}"


def plain_values(config: DictConfig) -> dict[str, Any]:
    """The configuration, resolved; raises InvalidInputError where the user has to give a value."""
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise InvalidInputError(
            f"{error.full_key} has no value: add {error.full_key}=... to the command"
        ) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def chosen_models(config: DictConfig) -> list[str]:
    """Roles that a `model@<role>=` fills, the target first."""
    choices = HydraConfig.get().runtime.choices
    named = [key.removeprefix("model@") for key in choices if key.startswith("model@")]
    return sorted((role for role in named if config.get(role)), key=lambda role: role != "target")


def load_models(config: DictConfig, model_roles: Sequence[str]) -> dict[str, LanguageModel]:
    """The models of these roles, the target first; one made of the target shares its weights."""
    models: dict[str, LanguageModel] = {}
    for role in model_roles:
        settings = config[role]
        if models and settings.get("base") == config.target:
            settings = OmegaConf.masked_copy(settings, [k for k in settings if k != "base"])
            models[role] = instantiate(settings, _partial_=True)(base=models["target"])
        else:
            models[role] = instantiate(settings)
    return models


def report_dropped(experiment: Experiment, console: Console) -> None:
    """Say what the data set left out, and why."""
    loaded = experiment.examples
    console.print(
        f"{experiment.dataset_name}: {len(loaded.examples)} of {loaded.num_read} examples"
    )
    for reason, count in loaded.dropped.items():
        console.print(f"  {count} left out: {reason}", markup=False)


def report_precision(experiment: Experiment, console: Console) -> None:
    """Say below which size scores of models that are not in float32 are noise."""
    for role, model in experiment.models.items():
        if model.dtype != "float32":
            try:
                floor = noise_floor(model)
            except InvalidInputError as error:
                console.print(f"{role}: noise floor not measured: {error}", markup=False)
                continue
            console.print(
                f"{role} in {model.dtype}: scores deviate from float32 arithmetic by "
                f"{floor.rms:.2g} nats (rms; at most {floor.largest:.2g}) on two short prompts"
            )
    if experiment.reference_model is not experiment.models["target"]:
        console.print("the reference scores are computed in float32")


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="config")
def main(config: DictConfig) -> float:
    """One run; returns the objective of sweepers."""
    quieten_libraries()
    console = Console()
    with one_line_errors():
        experiment = build_experiment(config)
        report_dropped(experiment, console)
        report_precision(experiment, console)
        if config.dry_run:
            print_plan(experiment, plan_run(experiment), console)
            return math.nan
        summary = run(experiment)
    print_summary(summary, console)
    print_paths(experiment.run_dir, console)
    return objective(summary)


def quieten_libraries() -> None:
    """Warnings go to the log, and libraries report no progress of their own."""
    logging.captureWarnings(True)
    disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    # bm25s sets its own level when it is imported, which is later.
    logging.getLogger("bm25s").addFilter(lambda record: record.levelno >= logging.WARNING)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors of ours end the command with exit code 2 and their message alone."""
    try:
        yield
    except (AttribotError, InstantiationException) as error:
        own = own_error(error)
        if own is None:
            raise
        # The message says what to do; a traceback through Hydra would bury it.
        message = f"[bold red]error[/]: {escape(str(own))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error


def own_error(error: BaseException) -> AttribotError | None:
    """The error of attribot that Hydra wrapped when it built an object; None: not one of ours."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AttribotError):
        cause = cause.__cause__
    return cause


def print_summary(summary: pd.DataFrame, console: Console) -> None:
    """The curve as a table: what each method buys, and at what faithfulness."""
    table = Table(title="speedup against faithfulness", box=SIMPLE, title_justify="left")
    table.add_column("method")
    for heading in ("mAP [95%]", "speedup", "FLOP saving", "passes", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for _, row in summary[summary["dataset"] == summary["dataset"].iloc[-1]].iterrows():
        low, high = row["average_precision_low"], row["average_precision_high"]
        table.add_row(
            escape(row["label"]),
            f"{row['average_precision']:.2f} [{low:.2f}, {high:.2f}]",
            _times(row.get("speedup", math.nan)),
            _times(row.get("flops_saving", math.nan)),
            f"{row['forward_passes']:.1f}",
            "–" if math.isnan(row["wall_seconds"]) else f"{row['wall_seconds']:.2f}",
            style={"exact": "bold", "baseline": "dim"}.get(row["kind"]),
        )
    console.print(table)


def _times(ratio: float) -> str:
    """Beyond a thousand the denominator is a timer's noise; without one there is nothing to say."""
    if math.isnan(ratio):
        return "–"
    return f"{ratio:.1f}x" if ratio < 1000 else ">1000x"


def print_paths(run_dir: Path, console: Console) -> None:
    """Where everything stands."""
    for what, path in (
        ("records", run_dir / "*.parquet"),
        *(("table", path) for path in sorted((run_dir / "tables").glob("*.md"))),
        *(("figure", path) for path in sorted((run_dir / "figures").glob("*.png"))),
        ("report", run_dir / "report.html"),
        *(("W&B run", path) for path in sorted((run_dir / "wandb").glob("offline-run-*"))),
    ):
        console.print(f"{what:>8}  {path}", highlight=False, markup=False, soft_wrap=True)


def objective(summary: pd.DataFrame) -> float:
    """mAP of the last trick: what a sweeper maximises."""
    tricks = summary[summary["kind"] == "trick"]
    return float(tricks["average_precision"].iloc[-1]) if len(tricks) else math.nan


if __name__ == "__main__":
    sys.argv[1:] = ["dry_run=true" if a == "--dry-run" else a for a in sys.argv[1:]]
    main()
