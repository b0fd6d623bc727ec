"""Layers of the families of encoders over concatenated texts: hidden vectors are [tokens, width]."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from retrieve.encoders.kernels.attention import attend
from retrieve.encoders.kernels.int8_linear import PRECISE_FROM, ROWS_AT_ONCE, Int8Linear, products
from retrieve.encoders.kernels.layout import Layout
from retrieve.encoders.kernels.packed_linear import activated, norm_of_sum


class Family(NamedTuple):
    """How to run the layers of a stack over concatenated texts.

    Parameters
    ----------
    is_known
        Whether the installed transformers has the code that `run` replaces, and the stack is not a decoder.
    run
        Takes the stack, the hidden vectors and the layout; returns the hidden vectors after the last layer.
    embed
        Makes hidden vectors from token ids [tokens], if the stack is the whole model and starts at the ids.
    """

    is_known: Callable[[Any], bool]
    run: Callable[[Any, Tensor, Layout], Tensor]
    embed: Callable[[Any, Tensor], Tensor] | None = None


def family_of(module: Any) -> Family | None:
    """Return the family of a module that is a stack of layers, by its class in transformers; None for others."""
    family = _FAMILIES.get(type(module).__name__)
    known = (
        family is not None and type(module).__module__.startswith("transformers.models.") and family.is_known(module)
    )
    return family if known else None


def stack_name(model: Any) -> str | None:
    """Return the name of the stack of layers in a model of transformers that only embeds ids for it; else None."""
    if not type(model).__module__.startswith("transformers.models."):
        return None
    name = _STACKS.get(type(model).__name__)
    return name if name in model._modules and "embeddings" in model._modules else None


def _is_encoder(module: Any) -> bool:
    return (
        not module.config.is_decoder
        and not module.config.add_cross_attention
        and getattr(module.config, "position_embedding_type", None) in (None, "absolute")  # transformers 4 sets it
    )


class PostNormLayer(NamedTuple):
    """Layer that normalises after its attention and after its feed-forward block, as in BERT."""

    inputs: tuple[nn.Module, nn.Module, nn.Module]
    heads: int
    output: nn.Module
    attention_norm: nn.Module
    inner: nn.Module
    activation: Any
    outer: nn.Module
    norm: nn.Module


def _run_post_norm(stack: Any, hidden: Tensor, layout: Layout) -> Tensor:
    bias = position_bias(stack, hidden[: layout.longest])
    for layer in post_norm_layers(stack):
        mixed = _mixed(hidden, layer.inputs, layer.heads, layout, bias)
        hidden = norm_of_sum(layer.output, layer.attention_norm, mixed, hidden)
        hidden = _fed_forward(layer, hidden, layout)
    return hidden


def _fed_forward(layer: PostNormLayer, hidden: Tensor, layout: Layout) -> Tensor:
    """Return the output of the feed-forward block; in 8 bits part by part, because quantizing is bound by memory.

    In 8 bits the first token of a text keeps 15: it is the result of a cross-encoder, and what all tokens attend to.
    """
    inner, outer = layer.inner, layer.outer
    if not (isinstance(inner, Int8Linear) and isinstance(outer, Int8Linear) and inner.can_quantize(hidden)):
        return norm_of_sum(outer, layer.norm, activated(inner, layer.activation, hidden), hidden)

    def fed(rows: Tensor, precise: Tensor | None = None) -> Tensor:
        inside = layer.activation(inner.product(rows, precise))
        output: Tensor = layer.norm(outer.product(inside, precise).add_(rows))
        return output

    output = torch.cat([fed(part) for part in hidden.split(ROWS_AT_ONCE)])
    firsts = layout.places(0, PRECISE_FROM)
    if len(firsts):
        output[firsts] = fed(hidden[firsts], torch.arange(len(firsts)))
    return output


def position_bias(stack: Any, hidden: Tensor) -> Tensor | None:
    """Return what MPNet adds to the scores of a text as long as `hidden`, [heads, length, length]; None for others."""
    if type(stack).__name__ != "MPNetEncoder":
        return None
    bias: Tensor = stack.compute_position_bias(hidden[None])[0]
    return bias


def post_norm_layers(stack: Any) -> Iterator[PostNormLayer]:
    """Yield the layers of a stack of BERT's, MPNet's or DistilBERT's kind; nothing for other stacks."""
    kind = type(stack).__name__
    if kind == "MPNetEncoder":
        yield from map(_mpnet_layer, stack.layer)
    elif kind == "Transformer":
        yield from map(_distilbert_layer, stack.layer)
    elif kind != "ModernBertModel":
        yield from map(_bert_layer, stack.layer)


def _bert_layer(layer: Any) -> PostNormLayer:
    own, end, inner, outer = layer.attention.self, layer.attention.output, layer.intermediate, layer.output
    return PostNormLayer(
        *((own.query, own.key, own.value), own.num_attention_heads, end.dense, end.LayerNorm),
        *(inner.dense, inner.intermediate_act_fn, outer.dense, outer.LayerNorm),
    )


