"""Every YAML composes, and its keys fit the class it names."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, MissingConfigException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from attribot.attributors.adaptive_keep import KeepGap
from attribot.attributors.base import Attributor
from experiments.run import chosen_models
from experiments.runner import roles

REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"
OPTIONS = sorted(
    (group.name, path.stem)
    for group in CONF.iterdir()
    if group.is_dir() and group.name != "hydra"
    for path in group.glob("*.yaml")
)
# Options whose `???` the user has to fill.
REQUIRED = {
    **{("attributor", name): [f"attributor.path={name}.json"] for name in ("at2", "fw_shapley")},
    **{("estimator", name): [f"output={name}.json"] for name in ("at2", "fw_shapley")},
    ("dataset", "jsonl"): ["dataset.path=rows.jsonl"],
    ("dataset", "samples"): ["data_dir=data"],
    ("dataset", "squad_samples"): ["data_dir=data"],
    ("dataset", "hotpotqa_samples"): ["data_dir=data"],
    ("dataset", "qasper_samples"): ["data_dir=data"],
    **{
        ("dataset", f"samples_{size}"): ["data_dir=data"]
        for size in (600, 1200, 2400, 4000, "short", "short_train")
    },
    ("keep", "recall"): ["pruning.method.keep.threshold=0.25"],
    **{
        ("experiment", name): ["data_dir=data"]
        for name in (
            "ablation_windows",
            "first_results",
            "pareto",
            "comparison",
            "seed_stability",
            "protocol_variants",
        )
    },
    ("experiment", "same_family_pair"): [
        "data_dir=data",
        "target.name_or_path=large.gguf",
        "proxy.name_or_path=small.gguf",
    ],
    ("methods", "comparison"): [f"+estimators={REPOSITORY / 'results/comparison/estimators'}"],
    ("methods", "pair"): ["+model@cousin=smollm2-135m-bundled"],
    ("model", "gguf-file"): ["{role}.name_or_path=model.gguf"],
    ("model", "local-directory"): ["{role}.name_or_path=model"],
}

IN_HASTE = {
    *(("model", name) for name in ("smollm2-135m-bundled", "smollm2-135m-layer-dropped", "none")),
    *(("attributor", name) for name in ("loo", "racing", "context_cite", "word_overlap")),
    *(("dataset", name) for name in ("examples", "jsonl", "samples_600")),
    *(("methods", name) for name in ("single", "standard")),
    *(("pruning", name) for name in ("hierarchical", "proxy")),
    *(("evaluation", name) for name in ("fast", "paper")),
    ("experiment", "demo"),
    ("ablation", "mask"),
    ("keep", "gap"),
    ("protocol", "sampled"),
    ("scorer", "packed"),
    ("tracking", "wandb"),
}


def composed(overrides, root="config") -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(root, overrides=list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    return config


def overrides_of(group, option):
    required = REQUIRED.get((group, option), [])
    if group == "model":
        for role in ("target", "proxy"):
            if (role, option) != ("target", "none"):
                yield [f"model@{role}={option}", *(r.format(role=role) for r in required)]
    elif group == "keep":
        yield ["pruning=proxy", f"keep@pruning.method.keep={option}", *required]
    else:
        yield [f"{group}={option}", *required]


def targets(node):
    """(callable, its keyword arguments) of every `_target_` in a plain configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            settings = {k: v for k, v in node.items() if k not in ("_target_", "_convert_")}
            yield get_object(node["_target_"]), settings
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


@pytest.mark.parametrize(
    ("group", "option"),
    [
        # Composing takes a moment, and options are many: a few stand for all when in haste.
        pytest.param(
            *option,
            id="/".join(option),
            marks=[] if option in IN_HASTE else [pytest.mark.slow],
        )
        for option in OPTIONS
    ],
)
def test_every_option_composes_and_binds(group, option):
    root = "train" if group == "estimator" else "config"
    for overrides in overrides_of(group, option):
        config = composed(overrides, root)
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        found = list(targets(plain))
        assert found
        for function, settings in found:
            positional = ["language_model"] if function.__name__ == "ModelScorer" else []
            inspect.signature(function).bind(*positional, **settings)


