"""Language models from the hub, a local directory or a GGUF file, and the machine they run on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from attribot.errors import InvalidInputError, ModelNotFoundError
from attribot.extras import import_extra
from attribot.models.causal import check_causal
from attribot.models.language_model import LanguageModel
from attribot.models.precision import probed_dtype

DType = Literal["auto", "checkpoint", "float32", "float16", "bfloat16"]
DeviceMap = str | Mapping[str, Any] | None
# The device map of models that are placed nowhere else.
ACCELERATOR = "accelerator"
# Weights that an error names, of those that are missing.
NAMED_WEIGHTS = 5


def load_model(
    name_or_path: str | Path,
    *,
    revision: str | None = None,
    dtype: DType | None = None,
    device_map: DeviceMap = ACCELERATOR,
    attn_implementation: str = "sdpa",
    gguf_file: str | None = None,
    quantization_config: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
    double_bos: bool = False,
    local_files_only: bool = False,
    allow_pickle: bool = False,
) -> LanguageModel:
    """A causal language model in eval mode, fixed, on an accelerator where there is one.

    `attribute(load_model(name), ...)` gives what `attribute(name, ...)` does, which loads the model
    anew at each call.

    name_or_path: a hub id ("Qwen/Qwen2.5-0.5B-Instruct"), a directory with `config.json`,
        `tokenizer.json` and safetensors, or a `.gguf` file. `HF_HOME` and `HF_HUB_OFFLINE` are
        respected.
    revision: hub branch, tag or commit. The model records the commit it resolved to.
    dtype: of the weights and the arithmetic; "auto" takes what this machine is fast in, see
        `precision.probe_dtype`, and "checkpoint" what the weights were saved in. None: see
        `default_dtype`.
    device_map: where the weights go: "accelerator" is "auto" where there is an accelerator, and the
        CPU elsewhere; all else as accelerate reads it ("auto", "cuda:0", a mapping), None being
        the CPU.
    attn_implementation: "sdpa", or "eager" for methods that read attention weights.
    gguf_file: name of a GGUF file inside the hub repository or directory.
    quantization_config: as transformers reads it, such as `{"load_in_4bit": True}`.
    double_bos: see `LanguageModel`.
    allow_pickle: also read `.bin` weights.

    Raises:
        InvalidInputError: an unknown dtype or device, pickled weights, weights that are missing, a
            model that does not write text from left to right, or a tokenizer without offsets.
        ModelNotFoundError: nothing loadable under that name.
    """
    if dtype is None:
        dtype = default_dtype(device_map)
    if device_map == ACCELERATOR:
        device_map = "auto" if torch.accelerator.is_available() else None
    if dtype not in get_args(DType):
        raise InvalidInputError(f"unknown dtype {dtype!r}; known: {', '.join(get_args(DType))}")
    location, gguf_file, name = _locate(name_or_path, gguf_file)
    if gguf_file is not None:
        import_extra("gguf", "gguf")
    elif not allow_pickle:
        _refuse_pickle(location)
    common: dict[str, Any] = {
        "revision": revision or "main",
        "gguf_file": gguf_file,
        "trust_remote_code": trust_remote_code,
        "local_files_only": local_files_only,
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(location, **common)
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(_not_found(name_or_path, error)) from error
    try:
        load: Any = AutoModelForCausalLM.from_pretrained
        model, report = load(
            location,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=_torch_dtype(dtype, device_map),
            device_map=dict(device_map) if isinstance(device_map, Mapping) else device_map,
            attn_implementation=attn_implementation,
            quantization_config=quantization_config and dict(quantization_config),
            use_safetensors=None if allow_pickle else True,
            **common,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelNotFoundError(_not_found(name_or_path, error)) from error
    _check_complete(name_or_path, report)
    check_causal(model)
    return LanguageModel(
        model=model.eval().requires_grad_(False),
        tokenizer=tokenizer,
        name=name,
        revision=getattr(model.config, "_commit_hash", None) or "",
        double_bos=double_bos,
    )


def _locate(name_or_path: str | Path, gguf_file: str | None) -> tuple[str, str | None, str]:
    """What transformers is asked for, the GGUF file within it, and the model's name in records."""
    path = Path(name_or_path).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelNotFoundError(_not_found(name_or_path, "there is no such file"))
        return str(path.parent), path.name, path.stem
    if path.is_dir():
        if gguf_file is not None and not (path / gguf_file).is_file():
            raise ModelNotFoundError(_not_found(path / gguf_file, "there is no such file"))
        return str(path), gguf_file, path.resolve().name
    # A hub id is "name" or "owner/name"; anything else was meant as a path.
    if path.is_absolute() or len(path.parts) > 2 or str(name_or_path).startswith((".", "~")):
        raise ModelNotFoundError(_not_found(name_or_path, "there is no such directory"))
    return str(name_or_path), gguf_file, str(name_or_path)


