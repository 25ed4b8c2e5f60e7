"""Shared fixtures: the folder of real samples, where there is one, and the bundled model."""

import os
from pathlib import Path

import pytest

from attribot.errors import ModelNotFoundError
from attribot.models.bundled import prepare_bundled

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with `data/` and `golden/`: `$ATTRIBOT_SHARED`, else `../shared` of the repository."""
    path = Path(os.environ.get("ATTRIBOT_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip(f"real samples are absent: no {path.name}/data; set ATTRIBOT_SHARED")
    return path


@pytest.fixture(scope="session")
def bundled_model_dir() -> Path:
    """The bundled SmolLM2-135M-Instruct as safetensors, converted at the first use."""
    try:
        return prepare_bundled()
    except ModelNotFoundError as error:
        pytest.skip(str(error))
