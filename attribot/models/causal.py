"""What kind of model can be attributed at all."""

from __future__ import annotations

from transformers import PreTrainedModel

from attribot.errors import InvalidInputError


def check_causal(model: PreTrainedModel) -> None:
    """Raises InvalidInputError for a model that does not write text from left to right."""
    attends_ahead = {
        module.is_causal for module in model.modules() if hasattr(module, "is_causal")
    } == {False}
    if not model.can_generate():
        reason = "has no head that predicts the next token"
    elif getattr(model.config, "is_encoder_decoder", False):
        reason = "reads its prompt with an encoder"
    elif attends_ahead:
        reason = "sees the tokens that come next"
    else:
        return
    raise InvalidInputError(
        f"{type(model).__name__} {reason}: expected a causal language model, as "
        f"AutoModelForCausalLM or attribot.load_model loads it"
    )
