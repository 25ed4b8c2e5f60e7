"""A causal language model together with its tokenizer: the only place that turns text into ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from attribot.errors import InvalidInputError, PromptTooLongError
from attribot.types import IntArray, Response

# Llama-3.x templates print today's date unless told one; a prompt must not change overnight.
TEMPLATE_DATE = "26 Jul 2024"
# Finds where a chat template puts the user's text; a short text might also stand in the template.
_MARKED_TURN = "\N{LEFT CEILING}turn\N{RIGHT CEILING}"
_BITS_OF_BYTES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A prompt as the model reads it.

    token_ids: `[num_prompt_tokens]`, chat template and special tokens included.
    char_spans: `[num_prompt_tokens, 2]` extent of each token in the prompt text; (-1, -1) for
        tokens of the chat template.
    """

    token_ids: tuple[int, ...]
    char_spans: IntArray


@dataclass(frozen=True)
class Conversation:
    """The messages that a prompt stands among; the prompt itself is the text of one message.

    before, after: (role, text) of the other messages.
    role: of the prompt.
    """

    before: tuple[tuple[str, str], ...] = ()
    role: str = "user"
    after: tuple[tuple[str, str], ...] = ()

    def messages(self, prompt: str) -> list[dict[str, str]]:
        """All messages as chat templates read them."""
        turns = (*self.before, (self.role, prompt), *self.after)
        return [{"role": role, "content": text} for role, text in turns]


