"""Geometries give models of the published sizes; what cannot be meant is refused."""

from pathlib import Path

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from attribot.errors import InvalidInputError
from attribot.models.geometry import geometry_config, random_model

GEOMETRIES = Path(__file__).resolve().parents[2] / "experiments/geometries"
# Parameters of the published checkpoints; of the tiny one by hand: embeddings 331 * 24, the last
# norm 24, and per layer attention 2 * 24 * 24 + 2 * 24 * 12, MLP 3 * 24 * 37, norms 2 * 24.
NUM_PARAMETERS = {
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "qwen2.5-32b": 32_763_876_352,
    "qwen2.5-72b": 72_706_203_648,
    "tiny-llama": 331 * 24 + 24 + 2 * (1152 + 576 + 2664 + 48),
}


@pytest.mark.parametrize("path", sorted(GEOMETRIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_sizes_are_the_published_ones(path):
    model = random_model(path, torch.device("meta"), torch.bfloat16)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == NUM_PARAMETERS[path.stem]
    assert f"{count:,} parameters" in path.read_text()
    assert str(path.relative_to(GEOMETRIES.parents[1])) in path.read_text()


def test_weights_are_random_in_the_dtype_and_fixed():
    path = GEOMETRIES / "tiny-llama.yaml"
    model = random_model(path, torch.device("cpu"), torch.bfloat16)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert not any(p.requires_grad for p in model.parameters())
    assert model.get_input_embeddings().weight.float().std() > 0.01
    with torch.inference_mode():
        assert torch.isfinite(model(torch.arange(7)[None]).logits).all()
    assert torch.get_default_dtype() == torch.float32


def test_rotations_are_those_of_the_config():
    config = geometry_config(GEOMETRIES / "llama-3.1-8b.yaml")
    frequencies = LlamaRotaryEmbedding(config).inv_freq
    assert frequencies[0] == 1
    # Of 128 dimensions the last pair turns slowest, and long wavelengths are stretched eightfold.
    torch.testing.assert_close(
        frequencies[-1].item(), 500_000.0 ** (-126 / 128) / 8, rtol=1e-5, atol=0
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- model_type: llama", "expected a mapping with model_type"),
        ("hidden_size: 24", "expected a mapping with model_type"),
        ("model_type: lama", "unknown model_type 'lama'.*such as llama"),
        (
            "model_type: llama\nnum_heads: 4",
            "llama has no setting num_heads; known: .*num_attention",
        ),
        ("model_type: llama\nhidden_size: wide", "llama refuses the settings.*hidden_size"),
        ("model_type: [", "not valid YAML"),
    ],
)
def test_files_that_cannot_be_meant(tmp_path, text, message):
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(InvalidInputError, match=f"(?s){message}"):
        geometry_config(tmp_path / "model.yaml")


def test_a_missing_file(tmp_path):
    with pytest.raises(InvalidInputError, match=r"absent\.yaml.*No such file"):
        geometry_config(tmp_path / "absent.yaml")
