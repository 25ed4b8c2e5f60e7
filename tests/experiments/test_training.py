"""Training from examples to a file that a run can use, on tiny random models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from rich.console import Console

from attribot.content_cache import ContentCache
from attribot.context.partition import NupunktSplitter
from attribot.data.loading import LoadedExamples
from attribot.errors import EmptyResponseError, InvalidInputError
from attribot.learned.at2 import AT2Training
from attribot.learned.effects import AblationSampler, Training
from attribot.learned.fw_shapley import FWShapleyTraining
from attribot.learned.saved import load_at2, load_fw_shapley
from attribot.pipeline import pose_example
from attribot.prompting import PromptTemplate
from attribot.scoring.scorer import ModelScorer
from experiments import train as command
from experiments.run import own_error
from experiments.training import TrainingRun, collect, held_out_ids, train
from tests.experiments.test_configuration import composed
from tests.experiments.test_run import no_models, refused, start
from tests.experiments.tiny_experiment import CONTEXTS, GENERATION, tiny_example, tiny_models

TRAININGS: dict[str, Training[Any]] = {
    "at2": AT2Training(num_steps=5),
    "fw_shapley": FWShapleyTraining(num_hidden=2, num_steps=5),
}
LOADERS: dict[str, Any] = {"at2": load_at2, "fw_shapley": load_fw_shapley}


@pytest.fixture(scope="module")
def models() -> dict[str, ModelScorer]:
    return {role: ModelScorer(model) for role, model in tiny_models().items()}


def training_run(
    models: dict[str, ModelScorer], name: str = "at2", cache: ContentCache | None = None
) -> TrainingRun:
    training = TRAININGS[name]
    return TrainingRun(
        name=name,
        training=training,
        settings={"role": training.role},
        scorers=models,
        dataset_name="tiny",
        examples=LoadedExamples(tuple(map(tiny_example, CONTEXTS)), 3, {}),
        splitter=NupunktSplitter(),
        template=PromptTemplate(),
        generation=GENERATION,
        sampler=AblationSampler(6),
        cache=cache or ContentCache(),
        held_out_share=0.3,
        progress=False,
    )


@pytest.fixture
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", TRAININGS)
def test_from_examples_to_scores(tmp_path: Path, models: dict[str, ModelScorer], name: str) -> None:
    run = training_run(models, name)
    saved = train(run)
    saved.write(tmp_path / "estimator.json")
    attributor = LOADERS[name](str(tmp_path / "estimator.json"))
    # A single source comes first: its ablations must not be in the way.
    for example in run.examples.examples[::-1]:
        posed = pose_example(
            example, run.target, run.splitter, run.template, run.generation, run.cache
        )
        scores = attributor.attribute(posed.problem, models).scores
        assert np.isfinite(scores).all()
        assert len(scores) == posed.problem.tree.num_sources
    assert saved.training["num_examples"] == 2
    assert saved.held_out["num_examples"] == 1
    assert saved.model.name == run.target.name
    assert set(saved.held_out["correlation"]) == {name, "attention"}
    with pytest.raises(InvalidInputError, match="filled by another model"):
        attributor.attribute(posed.problem, {"target": models["proxy"]})


def test_the_proxy_may_be_read_for_effects_on_the_target(models: dict[str, ModelScorer]) -> None:
    proxy = replace(training_run(models), training=AT2Training(role="proxy", num_steps=5))
    saved = train(proxy)
    assert saved.model.name == models["proxy"].language_model.name
    assert saved.training["target"]["name"] == models["target"].language_model.name
    num_layers = len(saved.parameters["weights"])
    assert num_layers == models["proxy"].language_model.model.config.num_hidden_layers
    own, read = collect(training_run(models)), collect(proxy)
    for first, second in zip(own.lessons, read.lessons, strict=True):
        np.testing.assert_array_equal(first.effects.log_likelihoods, second.effects.log_likelihoods)


def test_ablations_are_scored_once_for_all_trainings(
    models: dict[str, ModelScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ContentCache()
    first = train(training_run(models, cache=cache))

    def no_scoring(*_: object) -> None:
        raise AssertionError("what is in the cache is not scored again")

    monkeypatch.setattr(ModelScorer, "score", no_scoring)
    assert train(training_run(models, cache=cache)) == first


def test_the_order_of_the_examples_does_not_matter(models: dict[str, ModelScorer]) -> None:
    run = training_run(models)
    collected = collect(run)
    turned = LoadedExamples(run.examples.examples[::-1], 3, {})
    backwards = collect(replace(run, examples=turned))
    assert collected.trained_on == backwards.trained_on[::-1]
    for first, second in zip(collected.lessons, backwards.lessons[::-1], strict=True):
        np.testing.assert_array_equal(first.effects.masks, second.effects.masks)
    assert collected.held_out.keys() == backwards.held_out.keys()


def test_the_held_out_share() -> None:
    ids = [f"question {i}" for i in range(40)]
    chosen = held_out_ids(ids, 0.25)
    assert len(chosen) == 10
    assert chosen == held_out_ids(ids[::-1], 0.25) < held_out_ids(ids, 0.5)
    assert len(held_out_ids(ids[:2], 0.01)) == 1
    for share in (0.0, 1.0):
        with pytest.raises(InvalidInputError, match="strictly between 0 and 1; got"):
            held_out_ids(ids, share)
    with pytest.raises(InvalidInputError, match=r"1 example\(s\) leave none to train on beside 1"):
        held_out_ids(["one"], 0.25)


def test_an_empty_side_is_refused(
    models: dict[str, ModelScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(*_: object) -> None:
        raise EmptyResponseError("said nothing")

    monkeypatch.setattr("experiments.training.pose_example", empty)
    with pytest.raises(InvalidInputError, match="of 3 examples 0 are left to train on and 0 to"):
        collect(training_run(models))


def test_the_table_shows_every_method(models: dict[str, ModelScorer]) -> None:
    text = StringIO()
    saved = train(training_run(models))
    command.print_held_out(saved, Console(file=text, width=100))
    assert "trained on 2 examples, judged on 1 others" in text.getvalue()
    mean = saved.held_out["correlation"]["attention"]["mean"]
    number = "–" if mean is None else re.escape(f"{mean:.2f}")
    assert re.search(rf"attention +{number} \[–, –\]", text.getvalue())


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], r"output has no value: add output=\.\.\. to the command"),
        (["output=x.json", "num_ablations=2"], "at least 4 ablations to learn from"),
        (["output=x.json", "estimator.num_steps=0"], "expected positive num_steps"),
        (
            ["output=x.json", "model@proxy=none", "estimator.role=proxy"],
            r"'at2' asks for the role\(s\) \['proxy'\], but only \['target'\] are filled",
        ),
    ],
    ids=["no output", "few ablations", "no steps", "no proxy"],
)
def test_mistakes_are_found_before_models_are_loaded(
    overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load_models", no_models)
    with pytest.raises((InvalidInputError, InstantiationException)) as caught:
        command.build_training(composed([*overrides, "num_threads=1"], "train"))
    assert re.search(message, str(own_error(caught.value)))


@pytest.mark.slow
def test_a_run_and_a_training_pose_the_same_questions() -> None:
    run = composed(["seed=7"])
    training = composed(["seed=7", "output=x.json"], "train")
    for key in ("target", "dataset", "splitter", "template", "generation", "ablation", "scorer"):
        assert run[key] == training[key]
    assert instantiate(training.estimator).seed == 7


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_the_command_trains_and_a_run_uses_it(tmp_path: Path) -> None:
    path = tmp_path / "at2.json"
    small = ("dataset.max_examples=3", "generation.max_new_tokens=5", f"output={path}")
    ended = start(tmp_path, "num_ablations=4", *small, module="experiments.train")
    assert ended.returncode == 0, ended.stderr
    assert f"attributor=at2 attributor.path={path}" in ended.stdout
    assert json.loads(path.read_text())["training"]["num_ablations"] == 4
    ended = start(
        tmp_path,
        "attributor=at2",
        f"attributor.path={path}",
        "dataset.offset=3",
        "dataset.max_examples=1",
        "generation.max_new_tokens=5",
        "evaluation=fast",
        "tracking=none",
    )
    assert ended.returncode == 0, ended.stderr
    assert "none / at2" in ended.stdout


@pytest.mark.slow
def test_a_missing_estimator_is_one_line(tmp_path: Path) -> None:
    line = refused(tmp_path, "attributor=at2", "attributor.path=/no/at2.json")
    assert line.startswith("error: cannot read /no/at2.json (No such file or directory): train an")
