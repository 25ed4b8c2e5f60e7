"""Closed-form cost of forward passes, from a model's geometry and token counts alone."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from attribot.models.language_model import decoder_layers


@dataclass(frozen=True)
class ModelGeometry:
    """What the cost of a pass depends on.

    num_layers: L.
    attention_width: d_attn, number of query heads times head dimension.
    hidden_size: d.
    vocab_size: V.
    block_parameters: P_blocks, weights of the matrix multiplications that one token passes in the
        decoder blocks; of a mixture's experts only the share that a token is routed to.
    num_parameters: of the whole model.
    kv_width: key-value heads times head dimension.
    mlp_width: of the widest hidden layer of a block; of a mixture, of one expert.
    weight_bytes: of the whole model.
    value_bytes: of one activation or state.
    num_heads: of the queries, in each layer.
    """

    num_layers: int
    attention_width: int
    hidden_size: int
    vocab_size: int
    block_parameters: int
    num_parameters: int
    kv_width: int
    mlp_width: int
    weight_bytes: int
    value_bytes: int
    num_heads: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> ModelGeometry:
        config = model.config.get_text_config()
        head_dim = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        num_experts = getattr(config, "num_local_experts", getattr(config, "num_experts", 1))
        routed_share = getattr(config, "num_experts_per_tok", 1) / num_experts
        blocks = 0.0
        for parameter in decoder_layers(model).parameters():
            if parameter.dim() == 2:
                blocks += parameter.numel()
            elif parameter.dim() == 3:
                blocks += parameter.numel() * routed_share
        return cls(
            num_layers=config.num_hidden_layers,
            attention_width=config.num_attention_heads * head_dim,
            hidden_size=config.hidden_size,
            vocab_size=config.vocab_size,
            block_parameters=round(blocks),
            num_parameters=sum(p.numel() for p in model.parameters()),
            kv_width=head_dim
            * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads),
            mlp_width=_mlp_width(model),
            weight_bytes=sum(p.numel() * p.element_size() for p in model.parameters()),
            value_bytes=model.dtype.itemsize,
            num_heads=config.num_attention_heads,
        )

    def pass_flops(self, num_new: int, num_cached: int, num_logits: int) -> float:
        """Floating point operations of one pass.

        2 P_blocks q + 4 L d_attn sum_{i=1..q} (p + i) + 2 d V l, for q = `num_new` tokens after
        p = `num_cached` reused ones with logits at l = `num_logits` positions. A multiply-add
        counts two. Attention is counted causal: token p + i attends to p + i positions; windows
        shorter than that are not credited.
        """
        return (
            2.0 * self.block_parameters * num_new
            + self.attention_flops(num_new, num_cached)
            + 2.0 * self.hidden_size * self.vocab_size * num_logits
        )

    def attention_flops(self, num_new: int, num_cached: int) -> float:
        """The part of attention: half for the weights, half for the sum of values."""
        context = num_new * num_cached + num_new * (num_new + 1) / 2
        return 4.0 * self.num_layers * self.attention_width * context


def _mlp_width(model: PreTrainedModel) -> int:
    """The largest output width of a block's linear maps, whatever their names."""
    maps = (p for p in decoder_layers(model).parameters() if p.dim() >= 2)
    return max(max(p.shape[-2:]) for p in maps)
