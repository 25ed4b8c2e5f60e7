"""The README keeps its word: links lead somewhere, commands compose, its Python runs."""

import itertools
import re
import shlex
from pathlib import Path

import click
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from attribot.cli.main import cli
from experiments.report import main as report
from tests.synthetic_run import continue_run

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
RUN = ["python", "-m", "experiments.run"]
REPORT = ["python", "-m", "experiments.report"]
ACTIVATE = ["source", ".venv/bin/activate"]
FLAGS = {"-m", "--cfg", "--resolve", "--dry-run"}


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.S | re.M)


def commands(page: str = README) -> list[list[str]]:
    """Words of every shell command, continued lines joined, comments gone."""
    lines = "\n".join(blocks("bash", page)).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [command for command in words if command]


def starting_with(words: list[str], page: str = README) -> list[list[str]]:
    return [command[len(words) :] for command in commands(page) if command[: len(words)] == words]


def link_targets(page: str = README) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)]+)\)", page) if "://" not in target]


def make_recipes() -> dict[str, str]:
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return dict(re.findall(r"^(\w[\w-]*):.*\n((?:\t.*\n)*)", text, flags=re.M))


def single_jobs(arguments: list[str]) -> list[list[str]]:
    """The overrides of each job that the arguments start: many, when they sweep."""
    overrides = [word for word in arguments if not word.startswith("-")]
    parsed = OverridesParser.create().parse_overrides(overrides)
    choices = []
    for text, override in zip(overrides, parsed, strict=True):
        values = [text]
        if override.is_sweep_override():
            key = override.get_key_element()
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        choices.append(values)
    return [list(job) for job in itertools.product(*choices)]


def check_composes(overrides: list[str]) -> None:
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def check_run(arguments: list[str]) -> None:
    """Every job that the arguments of `experiments.run` start composes."""
    assert {word for word in arguments if word.startswith("-")} <= FLAGS
    jobs = single_jobs([word for word in arguments if word != "job"])
    assert (len(jobs) > 1) == ("-m" in arguments)
    for job in jobs:
        check_composes(job)


def test_it_is_short():
    assert len(README.splitlines()) <= 200


@pytest.mark.parametrize("target", sorted(set(link_targets())))
def test_every_link_leads_to_a_file(target):
    assert (REPOSITORY / target).is_file()


def test_every_command_is_of_a_kind_that_is_tested_here():
    for command in commands():
        is_make = command[0] == "make" and len(command) == 2
        is_known = command[:3] in (RUN, REPORT) or command == ACTIVATE or command[0] == "attribot"
        assert is_make or is_known, command
    assert len(starting_with(RUN)) >= 5


def test_every_make_target_exists():
    named = {target for (target,) in starting_with(["make"])}
    named |= set(re.findall(r"`make ([\w-]+)", README))
    assert {"demo", "test"} <= named <= set(make_recipes())


def test_make_prepares_the_environment_that_the_commands_use():
    assert "BIN := .venv/bin" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    recipe = shlex.split(make_recipes()["demo"])
    assert recipe[:3] == ["$(BIN)/python", *RUN[1:]]
    check_composes(recipe[3:])


@pytest.mark.parametrize("arguments", starting_with(RUN), ids=" ".join)
@pytest.mark.slow
def test_every_run_composes(arguments):
    check_run(arguments)


@pytest.mark.parametrize("arguments", starting_with(REPORT), ids=" ".join)
@pytest.mark.slow
def test_every_report_is_built(arguments, tmp_path):
    continue_run(tmp_path)
    report([str(tmp_path), *arguments[1:]])
    assert (tmp_path / "report.html").is_file()


@pytest.mark.parametrize("arguments", starting_with(["attribot"]), ids=" ".join)
def test_every_option_of_the_command_line_exists(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("valley.txt", "ice.txt", "answer.txt", "questions.jsonl"):
        (tmp_path / name).write_text("x\n", encoding="utf-8")
    name, *rest = arguments
    with click.Context(cli) as context:
        command = cli.get_command(context, name)
        command.make_context(name, rest, parent=context)


@pytest.mark.slow
@pytest.mark.usefixtures("bundled_model_dir")
def test_the_python_example_attributes_the_answer(capsys):
    (code,) = blocks("python")
    names = {}
    exec(code, names)
    printed = capsys.readouterr().out
    assert "cost:     5 forward passes" in printed
    assert "[4]" in names["result"].cite()
    assert names["best"].text == "Near the bottom it stays at four degrees."
    assert printed.splitlines()[-1].startswith(f"ice.txt 25 66 {names['best'].text} (4, ")
