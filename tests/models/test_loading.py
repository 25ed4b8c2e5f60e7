import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_method
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from attribot.errors import InvalidInputError, ModelNotFoundError
from attribot.models.language_model import LanguageModel
from attribot.models.loading import DType, available_cores, cache_dir, load_model, set_threads
from tests.models.tiny import tiny_language_model, tiny_tokenizer

CONF = Path(__file__).resolve().parents[2] / "conf"
# A model that is spread out: accelerate moves every layer in when its turn comes.
SPLIT = {
    "model.embed_tokens": "cpu",
    "model.layers": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
}
# What transformers reports where the checkpoint has all weights.
COMPLETE: dict[str, Any] = {"missing_keys": set(), "mismatched_keys": set()}
PROMPT = "Who built the castle above the river?"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Path]:
    """A tiny model and the directory that it was saved to."""
    directory = tmp_path_factory.mktemp("models") / "tiny-llama"
    tiny = tiny_language_model("llama")
    tiny.model.save_pretrained(directory)
    tiny.tokenizer.save_pretrained(directory)
    return tiny, directory


def logits(model: LanguageModel) -> Any:
    with torch.inference_mode():
        return model.model(torch.tensor([model.encode_prompt(PROMPT).token_ids])).logits


def test_a_directory_loads_as_it_was_saved(saved: tuple[LanguageModel, Path]) -> None:
    tiny, directory = saved
    loaded = load_model(str(directory), device_map=None)
    assert (loaded.name, loaded.revision, loaded.dtype) == ("tiny-llama", "", "float32")
    assert loaded.encode_prompt(PROMPT).token_ids == tiny.encode_prompt(PROMPT).token_ids
    assert loaded.fingerprint == tiny.fingerprint
    torch.testing.assert_close(logits(loaded), logits(tiny), rtol=0, atol=0)


def test_a_loaded_model_is_fixed(saved: tuple[LanguageModel, Path]) -> None:
    model = load_model(saved[1]).model
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes(saved: tuple[LanguageModel, Path], dtype: DType) -> None:
    assert load_model(saved[1], dtype=dtype).dtype == dtype


def test_the_dtype_of_the_checkpoint(saved: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    half = load_model(saved[1], dtype="float16", device_map=None)
    half.model.save_pretrained(tmp_path)
    half.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, dtype="checkpoint", device_map=None)
    assert loaded.fingerprint == half.fingerprint
    assert load_model(tmp_path, device_map=None).dtype == "float32"


def test_settings_reach_the_model(saved: tuple[LanguageModel, Path]) -> None:
    model = load_model(saved[1], attn_implementation="eager", double_bos=True)
    assert model.model.config._attn_implementation == "eager"
    ids = model.encode_prompt(PROMPT).token_ids
    assert ids[:2] == (model.tokenizer.bos_token_id,) * 2


@pytest.mark.parametrize(
    "device_map",
    ["auto", "cpu", SPLIT],
)
def test_a_device_map_gives_the_same_model(
    saved: tuple[LanguageModel, Path], device_map: str | dict[str, str]
) -> None:
    loaded = load_model(saved[1], device_map=device_map)
    torch.testing.assert_close(logits(loaded), logits(saved[0]), rtol=0, atol=0)


def test_an_unknown_dtype_names_the_known_ones(saved: tuple[LanguageModel, Path]) -> None:
    known = r"'int8'; known: auto, checkpoint, float32, float16, bfloat16"
    with pytest.raises(InvalidInputError, match=known):
        load_model(saved[1], dtype="int8")  # type: ignore[arg-type]


def test_an_unknown_device_is_refused(saved: tuple[LanguageModel, Path]) -> None:
    with pytest.raises(
        InvalidInputError, match="unknown device_map 'gpu': Expected one of cpu, cu"
    ):
        load_model(saved[1], device_map="gpu")


@pytest.mark.parametrize(
    ("given", "is_there", "expected"),
    [
        ({}, True, (torch.float16, "auto")),
        ({}, False, (torch.float32, None)),
        ({"dtype": "bfloat16"}, True, (torch.bfloat16, "auto")),
        ({"dtype": "bfloat16"}, False, (torch.bfloat16, None)),
        ({"device_map": None}, True, (torch.float32, None)),
        ({"device_map": "cpu"}, True, (torch.float32, "cpu")),
        ({"device_map": "cuda:1"}, True, (torch.float16, "cuda:1")),
        ({"device_map": "auto"}, False, (torch.float32, "auto")),
    ],
)
def test_models_go_to_the_accelerator_where_there_is_one(
    saved: tuple[LanguageModel, Path],
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    is_there: bool,
    expected: tuple[torch.dtype, str | None],
) -> None:
    found: list[Any] = []

    def from_pretrained(_: str, **settings: Any) -> tuple[PreTrainedModel, Any]:
        found.append((settings["dtype"], settings["device_map"]))
        return saved[0].model, COMPLETE

    monkeypatch.setattr(
        "attribot.models.loading.AutoModelForCausalLM.from_pretrained", from_pretrained
    )
    monkeypatch.setattr("torch.accelerator.is_available", lambda: is_there)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda"))
    load_model(saved[1], **given)
    assert found == [expected]


def test_code_of_the_models_own_needs_permission(
    saved: tuple[LanguageModel, Path], tmp_path: Path
) -> None:
    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ModelNotFoundError, match=r"contains custom code.*trust_remote_code=True"):
        load_model(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_torn_weights_are_refused(saved: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    for file in saved[1].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:999])
    (tmp_path / "tokenizer.json").write_bytes((saved[1] / "tokenizer.json").read_bytes())
    with pytest.raises(ModelNotFoundError, match=r"cannot load the model .* while deserializing"):
        load_model(tmp_path)


