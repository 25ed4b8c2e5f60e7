"""Sweeps name what there is: those of experiment files, and the one that W&B hands out."""

from __future__ import annotations

import shlex
from itertools import product
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from experiments.reproduce.__main__ import grid
from tests.experiments.test_configuration import CONF, REPOSITORY, composed

SWEEP = REPOSITORY / "experiments" / "sweep.yaml"
SWEEPS = sorted(
    path.stem
    for path in (CONF / "experiment").glob("*.yaml")
    if "sweeper:" in path.read_text(encoding="utf-8")
)
LABELS = {
    "sweep_ablations": [f"ContextCite, {n} ablations" for n in (16, 32, 64, 128)],
    "sweep_paragraphs": [f"hierarchical, {k} of the paragraphs" for k in (1, 2, 3, 5)],
    "sweep_proxy": [f"proxy LOO, {n} layers dropped" for n in (2, 4, 8)],
    "sweep_sentences": [f"proxy pruning, {k} of the sentences" for k in (1, 3, 5, 10, 20)],
    "sweep_screen": [
        f"{screen} screen, 5 kept, {context} context"
        for screen in ("attention", "mask", "proxy", "word_overlap")
        for context in ("pruned", "full")
    ],
    "sweep_models": [
        f"proxy LOO, Qwen/Qwen2.5-{size}B-Instruct" for size in ("0.5", "1.5", "3", "7", "14", "32")
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", SWEEPS)
def test_every_run_of_a_sweep_composes(experiment: str) -> None:
    jobs = grid([f"experiment={experiment}", "data_dir=data"])
    assert len(jobs) > 1
    # Resolved one by one: what a run has chosen is known until the next is composed.
    plain = [OmegaConf.to_container(composed(job), resolve=True) for job in jobs]
    if experiment in LABELS:
        labels = [config["methods"]["selected"]["label"] for config in plain]
        assert list(dict.fromkeys(labels)) == LABELS[experiment]


def test_settings_of_a_sweep_are_told_apart() -> None:
    """By their labels, one of each kind of override: a group, a key, a key within a method."""
    overrides = ["experiment=sweep_screen", "data_dir=data", "pruning=proxy", "pruning.k=3"]
    assert composed(overrides).methods.selected.label == "proxy screen, 3 kept, pruned context"


def test_every_sweep_is_tested() -> None:
    assert {name for name in SWEEPS if name.startswith("sweep_")} == set(LABELS)


def as_the_agent_starts_it(values: dict[str, object]) -> list[str]:
    """The command line of one run, made by W&B's own functions as `wandb agent` uses them."""
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    filled = {
        "env": ["/usr/bin/env"],
        "interpreter": ["python"],
        "program": [sweep["program"]],
        **create_sweep_command_args({"args": {name: {"value": v} for name, v in values.items()}}),
    }
    command: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        is_macro = word.startswith("${") and word.endswith("}")
        command += filled[word[2:-1]] if is_macro else [word]
    return command


def test_the_wandb_sweep_starts_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "../data")
    started = as_the_agent_starts_it({"pruning": "mask", "pruning.k": 3, "pruning.context": "full"})
    assert shlex.join(started) == (
        "/usr/bin/env python -m experiments.run experiment=sweep_screen data_dir=../data "
        "tracking.mode=online pruning=mask pruning.k=3 pruning.context=full"
    )
    config = composed(started[4:])
    assert config.methods.selected.label == "mask screen, 3 kept, full context"
    assert (config.tracking.mode, config.tracking.project) == ("online", "attribot")


def test_the_wandb_sweep_names_what_there_is() -> None:
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    assert (REPOSITORY / Path(*sweep["program"].split("."))).with_suffix(".py").is_file()
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["metric"]["name"] == "map/selected"
    values = {name: of["values"] for name, of in sweep["parameters"].items()}
    assert set(values) == {"pruning", "pruning.k", "pruning.context"}
    assert {f"{name}.yaml" for name in values["pruning"]} <= {
        path.name for path in (CONF / "pruning").glob("*.yaml")
    }
    assert len(list(product(*values.values()))) == 50
    OverridesParser.create().parse_overrides([f"{name}={v[0]}" for name, v in values.items()])


@pytest.mark.slow
@pytest.mark.parametrize(
    "pruning", yaml.safe_load(SWEEP.read_text(encoding="utf-8"))["parameters"]["pruning"]["values"]
)
def test_every_screen_of_the_wandb_sweep_composes(pruning: str) -> None:
    config = composed(as_the_agent_starts_it({"pruning": pruning, "pruning.k": 1})[4:])
    assert (
        config.methods.selected.label
        == f"{pruning} screen, 1 kept, {config.pruning.context} context"
    )
    assert config.pruning.method.keep.k == 1
