"""The example of docs/add_a_method.md: its files are written, found, run, and right."""

import importlib.util
import inspect
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from attribot.pipeline import attribute_example
from experiments.methods_page.descriptions import description_of
from tests.attributors.fakes import AdditiveScorer, RedundantScorer, build_problem
from tests.contract import test_contract as contract
from tests.contract.tiny_runs import problem_of, scorer_of
from tests.docs.pages import PAGES, files_of, write_files
from tests.test_readme import REPOSITORY

PAGE = PAGES[REPOSITORY / "docs" / "add_a_method.md"]
MODULE = "attribot/attributors/add_one_in.py"
OPTION = "conf/attributor/add_one_in.yaml"
# Of a context with 2, 3 and 5 sentences.
WEIGHTS = [3.0, -1.0, 0.0, 7.0, 0.5, 2.0, -4.0, 1.5, 0.25, 6.0]


@pytest.fixture
def add_one_in(tmp_path, monkeypatch):
    """The class of the page, as if its file stood where the page says."""
    write_files(PAGE, tmp_path)
    name = MODULE.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, tmp_path / MODULE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module.AddOneIn


def test_two_files_of_less_than_forty_lines():
    files = files_of(PAGE)
    assert list(files) == [MODULE, OPTION]
    lines = "".join(files.values()).splitlines()
    assert len([line for line in lines if line.strip()]) < 40


def test_its_scores_are_planted_weights(add_one_in):
    problem = build_problem()
    scorers = {"target": AdditiveScorer.planted(problem, WEIGHTS)}
    attribution = add_one_in().attribute(problem, scorers)
    np.testing.assert_allclose(attribution.scores, WEIGHTS, atol=1e-9)
    np.testing.assert_allclose(attribution.span_scores(0, 7), WEIGHTS, atol=1e-9)
    assert attribution.cost.forward_passes == len(WEIGHTS) + 1


def test_both_copies_of_a_fact_get_its_worth(add_one_in):
    problem = build_problem()
    scorers = {"target": RedundantScorer.planted(problem, (1, 4), 8.0)}
    scores = add_one_in().attribute(problem, scorers).scores
    np.testing.assert_allclose(scores, [0, 8, 0, 0, 8, 0, 0, 0, 0, 0], atol=1e-9)


def test_sources_that_are_no_candidates_stay(add_one_in):
    problem = build_problem()
    scorers = {"target": RedundantScorer.planted(problem, (1, 4), 8.0)}
    problem = problem.restrict(np.arange(10) < 3)
    scores = add_one_in().attribute(problem, scorers).scores
    np.testing.assert_allclose(scores, [0, 0, 0, *[np.nan] * 7], atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "some candidates", "pruned context"])
def test_it_runs_on_a_model(name, add_one_in):
    problem = problem_of(name)
    attribution = attribute_example(
        problem, add_one_in(), {"target": scorer_of("target", "packed")}
    )
    contract.check_shapes(attribution, problem)
    nodes = problem.tree.sources[problem.candidates]
    alone = [problem.prompt(nodes[nodes != node]) for node in nodes]
    answer = scorer_of("target", "naive").score([problem.prompt(nodes), *alone], problem.response)
    none, *others = answer.log_likelihoods
    expected = np.array(others) - none
    np.testing.assert_allclose(attribution.scores[problem.candidates], expected, atol=1e-4)


def test_its_option_composes_from_a_search_path(add_one_in, tmp_path):
    overrides = ["attributor=add_one_in", "attributor.role=proxy", "ablation=mask"]
    overrides += [f"hydra.searchpath=[file://{tmp_path / 'conf'}]"]
    with initialize_config_dir(str(REPOSITORY / "conf"), version_base="1.3"):
        config = compose("config", overrides=overrides)
    expected = add_one_in("proxy", instantiate(config.ablation))
    assert instantiate(config.attributor, _convert_="all") == expected


def test_its_docstring_makes_a_section(add_one_in):
    description = description_of(add_one_in)
    assert description.quantity == "sufficiency"
    assert description.source == "ours."


@pytest.mark.slow
def test_its_files_are_all_that_is_needed(tmp_path):
    """In a copy of the repository: contract tests, the comparison and the page of methods."""
    for folder in ("attribot", "conf", "experiments", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    write_files(PAGE, tmp_path)
    add_to_comparison(tmp_path / "conf" / "methods" / "comparison.yaml")
    (tmp_path / "docs").mkdir()

    def run(*arguments):
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    tests = ("tests/contract", "tests/experiments/test_configuration.py")
    shown = run("pytest", *tests, "-k", "add_one_in", "-v", "-p", "no:cacheprovider")
    own = {
        name
        for name, test in vars(contract).items()
        if name.startswith("test_") and "option" in inspect.signature(test).parameters
    }
    # It has no seed.
    assert own - set(re.findall(r"::(\w+)\[.*PASSED", shown)) == {"test_another_seed_is_as_good"}
    assert "test_every_option_composes_and_binds[attributor/add_one_in] PASSED" in shown
    row = run("experiments.run", "methods=comparison", "--cfg", "job", "-p", "methods.add_one_in")
    assert "_target_: attribot.attributors.add_one_in.AddOneIn" in row
    assert "label: add-one-in" in row
    run("experiments.methods_page")
    assert "### AddOneIn" in (tmp_path / "docs" / "methods.md").read_text(encoding="utf-8")


def add_to_comparison(path):
    """The two lines of the page, where it says."""
    (default, entry) = re.search(r"```yaml\n(  - .*\n)(.*\n)```", PAGE).groups()
    text = path.read_text(encoding="utf-8").replace("  - _self_\n", f"{default}  - _self_\n")
    path.write_text(f"{text}{entry}\n", encoding="utf-8")
    assert OmegaConf.load(path).add_one_in.label == "add-one-in"