ONE_USER_TURN = Conversation()


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """A decoder-only `transformers` model in eval mode and its fast tokenizer.

    name, revision: what was loaded, for the records.
    double_bos: tokenise the templated string with special tokens on, as the paper's authors did,
        so that a template with a BOS of its own yields two.
    conversation: what every prompt is embedded in.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    revision: str = ""
    double_bos: bool = False
    conversation: Conversation = ONE_USER_TURN

    def __post_init__(self) -> None:
        if not getattr(self.tokenizer, "is_fast", False):
            raise InvalidInputError(
                f"{self.name} has no fast tokenizer: attribot needs character offsets of tokens"
            )
        if self.model.training:
            raise InvalidInputError(f"{self.name} is in training mode: call model.eval() first")
        if self.conversation != ONE_USER_TURN and not self.has_chat_template:
            raise InvalidInputError(
                f"{self.name} has no chat template, so it reads plain text and no messages: give "
                f"the prompt as one text"
            )

    @property
    def device(self) -> torch.device:
        """Where input ids go; the model may be spread over further devices."""
        return input_device(self.model)

    @property
    def dtype(self) -> str:
        return str(self.model.dtype).removeprefix("torch.")

    @property
    def max_tokens(self) -> int | None:
        """Length of the context window in tokens; None where the configuration names none."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    @cached_property
    def num_embeddings(self) -> int:
        """Tokens that the model knows."""
        return len(_input_weight(self.model))

    @property
    def has_chat_template(self) -> bool:
        return bool(self.tokenizer.chat_template)

    @cached_property
    def tokenizer_sha(self) -> str:
        """Identifies the text-to-ids map: equal hashes mean that ids can be exchanged."""
        state = json.loads(self.tokenizer.backend_tokenizer.to_str())
        # Padding and truncation are call settings, not part of the vocabulary.
        state.pop("padding", None), state.pop("truncation", None)
        return _sha(json.dumps(state, sort_keys=True))

    @cached_property
    def chat_template_sha(self) -> str:
        return _sha(str(self.tokenizer.chat_template or ""))

    @cached_property
    def weights_sha(self) -> str:
        """Identifies the weights: name, shape, type, sum of bits and 24 values of every tensor.

        The sum changes with any single weight, the values with most reorderings; both are cheap
        where the tensor lies, which hashing all bytes of a large model is not.
        """
        digest = hashlib.sha256()
        for name, tensor in self.model.named_parameters():
            flat = tensor.detach().reshape(-1)
            picks = [i * (flat.numel() - 1) // 23 for i in range(24)]
            total = flat.view(_BITS_OF_BYTES[flat.element_size()]).sum(dtype=torch.int64).item()
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}{total}".encode())
            digest.update(flat[picks].float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Everything that a score of this model depends on, prompt and response aside."""
        parts = {
            "weights": self.weights_sha,
            "dtype": self.dtype,
            "attn_implementation": self.model.config._attn_implementation,
            "tokenizer": self.tokenizer_sha,
            "chat_template": self.chat_template_sha,
            "double_bos": self.double_bos,
        }
        if self.conversation != ONE_USER_TURN:
            parts["conversation"] = _sha(json.dumps(asdict(self.conversation)))
        return parts

    def render(self, prompt: str) -> str:
        """The templated string of the conversation around a prompt, generation prompt included.

        Raises:
            InvalidInputError: the chat template refuses such a conversation.
        """
        if not self.has_chat_template:
            return prompt
        messages = self.conversation.messages(prompt)
        try:
            rendered = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, date_string=TEMPLATE_DATE
            )
        except TemplateError as error:
            roles = [message["role"] for message in messages]
            raise InvalidInputError(
                f"the chat template of {self.name} refuses messages with the roles {roles}: {error}"
            ) from error
        return str(rendered)

    @cached_property
    def _turn_offset(self) -> int:
        """Char position of the prompt in what `render` gives."""
        return self.render(_MARKED_TURN).find(_MARKED_TURN)

    def encode_prompt(self, prompt: str) -> EncodedPrompt:
        """Ids of the conversation around a prompt, by default one user turn. The BOS comes from the
        template where there is one.

        Raises:
            InvalidInputError: the chat template alters the text of the prompt, or refuses it; the
                prompt has no tokens, or one that the model does not know.
        """
        # Several templates trim what is said: trimming here keeps the offsets in step.
        stripped = prompt.strip()
        text = self.render(stripped)
        position = self._turn_offset
        if position < 0 or not text.startswith(stripped, position):
            raise InvalidInputError(f"the chat template of {self.name} rewrites the user's text")
        encoding = self.tokenizer(
            text,
            add_special_tokens=self.double_bos or not self.has_chat_template,
            return_offsets_mapping=True,
        )
        if not encoding["input_ids"]:
            raise InvalidInputError(
                f"a prompt has no tokens: it is empty, and {self.name} puts none before it. "
                f"Removing all of the context must leave something: write words around "
                f"{{context}} into the template"
            )
        self._check_ids(encoding["input_ids"])
        spans = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        outside = (spans[:, 1] <= position) | (spans[:, 0] >= position + len(stripped))
        leading = len(prompt) - len(prompt.lstrip())
        spans = np.where(outside[:, None], -1, spans - position + leading)
        return EncodedPrompt(tuple(encoding["input_ids"]), spans)

    def shares_tokenizer(self, response: Response) -> bool:
        """The response's ids mean the same text to this model."""
        return response.tokenizer_sha == self.tokenizer_sha

    def encode_response(self, response: Response) -> tuple[int, ...]:
        """`[num_response_tokens]` the response's own ids, or its text encoded anew.

        Raises:
            InvalidInputError: the response has no tokens, or one that the model does not know.
        """
        if self.shares_tokenizer(response):
            ids = response.token_ids
        else:
            ids = tuple(self.tokenizer(response.text, add_special_tokens=False)["input_ids"])
            if response.has_end_token and self.tokenizer.eos_token_id is not None:
                ids += (self.tokenizer.eos_token_id,)
        if not ids:
            raise InvalidInputError("the response is empty: there is nothing to attribute")
        self._check_ids(ids)
        return ids

    def _check_ids(self, ids: Sequence[int]) -> None:
        """Raises InvalidInputError for a token without an embedding.

        Only those that are used are asked for: the tokenizers of some models hold marks of images
        that a model of text alone has no embedding for.
        """
        if (largest := max(ids)) >= self.num_embeddings:
            raise InvalidInputError(
                f"{self.tokenizer.convert_ids_to_tokens(largest)!r} is token {largest} of the "
                f"tokenizer, but {self.name} knows {self.num_embeddings} tokens: pass the "
                f"tokenizer that belongs to the model"
            )

    def check_length(self, num_prompt_tokens: int, num_response_tokens: int) -> None:
        """Raises PromptTooLongError when both together exceed the context window."""
        total = num_prompt_tokens + num_response_tokens
        if self.max_tokens is not None and total > self.max_tokens:
            raise PromptTooLongError(total, self.max_tokens, self.name)


def input_device(model: PreTrainedModel) -> torch.device:
    """Where a model expects its input ids."""
    return _input_weight(model).device


def _input_weight(model: PreTrainedModel) -> torch.Tensor:
    """`[num_tokens, hidden_size]`"""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    return weight


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder blocks.

    Raises:
        InvalidInputError: the architecture has no such list of the configured length.
    """
    num_layers = model.config.get_text_config().num_hidden_layers
    for module in model.get_decoder().children():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            return module
    raise InvalidInputError(
        f"{type(model).__name__} has no list of {num_layers} decoder layers: only decoder-only "
        f"transformers are supported"
    )


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
