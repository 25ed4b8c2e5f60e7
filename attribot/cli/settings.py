"""What the command line sets for every attribution, and the names it knows.

Imports nothing of attribot, so that help and completion need no PyTorch: the tests hold the names
equal to those of `explain.methods`, `types` and `models.loading`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

METHODS = (
    "auto",
    "loo",
    "hierarchical",
    "hierarchical_full",
    "proxy",
    "pruning",
    "proxy_full",
    "proxy_mask",
    "mask_paragraph",
    "mask",
    "racing",
    "halving",
    "word_overlap_full",
    "leave_two_out",
    "contextcite",
    "kernel_shap",
    "attention",
    "attention_rollout",
    "value_attention",
    "gradient_norm",
    "gradient_times_input",
    "integrated_gradients",
    "similarity",
    "word_overlap",
)
LEVELS = ("document", "paragraph", "sentence")
DTYPES = ("auto", "checkpoint", "float32", "float16", "bfloat16")

# They change when and where numbers are computed, not what they are.
_WITHOUT_EFFECT = ("cache", "max_memory_gb")


@dataclass(frozen=True)
class Settings:
    """Options of `attribot attribute` that hold for all of its questions.

    model, proxy: hub id, directory or GGUF file; no model takes the bundled one, no proxy none.
    dtype: of both; None takes "auto" on an accelerator and float32 on a CPU.
    spans: ("sentences",), or quotes of the response.
    messages: parsed JSON, checked where it is used.
    All else: see `explain.attribute.attribute`.
    """

    model: str | None
    proxy: str | None
    dtype: str | None
    method: str
    level: str
    spans: tuple[str, ...]
    template: str | None
    messages: Any
    max_cost: float
    max_memory_gb: float | None
    max_new_tokens: int
    score_end_token: bool
    measure_noise: bool
    cache: str | None

    def identity(self) -> dict[str, Any]:
        """All that results depend on, as plain JSON values."""
        chosen = asdict(self)
        return {name: value for name, value in chosen.items() if name not in _WITHOUT_EFFECT}


SETTINGS = tuple(field.name for field in fields(Settings))


def option_of(name: str) -> str:
    """The option for an argument of `explain.attribute.attribute`."""
    return f"--{name.replace('_', '-')}"