def default_dtype(device_map: DeviceMap = ACCELERATOR) -> DType:
    """What models are loaded in where nothing else is asked for: "auto" on an accelerator, and the
    exact float32 on the CPU."""
    return "float32" if computing_device(device_map).type == "cpu" else "auto"


def _torch_dtype(dtype: DType, device_map: DeviceMap) -> torch.dtype | str:
    """The dtype as transformers reads it."""
    if dtype == "auto":
        return probed_dtype(computing_device(device_map)).dtype
    # What transformers calls "auto" is the dtype of the stored weights.
    return "auto" if dtype == "checkpoint" else getattr(torch, dtype)


def computing_device(device_map: DeviceMap) -> torch.device:
    """Where a model with this device map computes: on an accelerator if any part of it is there.

    Raises:
        InvalidInputError: PyTorch knows no such device.
    """
    if device_map is None:
        return torch.device("cpu")
    if isinstance(device_map, Mapping):
        # accelerate moves what lies on the CPU or the disk to the accelerator when its turn comes.
        places = [place for place in device_map.values() if str(place) not in ("cpu", "disk")]
        return torch.device(places[0] if places else "cpu")
    if device_map in (ACCELERATOR, "auto", "balanced", "balanced_low_0", "sequential"):
        is_there = torch.accelerator.is_available()
        return (is_there and torch.accelerator.current_accelerator()) or torch.device("cpu")
    try:
        return torch.device(device_map)
    except RuntimeError as error:
        first_line = str(error).split("\n")[0]
        raise InvalidInputError(f"unknown device_map {device_map!r}: {first_line}") from error


def _refuse_pickle(location: str) -> None:
    """Raises InvalidInputError for a directory whose weights are pickled only."""
    folder = Path(location)
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        raise InvalidInputError(
            f"{location} holds pickled weights (.bin), which can run code when read; expected "
            f"safetensors: save the model anew with safetensors, or set allow_pickle=True if you "
            f"trust its source"
        )


def _check_complete(name_or_path: str | Path, report: Mapping[str, Any]) -> None:
    """Raises InvalidInputError for weights that transformers has drawn at random.

    report: its loading info; weights that are tied to others are not missing there.
    """
    missing = sorted(report["missing_keys"])
    mismatched = sorted(key for key, *_ in report["mismatched_keys"])
    for what, keys in (("lacks", missing), ("has in another shape", mismatched)):
        if keys:
            shown = [*keys[:NAMED_WEIGHTS], *(["..."] if len(keys) > NAMED_WEIGHTS else [])]
            raise InvalidInputError(
                f"the checkpoint {str(name_or_path)!r} {what} {len(keys)} of the weights that its "
                f"config.json describes: {', '.join(shown)}. Expected all of a causal language "
                f"model: download or save it again"
            )


def _not_found(name_or_path: str | Path, reason: str | Exception) -> str:
    first_line = str(reason).split("\n")[0].rstrip(".")
    return (
        f"cannot load the model {str(name_or_path)!r}: {first_line}. Expected a hub id, a "
        "directory with config.json, tokenizer.json and *.safetensors, or a .gguf file; a gated "
        "model needs HF_TOKEN, one with code of its own trust_remote_code=True, one that is not in "
        "the local cache a network (HF_HUB_OFFLINE unset)"
    )


def cache_dir() -> Path:
    """`$ATTRIBOT_CACHE`, else `attribot` below `$XDG_CACHE_HOME`, else below `~/.cache`."""
    if named := os.environ.get("ATTRIBOT_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attribot"


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPU cores that this process may use: its affinity, or the container's quota where smaller."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, int(min(cores, _cgroup_quota(cgroup))))


def set_threads(num_threads: int | None = None) -> int:
    """Sets and returns the threads that PyTorch computes with; None takes all available cores.

    Raises:
        InvalidInputError: fewer than one, or more than the cores: that is up to 20 times slower.
    """
    cores = available_cores()
    threads = cores if num_threads is None else num_threads
    if not 1 <= threads <= cores:
        raise InvalidInputError(
            f"expected 1 to {cores} threads, one per available core; got {threads}"
        )
    torch.set_num_threads(threads)
    return threads


def _cgroup_quota(cgroup: Path) -> float:
    """CPU seconds per second granted by cgroup v2 or v1; infinite where there is no limit."""
    v2, v1 = cgroup / "cpu.max", cgroup / "cpu"
    if v2.is_file():
        quota, period = v2.read_text().split()
    elif (v1 / "cpu.cfs_quota_us").is_file():
        quota = (v1 / "cpu.cfs_quota_us").read_text().strip()
        period = (v1 / "cpu.cfs_period_us").read_text().strip()
    else:
        return float("inf")
    return float("inf") if quota in ("max", "-1") else int(quota) / int(period)
