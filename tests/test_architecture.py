"""Who may see whom. The table is the architecture; a new import that breaks it fails here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = {
    "attribot.types": {"errors"},
    "attribot.errors": set(),
    "attribot.context": {"types", "errors", "extras"},
    "attribot.data": {"types", "errors", "extras", "context"},
    "attribot.prompting": {"errors"},
    "attribot.models": {"types", "errors", "extras", "models", "content_cache", "scoring"},
    "attribot.scoring": {"types", "errors", "models", "content_cache"},
    "attribot.attributors": {"types", "errors", "extras", "context", "prompting", "scoring"},
    "attribot.learned": {"types", "errors", "durable", "scoring", "attributors"},
    "attribot.evaluation": {"types", "errors"},
    "attribot.report": {"types", "errors", "records", "manifest", "evaluation", "durable"},
    "attribot.explain": {
        *("types", "errors", "extras", "context", "data", "prompting", "content_cache", "models"),
        *("scoring", "attributors", "pipeline", "report"),
    },
    "attribot.integrations": {"errors", "extras", "explain.result"},
    "attribot.cli": {
        *("types", "errors", "extras", "content_cache", "durable", "models", "report", "explain"),
    },
}
WITHOUT_TORCH = (
    "attribot.evaluation.evaluator",
    "attribot.records",
    "attribot.report.build",
    "attribot.recording",
    "attribot.tracking",
    "attribot.context.tree",
    "attribot",
    "attribot.explain.result",
    "attribot.cli.main",
    "attribot.integrations.langchain",
    "attribot.integrations.llama_index",
    "attribot.integrations.openinference",
    "experiments.report",
    "experiments.assumptions",
    "experiments.sensitivity",
)


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def files_of(module: str) -> list[Path]:
    path = REPOSITORY / module.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_sees_only_what_it_may(stage):
    allowed = {f"attribot.{name}" for name in STAGES[stage]} | {stage}
    for path in files_of(stage):
        own = {name for name in imported_modules(path) if name.startswith("attribot")}
        stray = {n for n in own if not any(n == a or n.startswith(a + ".") for a in allowed)}
        assert not stray, f"{path.relative_to(REPOSITORY)} must not see {stray}"


def test_attributors_see_the_scorer_protocols_only_and_no_other_method():
    allowed = {"attribot.attributors.base", "attribot.attributors.keep", "attribot.scoring.base"}
    allowed |= {"attribot.attributors.token_sums", "attribot.attributors.ablation"}
    allowed |= {"attribot.attributors.subsets", "attribot.scoring.readings"}
    allowed |= {"attribot.attributors.source_features", "attribot.attributors.trained_for"}
    for path in files_of("attribot.attributors"):
        seen = {
            name
            for name in imported_modules(path)
            if name.startswith(("attribot.attributors", "attribot.scoring"))
        }
        assert seen <= allowed, f"{path.name} must not see {seen - allowed}"


def test_attributors_compute_nothing_with_a_model_themselves():
    for path in files_of("attribot.attributors"):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"torch", "transformers"}, f"{path.name}: training is attribot.learned"


def test_the_package_knows_no_hydra():
    for path in files_of("attribot"):
        roots = {name.split(".")[0] for name in imported_modules(path)}
        assert not roots & {"hydra", "omegaconf"}, path


def test_the_engine_is_blind_to_text():
    for name in (
        "engine",
        "batching",
        "packing",
        "planning",
        "planning_engine",
        "held",
        "internals_reader",
    ):
        path = REPOSITORY / f"attribot/scoring/{name}.py"
        assert not any("context" in n or "tokenizer" in n for n in imported_modules(path))
        assert "tokenizer" not in path.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_imports_without_torch(module):
    code = f"import sys, {module}; assert not {{'torch', 'transformers'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@pytest.mark.parametrize("path", files_of("attribot"), ids=lambda p: p.stem)
def test_files_stay_readable(path):
    assert len(path.read_text().splitlines()) <= 320
