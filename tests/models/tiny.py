"""Tiny language models with random weights: real architectures, a real fast tokenizer, no download.

Llama, Mistral and Gemma put BOS in the chat template *and* in the tokenizer, Qwen2 in neither, and
GPT-2 has no chat template: together the cases that special-token handling must get right.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PretrainedConfig, PreTrainedTokenizerFast

from attribot.models.language_model import LanguageModel

Architecture = Literal["llama", "qwen2", "qwen3", "mistral", "gpt2", "gemma3"]

# Every architecture, and those with a sliding window shorter than the prompts of the tests.
VARIANTS: dict[str, dict[str, int]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {},
    "gpt2": {},
    "gemma3": {},
    "mistral, window 13": {"sliding_window": 13},
    "qwen2, window 13": {"sliding_window": 13},
    "gemma3, window 13": {"sliding_window": 13},
}

QUICK_VARIANTS = ("llama", "gpt2", "gemma3, window 13")
# For fixtures: the quick tier takes three that stand for all.
VARIANT_PARAMS = [
    name if name in QUICK_VARIANTS else pytest.param(name, marks=pytest.mark.slow)
    for name in VARIANTS
]

BOS, PAD, END, TURN = "<s>", "<pad>", "<|im_end|>", "<|im_start|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_TRAINING_LINES = (
    "Answer the question based on the provided context: Context: Question:",
    "The castle stands on a hill above the river, and the river runs to the sea.",
    "Who built the castle? The king of the north built the castle in the year 1200.",
    "A sentence, another sentence; and then a third one that says where the sea is.",
)


@cache
def _trained_tokenizer(vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, PAD, END, TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TRAINING_LINES * 2, trainer)
    return tokenizer


def tiny_tokenizer(architecture: Architecture, vocab_size: int = 331) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with the BOS and chat-template habits of the architecture."""
    tokenizer = Tokenizer.from_str(_trained_tokenizer(vocab_size).to_str())
    puts_bos = architecture in ("llama", "mistral", "gemma3")
    if puts_bos:
        tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
                ),
            ]
        )
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=END, pad_token=PAD
    )
    if architecture != "gpt2":
        fast.chat_template = ("{{ bos_token }}" if puts_bos else "") + CHAT_TEMPLATE
    return fast


def _config(
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerFast,
    num_layers: int,
    max_positions: int,
    sliding_window: int | None,
) -> PretrainedConfig:
    shared = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        # The usual 0.02 gives nearly uniform predictions, under which no test could fail.
        "initializer_range": 0.3,
    }
    if architecture == "gpt2":
        return transformers.GPT2Config(
            **shared,
            n_layer=num_layers,
            n_head=4,
            n_embd=24,
            n_inner=37,
            n_positions=max_positions,
        )
    shared |= {
        "num_hidden_layers": num_layers,
        "hidden_size": 24,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "max_position_embeddings": max_positions,
    }
    if architecture == "llama":
        return transformers.LlamaConfig(**shared)
    if architecture == "qwen3":
        return transformers.Qwen3Config(**shared)
    if architecture == "mistral":
        return transformers.MistralConfig(**shared, sliding_window=sliding_window)
    if architecture == "gemma3":
        return transformers.Gemma3TextConfig(
            **shared,
            sliding_window=sliding_window or max_positions,
            query_pre_attn_scalar=6,
            layer_types=[
                "full_attention" if layer % 2 else "sliding_attention"
                for layer in range(num_layers)
            ],
        )
    return transformers.Qwen2Config(
        **shared,
        use_sliding_window=sliding_window is not None,
        sliding_window=sliding_window,
        max_window_layers=1,
    )


def tiny_language_model(
    architecture: Architecture = "llama",
    *,
    num_layers: int = 3,
    vocab_size: int = 331,
    max_positions: int = 1024,
    sliding_window: int | None = None,
    seed: int = 0,
    attn_implementation: str = "sdpa",
    double_bos: bool = False,
) -> LanguageModel:
    """A float32 model of `architecture` with seeded random weights, in eval mode.

    sliding_window: of the layers that have one (all of Mistral's, all but the first of Qwen2's,
        the even ones of Gemma-3); Llama, Qwen3 and GPT-2 have none.
    """
    if sliding_window is not None and architecture in ("llama", "qwen3", "gpt2"):
        raise ValueError(f"{architecture} has no sliding window")
    tokenizer = tiny_tokenizer(architecture, vocab_size)
    config = _config(architecture, tokenizer, num_layers, max_positions, sliding_window)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.float32, attn_implementation=attn_implementation
        )
    return LanguageModel(
        model=model.eval(),
        tokenizer=tokenizer,
        name=f"tiny-{architecture}-{seed}",
        revision="random",
        double_bos=double_bos,
    )
