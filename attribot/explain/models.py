"""Whatever the caller has for a model, as a language model; and who may run it."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attribot.errors import InvalidInputError
from attribot.models.causal import check_causal
from attribot.models.language_model import ONE_USER_TURN, Conversation, LanguageModel
from attribot.models.loading import load_model

Model = LanguageModel | PreTrainedModel | str | Path
"""A model that is loaded, or a hub id, directory or `.gguf` file to load it from."""

# Only who may run a model is global, and lives as long as the model; no result depends on it.
_LOCKS: weakref.WeakKeyDictionary[PreTrainedModel, Any] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


def as_language_model(
    model: Model,
    tokenizer: PreTrainedTokenizerBase | None = None,
    conversation: Conversation = ONE_USER_TURN,
) -> LanguageModel:
    """The model with its tokenizer, reading prompts inside a conversation.

    A loaded model stays as it is, wherever it lies. What is named by hub id, directory or file is
    loaded by `load_model` with its defaults: at each call, so load it yourself to attribute more
    than once. Only safetensors and GGUF are read, and no code from the hub.

    Raises:
        InvalidInputError: it is none of these, it does not write text from left to right, or a
            loaded model has no tokenizer beside it.
        ModelNotFoundError: nothing loadable under that name.
    """
    if isinstance(model, PreTrainedModel):
        check_causal(model)
        tokenizer = _checked_tokenizer(model, tokenizer)
        name = model.name_or_path or type(model).__name__
        revision = getattr(model.config, "_commit_hash", None) or ""
        return LanguageModel(model, tokenizer, name, revision, conversation=conversation)
    if isinstance(model, PreTrainedTokenizerBase):
        raise InvalidInputError(
            f"the model comes first, then its tokenizer; got {type(model).__name__} as the model"
        )
    if tokenizer is not None:
        raise InvalidInputError(
            f"a tokenizer goes with a loaded transformers model only; got one beside "
            f"{type(model).__name__}, which brings its own"
        )
    if isinstance(model, LanguageModel):
        return _inside(model, conversation)
    if not isinstance(model, str | Path):
        raise InvalidInputError(
            f"expected a loaded transformers model with its tokenizer, a LanguageModel, a hub id, "
            f"a directory or a .gguf file; got {type(model).__name__}"
        )
    return _inside(load_model(model), conversation)


def _checked_tokenizer(model: PreTrainedModel, tokenizer: Any) -> PreTrainedTokenizerBase:
    """Raises InvalidInputError where a loaded model has no loaded tokenizer beside it."""
    name = type(model).__name__
    if tokenizer is None:
        raise InvalidInputError(f"a loaded {name} needs its tokenizer: pass the tokenizer too")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise InvalidInputError(
            f"a loaded {name} needs its loaded tokenizer, such as "
            f"AutoTokenizer.from_pretrained(...); got {type(tokenizer).__name__}"
        )
    return tokenizer


def _inside(model: LanguageModel, conversation: Conversation) -> LanguageModel:
    """The model as it is where there is nothing around the prompt: what it has hashed stays."""
    return model if conversation == ONE_USER_TURN else replace(model, conversation=conversation)


def lock_of(model: LanguageModel) -> Any:
    """The lock that a thread holds while it runs the model; one per loaded model.

    Some methods set a model's attention for a moment, and a bound on memory holds for one thread.
    """
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(model.model, threading.RLock())
