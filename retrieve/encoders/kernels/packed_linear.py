"""Linear layers whose weights are laid out for the processor once, not at every product, and GELU computed with it.

oneDNN multiplies by weights in blocks of its own. Given a plain matrix it makes them anew at each call: a tenth of the
time of a large batch, a third of that of a short query. Only inference is changed: a layer that is trained, compiled or
on another device does what it did.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from retrieve.encoders.kernels.memory import page_out

MAX_BYTES = 1 << 30
"""Of weights in a model, above which a second copy of them is not worth the memory."""
ROWS = 1024
"""For so many rows the blocks are chosen; they serve any number."""


def pack(model: nn.Module) -> None:
    """Have the linear layers of a model computed with packed weights, where the processor can.

    The weights stay as they are, with a second copy of those of linear layers beside them: 21 MB for all-MiniLM-L6-v2
    in bfloat16. Weights that change are packed anew when they are next used.
    """
    layers = [module for module in model.modules() if type(module) is nn.Linear]
    size = sum(layer.weight.nbytes for layer in layers)
    if size > MAX_BYTES:
        return
    for layer in layers:
        layer.__class__ = PackedLinear
    for module in model.modules():
        if _is_linear_gelu(module):
            module.forward = _FusedGelu(module)


class PackedLinear(nn.Linear):
    """`torch.nn.Linear`, with its weights packed when it is first used for inference on a processor."""

    _packed: tuple[tuple[int, int], Tensor] | None = None

    def forward(self, rows: Tensor) -> Tensor:
        """Give ``rows @ weight.T + bias``, [..., out_features]."""
        if self.takes(rows):
            return self.product(rows)
        self._packed = None  # It may be trained: fused optimizers change weights without a trace in their version.
        return super().forward(rows)

    def takes(self, rows: Tensor) -> bool:
        """Whether the packed weights can be used: for inference, on a processor, in the weights' own type."""
        return (
            is_cpu_inference(rows)
            and self.weight.device.type == "cpu"
            and rows.dtype == self.weight.dtype
            and rows.dtype in _types()
            and rows.numel() > 0
        )

    def product(self, rows: Tensor, activation: str = "none") -> Tensor:
        """Give the product, through an activation that oneDNN knows: "none" or "gelu", the exact one."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._weight(), self.bias, activation, [], "none")
        return found

    def _weight(self) -> Tensor:
        key = (self.weight.data_ptr(), 0 if self.weight.is_inference() else self.weight._version)
        if self._packed is None or self._packed[0] != key:
            self._packed = key, torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), ROWS)
            page_out(self.weight)
        return self._packed[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the packed copy out of copies: it cannot be copied, and is made again."""
        return {name: value for name, value in vars(self).items() if name != "_packed"}


class _FusedGelu:
    """Stands for the forward pass of a module that is a linear layer and GELU behind it, as BERT's ``intermediate``."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, hidden_states: Tensor) -> Tensor:
        layer: Any = self._module.dense
        if isinstance(layer, PackedLinear) and layer.takes(hidden_states):
            return layer.product(hidden_states, "gelu")
        plain: Tensor = type(self._module).forward(self._module, hidden_states)
        return plain


def _is_linear_gelu(module: nn.Module) -> bool:
    children = dict(module.named_children())
    if set(children) != {"dense", "intermediate_act_fn"} or type(children["dense"]) is not PackedLinear:
        return False
    activation = children["intermediate_act_fn"]
    return type(module).__name__.endswith("Intermediate") and getattr(activation, "act", None) is nn.functional.gelu


def is_cpu_inference(rows: Tensor) -> bool:
    """Whether these are computed for inference, as they are, on a processor: not compiled, nor in autocast's types."""
    return (
        torch.is_inference_mode_enabled()
        and rows.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _types() -> tuple[torch.dtype, ...]:
    """Give the types that this torch and this processor have the products in: they are made for torch's compiler."""
    possible = []
    for dtype in (torch.float32, torch.bfloat16):
        try:
            with torch.inference_mode():
                weight = torch.ops.mkldnn._reorder_linear_weight(torch.eye(16, dtype=dtype), ROWS)
                torch.ops.mkldnn._linear_pointwise(torch.ones(2, 16, dtype=dtype), weight, None, "gelu", [], "none")
        except (AttributeError, RuntimeError, NotImplementedError):
            continue
        possible.append(dtype)
    return tuple(possible)
