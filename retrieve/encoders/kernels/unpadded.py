"""Encoders over concatenated texts: no layer computes padding, and each text attends only to itself.

transformers runs a batch as padded rows of equal width. Only attention needs the rows; all other layers work token by
token. Here a stack of layers takes the tokens out of the rows, runs over them and puts them back, so padding costs
nothing. Only inference changes: in training or compiled, a stack computes as before. On a CPU the tokens of a batch are
found by its mask, or by its lengths (`layout.concatenated`); on a GPU by its lengths, so that nothing waits for it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPooling,
)

from retrieve.encoders.kernels.families import Family, family_of, stack_name
from retrieve.encoders.kernels.layout import Layout, given_layout, is_padded
from retrieve.encoders.kernels.short_texts import ShortTexts

_EXPECTED = {"use_cache", "return_dict", "position_ids", "cache_position"}


def unpad(model: nn.Module) -> bool:
    """Make the known stacks of layers in a model run without padding; return whether there are any."""
    found = [(module, family) for module in model.modules() if (family := family_of(module)) is not None]
    for module, family in found:
        module.forward = (_UnpaddedForward if family.embed is None else _UnpaddedModel)(module, family)
    for module in model.modules():
        name = stack_name(module)
        if name is not None and isinstance(getattr(module, name).forward, _UnpaddedForward):
            module.forward = _EmbeddedStack(module, name)
    return bool(found)


def reads_mask(model: nn.Module) -> bool:
    """Return whether a model needs the mask of its batch beside a layout: heads may pool all tokens by it."""
    return any(isinstance(module.forward, _UnpaddedModel) for module in model.modules())


class _UnpaddedForward:
    """Forward pass of a stack of layers, such as BERT's ``encoder``, without padding."""

    def __init__(self, stack: nn.Module, family: Family) -> None:
        self._stack: Any = stack
        self._family = family
        self._short = ShortTexts()

    def __call__(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, *others: Any, **options: Any
    ) -> Any:
        layout = given_layout()
        if others or not _is_supported(self._stack, hidden_states, options):
            self.forget()
            if layout is not None and attention_mask is None:
                attention_mask = layout.padding_mask(hidden_states)
            return type(self._stack).forward(self._stack, hidden_states, attention_mask, *others, **options)
        if layout is None:
            if hidden_states.device.type != "cpu" or not (attention_mask is None or _is_padding_mask(attention_mask)):
                return type(self._stack).forward(self._stack, hidden_states, attention_mask, **options)
            layout = Layout.of(_attended(hidden_states, attention_mask))
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=self.run(hidden_states, layout))

    def run(self, rows: Tensor, layout: Layout) -> Tensor:
        """Return the hidden vectors of padded rows [texts, width, …] after the last layer."""
        output = self._short.run(self._stack, rows, layout)
        return layout.scatter(self.compute(layout.gather(rows), layout), rows.shape) if output is None else output

    def compute(self, hidden: Tensor, layout: Layout) -> Tensor:
        """Return the hidden vectors of concatenated texts [tokens, width] after the last layer, by torch."""
        return self._family.run(self._stack, hidden, layout)

    def forget(self) -> None:
        """Drop the graph for short texts."""
        self._short.forget()


class _EmbeddedStack:
    """Forward pass of a model that embeds token ids and runs a stack of layers: without the masks it would make."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self._model: Any = model
        self._name = name

    def __call__(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *others: Any,
        token_type_ids: Tensor | None = None,
        **options: Any,
    ) -> Any:
        model, layout = self._model, given_layout()
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        stack = getattr(model, self._name).forward
        usable = layout is not None and input_ids is not None and options.get("position_ids") is None
        if (
            others
            or not usable
            or not isinstance(stack, _UnpaddedForward)
            or not _is_supported(model, input_ids, options)
        ):
            return type(model).forward(model, input_ids, attention_mask, *others, **types, **options)
        assert layout is not None
        if "token_type_embeddings" not in model.embeddings._modules:
            types = {}  # transformers ignores them too.
        rows = model.embeddings(input_ids=input_ids, **types)
        if "embeddings_project" in model._modules:
            rows = model.embeddings_project(rows)
        hidden = stack.run(rows, layout)
        pooler = model._modules.get("pooler")
        pooled = None if pooler is None else pooler(hidden)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)


class _UnpaddedModel:
    """Forward pass of a model whose layers are no module of their own, from token ids on; see `_UnpaddedForward`."""

    def __init__(self, model: nn.Module, family: Family) -> None:
        self._model: Any = model
        self._family = family

    def __call__(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, *others: Any, **options: Any
    ) -> Any:
        layout = given_layout()
        usable = layout is not None and input_ids is not None and options.get("position_ids") is None
        if others or not usable or not _is_supported(self._model, input_ids, options):
            return type(self._model).forward(self._model, input_ids, attention_mask, *others, **options)
        assert layout is not None and input_ids is not None and self._family.embed is not None
        hidden = self._family.embed(self._model, layout.gather(input_ids))
        output = layout.scatter(self._family.run(self._model, hidden, layout), (*input_ids.shape, hidden.shape[1]))
        return BaseModelOutput(last_hidden_state=output)


def _is_supported(stack: nn.Module, rows: Any, options: dict[str, Any]) -> bool:
    """Return whether a call is inference that needs nothing that only the plain forward pass returns."""
    config: Any = getattr(stack, "config", None)
    return (
        is_inference(rows)
        and not is_padded()
        and not stack.training
        and options.get("return_dict", True) is not False
        and all(name in _EXPECTED or _is_unset(value) for name, value in options.items())
        and not any(getattr(config, name, False) for name in ("output_hidden_states", "output_attentions"))
        and not _has_hooks(stack)
    )


def is_inference(rows: Tensor) -> bool:
    """Return whether this is inference on a CPU or a CUDA GPU, neither compiled nor with autocast."""
    device = rows.device.type
    return (
        torch.is_inference_mode_enabled()
        and device in ("cpu", "cuda")
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled(device)
    )


def _attended(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask of attended tokens, bool [texts, width]."""
    if mask is None:
        return hidden.new_ones(hidden.shape[:2], dtype=torch.bool)
    columns = mask[:, 0, 0].expand(hidden.shape[:2])
    return columns if columns.dtype == torch.bool else columns == 0


def _is_padding_mask(mask: Tensor) -> bool:
    """Return whether all queries and heads of a text attend to the same tokens, as in a padded batch."""
    return mask.dim() == 4 and mask.shape[1] == 1 and bool((mask == mask[:, :, :1]).all())


def _has_hooks(module: nn.Module) -> bool:
    """Return whether a module or one inside it has hooks; `modules()` would also build their names."""
    waiting: list[nn.Module | None] = [module]
    while waiting:
        each = waiting.pop()
        if each is None:
            continue
        if each._forward_hooks or each._forward_pre_hooks:
            return True
        if each._modules:
            waiting += each._modules.values()
    return False


def _is_unset(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list) and all(item is None for item in value))