def _mpnet_layer(layer: Any) -> PostNormLayer:
    own, inner, outer = layer.attention.attn, layer.intermediate, layer.output
    return PostNormLayer(
        *((own.q, own.k, own.v), own.num_attention_heads, own.o, layer.attention.LayerNorm),
        *(inner.dense, inner.intermediate_act_fn, outer.dense, outer.LayerNorm),
    )


def _distilbert_layer(layer: Any) -> PostNormLayer:
    own, block = layer.attention, layer.ffn
    return PostNormLayer(
        *((own.q_lin, own.k_lin, own.v_lin), own.n_heads, own.out_lin, layer.sa_layer_norm),
        *(block.lin1, block.activation, block.lin2, layer.output_layer_norm),
    )


def _run_modernbert(stack: Any, hidden: Tensor, layout: Layout) -> Tensor:
    """Run the layers of ModernBERT; texts begin in the first column of their rows."""
    heads = stack.config.num_attention_heads
    turns = {kind: stack.rotary_emb(hidden, layout.columns[None], kind) for kind in _kinds(stack)}
    for layer in stack.layers:
        attention = layer.attn
        (projected,) = _projected(layer.attn_norm(hidden), (attention.Wqkv,), layout)
        query, key, value = projected.chunk(3, dim=-1)
        cosine, sine = turns[layer.attention_type]
        query, key = (_rotated(part, cosine, sine, heads) for part in (query, key))
        window = None if attention.sliding_window is None else attention.sliding_window - 1
        hidden = hidden + attention.Wo(attend(query, key, value, heads, layout, window=window))
        hidden = hidden + layer.mlp(layer.mlp_norm(hidden))
    output: Tensor = stack.final_norm(hidden)
    return output


def _embed_modernbert(model: Any, ids: Tensor) -> Tensor:
    embedded: Tensor = model.embeddings(input_ids=ids)
    return embedded


def _kinds(stack: Any) -> set[str]:
    return {layer.attention_type for layer in stack.layers}


def _rotated(part: Tensor, cosine: Tensor, sine: Tensor, heads: int) -> Tensor:
    """Turn the halves of each head [tokens, heads * width] by rotary positions, in float32 as transformers does."""
    split = part.unflatten(1, (heads, -1)).float()
    low, high = split.chunk(2, dim=-1)
    turned = split * cosine[0, :, None] + torch.cat((-high, low), dim=-1) * sine[0, :, None]
    return turned.flatten(1).to(part.dtype)


def _mixed(
    hidden: Tensor, layers: tuple[nn.Module, ...], heads: int, layout: Layout, bias: Tensor | None = None
) -> Tensor:
    """Compute attention; returning frees queries, keys and values before the next step."""
    query, key, value = _projected(hidden, layers, layout)
    return attend(query, key, value, heads, layout, bias=bias)


def _projected(hidden: Tensor, layers: Sequence[nn.Module], layout: Layout) -> Sequence[Tensor]:
    """Return the inputs of attention; in 8 bits the first and the last token of a text keep 15.

    All tokens attend to these most, so what rounding takes from them is lost to all.
    """
    if not isinstance(layers[0], Int8Linear):
        return products(hidden, layers)
    return products(hidden, layers, torch.cat([layout.places(column, PRECISE_FROM) for column in (0, -1)]))


def _takes(module: Any, *names: str) -> bool:
    """Return whether a module's forward pass has arguments of these names, as transformers 5 names them."""
    return set(names) <= set(inspect.signature(type(module).forward).parameters)


def _takes_hidden_states(stack: Any) -> bool:
    return _takes(stack, "hidden_states", "attention_mask")


def _is_modernbert(model: Any) -> bool:
    layers = getattr(model, "layers", [])
    return (
        _takes(model, "input_ids", "attention_mask", "position_ids", "inputs_embeds")
        and hasattr(model, "rotary_emb")
        and all(hasattr(layer, "attention_type") and hasattr(layer.attn, "sliding_window") for layer in layers)
        and not getattr(model.config, "is_causal", None)
    )


_BERT = Family(_is_encoder, _run_post_norm)
_FAMILIES = {
    **dict.fromkeys(
        ("BertEncoder", "RobertaEncoder", "XLMRobertaEncoder", "CamembertEncoder", "ElectraEncoder"), _BERT
    ),
    "MPNetEncoder": Family(_takes_hidden_states, _run_post_norm),
    "Transformer": Family(_takes_hidden_states, _run_post_norm),  # DistilBERT's
    "ModernBertModel": Family(_is_modernbert, _run_modernbert, _embed_modernbert),
}
_STACKS = {
    **dict.fromkeys(
        ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel", "ElectraModel", "MPNetModel"), "encoder"
    ),
    "DistilBertModel": "transformer",
}