@pytest.mark.parametrize("path", sorted(CONF.glob("*/*.yaml")), ids=lambda p: p.stem)
def test_every_option_says_what_it_is_and_how_to_launch_it(path):
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    if path.parent.name != "hydra":
        commands = ("python -m experiments.run", "python -m experiments.train")
        assert any(command in line for line in head for command in commands)


@pytest.mark.parametrize(
    "option",
    [
        o if (g, o) in IN_HASTE else pytest.param(o, marks=pytest.mark.slow)
        for g, o in OPTIONS
        if g == "methods"
    ],
)
def test_methods_instantiate_to_attributors(option):
    config = composed([f"methods={option}", *REQUIRED.get(("methods", option), [])])
    for name, method in config.methods.items():
        attributor = instantiate(method.method, _convert_="all")
        assert isinstance(attributor, Attributor), name
        assert set(roles(attributor)) <= {"embedder", *chosen_models(config)}
        assert method.kind in ("exact", "trick", "baseline")
        assert method.label


def test_the_pruning_settings_reach_the_method():
    config = composed(["pruning=hierarchical_proxy", "pruning.k=7", "pruning.paragraphs=2"])
    method = instantiate(config.pruning.method, _convert_="all")
    assert (method.keep.k, method.screen.keep.k) == (7, 2)
    assert (method.keep.level, method.screen.keep.level) == ("sentence", "paragraph")


def test_adaptive_rules_replace_the_fixed_number_of_any_pruning():
    config = composed(["pruning=hierarchical", "keep@pruning.method.keep=gap", "pruning.k=8"])
    keep = instantiate(config.pruning.method, _convert_="all").keep
    assert keep == KeepGap(min_k=1, max_k=8, level="paragraph")
    methods = composed(["methods=standard", "keep@methods.proxy_pruning_k3.method.keep=outliers"])
    keep = instantiate(methods.methods.proxy_pruning_k3.method, _convert_="all").keep
    assert (keep.max_k, keep.level) == (3, "sentence")


def test_the_papers_run_composes():
    config = composed(
        [
            "model@target=qwen2.5-72b-instruct",
            "model@proxy=qwen2.5-0.5b-instruct",
            "pruning=hierarchical",
            "dataset=hotpotqa",
        ]
    )
    assert config.target.name_or_path == "Qwen/Qwen2.5-72B-Instruct"
    assert config.methods.selected.label == "hierarchical / loo"


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(MissingConfigException, match="hotpotqa"):
        composed(["dataset=hotpot"])


def test_a_misspelt_key_is_refused():
    with pytest.raises(ConfigCompositionException, match="max_tokens"):
        composed(["generation.max_tokens=3"])


def test_compat_switches_reach_their_users():
    config = composed(
        ["compat.double_bos=true", "dataset=qasper", "compat.qasper_paragraph_leaves=true"]
    )
    assert config.target.double_bos is True
    assert config.dataset.compat_paragraph_leaves is True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("standard", (True, 0.0, False, False)),
        ("without_end_token", (False, 0.0, False, False)),
        ("sampled", (True, 0.1, False, False)),
        ("double_bos", (True, 0.0, True, False)),
        ("paragraph_leaves", (True, 0.0, False, True)),
    ],
)
def test_every_protocol_changes_one_choice(option, choices):
    overrides = ["experiment=protocol_variants", f"protocol={option}", "data_dir=data"]
    config = composed(overrides)
    assert choices == (
        config.score_end_token,
        config.generation.temperature,
        config.target.double_bos,
        config.dataset.parts.qasper.compat_paragraph_leaves,
    )
    assert config.name == f"protocol_variants-{option}"


@pytest.mark.slow
def test_help_lists_groups_and_examples():
    command = [sys.executable, "-m", "experiments.run", "--help"]
    text = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    for expected in ("pruning: ", "hierarchical_proxy", "qwen2.5-72b-instruct", "experiment=demo"):
        assert expected in text
