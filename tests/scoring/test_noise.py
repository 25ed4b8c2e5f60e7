from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attribot.errors import InvalidInputError
from attribot.models.generation import response_from_text
from attribot.models.language_model import LanguageModel
from attribot.models.loading import DType, load_model
from attribot.scoring.noise import NoiseCase, built_in_cases, noise_floor
from tests.models.tiny import tiny_language_model
from tests.oracle import naive_token_log_likelihoods

CASES = (
    NoiseCase(
        "The castle stands above the river. A king built it. The river runs to the sea. Who?",
        (
            "A king built it. The river runs to the sea. Who?",
            "The castle stands above the river. The river runs to the sea. Who?",
            "The castle stands above the river. A king built it. Who?",
        ),
        "The king of the north.",
    ),
    NoiseCase("A road and a bridge. Which?", ("A bridge. Which?", "A road. Which?"), "The bridge."),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models") / "tiny-qwen2"
    tiny = tiny_language_model("qwen2")
    tiny.model.save_pretrained(directory)
    tiny.tokenizer.save_pretrained(directory)
    return directory


def loo_by_the_oracle(model: LanguageModel) -> list[float]:
    scores = []
    for case in CASES:
        ids = response_from_text(model, case.response, add_end_token=False).token_ids
        prompts = [
            model.encode_prompt(prompt).token_ids for prompt in (case.prompt, *case.ablated_prompts)
        ]
        full, *ablated = naive_token_log_likelihoods(model, prompts, ids).sum(axis=1)
        scores += [full - value for value in ablated]
    return scores


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.slow
def test_the_floor_is_the_deviation_from_the_same_weights_in_float32(
    saved: Path, dtype: DType
) -> None:
    model = load_model(saved, dtype=dtype, device_map=None)
    floor = noise_floor(model, CASES)
    rounded = load_model(saved, device_map=None)
    with torch.no_grad():
        for parameter in rounded.model.parameters():
            parameter.copy_(parameter.to(getattr(torch, dtype)))
    deviations = np.subtract(loo_by_the_oracle(model), loo_by_the_oracle(rounded))
    assert (floor.dtype, floor.num_scores) == (dtype, 5)
    # Packing rounds elsewhere than the oracle, so the two agree in size only.
    rms = np.sqrt(np.mean(deviations**2))
    assert rms / 3 < floor.rms < rms * 3
    assert floor.rms <= floor.largest <= floor.rms * np.sqrt(5)


@pytest.mark.slow
def test_the_floors_of_the_dtypes_are_in_the_order_of_their_mantissas(saved: Path) -> None:
    dtypes: tuple[DType, ...] = ("float32", "bfloat16", "float16")
    floors = {
        dtype: noise_floor(load_model(saved, dtype=dtype, device_map=None), CASES)
        for dtype in dtypes
    }
    assert 0 < floors["float32"].largest < 1e-4
    assert floors["float32"].rms < floors["float16"].rms < floors["bfloat16"].rms
    assert floors["bfloat16"].rms > 1e-2


def test_the_model_stays_as_it_was(saved: Path) -> None:
    model = load_model(saved, dtype="bfloat16", device_map=None)
    before = model.weights_sha
    noise_floor(model, CASES)
    assert (model.dtype, replace(model).weights_sha) == ("bfloat16", before)


def test_built_in_cases_remove_one_sentence_each() -> None:
    for case in built_in_cases():
        assert len(case.ablated_prompts) == 8
        lengths = [len(case.prompt) - len(ablated) for ablated in case.ablated_prompts]
        context = case.prompt.split("Context:\n")[1].split("\n\nQuestion:")[0]
        # Eight sentences and the seven spaces between them.
        assert sum(length - 1 for length in lengths) + 7 == len(context)


def test_a_large_model_is_refused_unless_asked_for(saved: Path) -> None:
    model = load_model(saved, dtype="bfloat16", device_map=None)
    num_parameters = sum(p.numel() for p in model.model.parameters())
    with pytest.raises(InvalidInputError, match=r"float32 copy of tiny-qwen2.*max_parameters"):
        noise_floor(model, CASES, max_parameters=num_parameters - 1)
    assert noise_floor(model, CASES, max_parameters=num_parameters).rms > 0


def test_a_float32_model_is_measured_on_the_built_in_cases_without_a_copy(saved: Path) -> None:
    floor = noise_floor(load_model(saved, device_map=None), max_parameters=0)
    assert floor.rms < 1e-4
    assert floor.num_scores == 16


def test_quantised_weights_have_no_floor(saved: Path) -> None:
    model = load_model(saved, dtype="bfloat16", device_map=None)
    vars(model.model)["is_quantized"] = True
    with pytest.raises(InvalidInputError, match="expected plain weights in memory"):
        noise_floor(model, CASES)