def saved_with(
    saved: tuple[LanguageModel, Path], directory: Path, change: Callable[[dict[str, Any]], object]
) -> Path:
    """The saved model with other weights."""
    for file in saved[1].iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def test_weights_that_are_missing_are_named(
    saved: tuple[LanguageModel, Path], tmp_path: Path
) -> None:
    """Without them, transformers draws some at random, and warns."""
    lost = ("lm_head.weight", "model.layers.1.mlp.up_proj.weight")
    torn = saved_with(saved, tmp_path, lambda weights: [weights.pop(name) for name in lost])
    with pytest.raises(
        InvalidInputError, match=f"lacks 2 of the weights .*: {', '.join(lost)}. Expected"
    ):
        load_model(torn)


def test_of_many_missing_weights_a_few_are_named(
    saved: tuple[LanguageModel, Path], tmp_path: Path
) -> None:
    empty = saved_with(saved, tmp_path, lambda weights: [weights.pop(name) for name in [*weights]])
    with pytest.raises(
        InvalidInputError, match=r"lacks 30 of the weights .*: lm_head.weight, .*\.\.\."
    ):
        load_model(empty)


def test_weights_of_another_shape_are_refused(
    saved: tuple[LanguageModel, Path], tmp_path: Path
) -> None:
    name = "model.norm.weight"
    other = saved_with(saved, tmp_path, lambda weights: weights.update({name: torch.ones(23)}))
    with pytest.raises(
        InvalidInputError, match=f"has in another shape 1 of the weights .*: {name}"
    ):
        load_model(other)


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    """GPT-2 reads and writes tokens by one matrix, which its files hold once."""
    tied = tiny_language_model("gpt2")
    tied.model.save_pretrained(tmp_path)
    tied.tokenizer.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    torch.testing.assert_close(logits(load_model(tmp_path, device_map=None)), logits(tied))


def test_a_model_that_sees_what_comes_next_is_refused(tmp_path: Path) -> None:
    """transformers loads BERT as a language model, and warns."""
    tokenizer = tiny_tokenizer("llama")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match="BertLMHeadModel sees the tokens that come next"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["./absent", "/absent/model", "~/absent", "a/b/c"])
def test_an_absent_directory(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no such directory.*Expected a hub id"):
        load_model(name)


def test_an_absent_gguf_file(saved: tuple[LanguageModel, Path]) -> None:
    with pytest.raises(ModelNotFoundError, match=r"absent\.gguf'.*no such file"):
        load_model("models/absent.gguf")
    with pytest.raises(ModelNotFoundError, match=r"absent\.gguf'.*no such file"):
        load_model(saved[1], gguf_file="absent.gguf")


def test_a_hub_id_that_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"'nobody/nothing'.*HF_TOKEN.*HF_HUB_OFFLINE"):
        load_model("nobody/nothing", local_files_only=True)


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="Expected a hub id, a directory with"):
        load_model(tmp_path)


def test_pickled_weights_need_permission(saved: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    tiny, directory = saved
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((directory / name).read_bytes())
    torch.save(tiny.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InvalidInputError, match=r"pickled weights.*allow_pickle=True"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, allow_pickle=True, device_map=None)
    torch.testing.assert_close(logits(loaded), logits(tiny), rtol=0, atol=0)


def test_quantization_and_revision_are_passed_on(
    saved: tuple[LanguageModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}

    def from_pretrained(location: str, **settings: object) -> tuple[PreTrainedModel, Any]:
        seen.update(settings, location=location)
        return saved[0].model, COMPLETE

    monkeypatch.setattr(
        "attribot.models.loading.AutoModelForCausalLM.from_pretrained", from_pretrained
    )
    load_model(saved[1], quantization_config={"load_in_4bit": True}, revision="v1")
    assert seen["quantization_config"] == {"load_in_4bit": True}
    assert (seen["revision"], seen["use_safetensors"]) == ("v1", True)
    assert (seen["trust_remote_code"], seen["location"]) == (False, str(saved[1]))


def test_the_cache_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATTRIBOT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path.home() / ".cache" / "attribot"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/attribot")
    monkeypatch.setenv("ATTRIBOT_CACHE", "~/own")
    assert cache_dir() == Path.home() / "own"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 5),
        ({"cpu.max": "max 100000\n"}, 5),
        ({"cpu.max": "250000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "900000 100000\n"}, 5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 5),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_cores_are_limited_by_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(5)), raising=False)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == expected


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attribot.models.loading.available_cores", lambda: 2)
    before = torch.get_num_threads()
    try:
        assert (set_threads(1), torch.get_num_threads()) == (1, 1)
        assert (set_threads(), torch.get_num_threads()) == (2, 2)
        for number in (0, 3):
            with pytest.raises(InvalidInputError, match=f"expected 1 to 2 threads.*got {number}"):
                set_threads(number)
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("option", sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
def test_every_model_option_calls_its_loader_rightly(option: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+model@proxy={option}", "+compat.double_bos=true"])
    if option == "none":
        assert not config.proxy
        return
    nodes = [config.proxy]
    while (base := nodes[-1].get("base")) is not None:
        nodes.append(base)
    for node in nodes:
        arguments: Any = OmegaConf.to_container(node, resolve=True)
        target = get_method(arguments.pop("_target_"))
        inspect.signature(target).bind(**arguments)
        assert arguments.get("double_bos", True) is True


def test_the_base_of_a_layer_dropped_model_is_chosen_like_any_model() -> None:
    overrides = ["+model@proxy=layer-dropped", "model@proxy.base=qwen2.5-0.5b-instruct"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=overrides)
    assert config.proxy._target_ == "attribot.models.layer_drop.load_layer_dropped"
    assert config.proxy.base.name_or_path == "Qwen/Qwen2.5-0.5B-Instruct"
