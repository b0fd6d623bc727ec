"""Linear layer with an activation, which changes the width of vectors."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from indexing.errors import ModelError
from retrieve.encoders.modules.activation import activation_path, torch_activation
from retrieve.encoders.modules.module import Features, LoadOptions, Module
from retrieve.encoders.modules.weights import read_named_weights

logger = logging.getLogger(__name__)


class Dense(Module):
    """Linear layer activation(W x + b) in float32; `use_residual` adds x, or R x if the widths differ.

    The activation is the dotted path of a torch module; any other falls back to tanh, as in sentence-transformers.
    """

    config_keys = (
        "in_features",
        "out_features",
        "bias",
        "activation_function",
        "module_input_name",
        "module_output_name",
        "use_residual",
    )

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation_function: str = "torch.nn.modules.activation.Tanh",
        module_input_name: str = "sentence_embedding",
        module_output_name: str | None = None,
        use_residual: bool = False,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = in_features, out_features, bias
        self.module_input_name, self.use_residual = module_input_name, use_residual
        self.module_output_name = self.output = module_output_name or module_input_name
        activation = torch_activation(activation_function)
        if activation is None and activation_function.startswith("torch."):
            raise ModelError(f"the activation {activation_function!r} of a Dense module is not one of torch.nn")
        if activation is None:
            logger.warning("the activation %r is not a torch module: using tanh instead", activation_function)
        self.activation = activation or torch.nn.Tanh()
        self.activation_function = activation_path(self.activation)
        self.linear = torch.nn.Linear(in_features, out_features, bias=bias)
        if use_residual and in_features != out_features:
            self.residual = torch.nn.Linear(in_features, out_features, bias=False)

    @classmethod
    def upgrade_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        """Ignore settings added by other libraries, as sentence-transformers does."""
        unknown = sorted(set(config) - set(cls.config_keys))
        if unknown:
            logger.warning("ignoring settings that Dense does not have: %s", ", ".join(unknown))
        return {key: value for key, value in config.items() if key in cls.config_keys}

    @property
    def config(self) -> dict[str, Any]:
        """Settings; `use_residual`, unknown to older releases, only if it is set."""
        return {key: value for key, value in super().config.items() if key != "use_residual" or value}

    @property
    def saved_config(self) -> dict[str, Any]:
        """Settings without the names of input and output if these are the default."""
        names = ("module_input_name", "module_output_name")
        return {key: value for key, value in self.config.items() if key not in names or value != "sentence_embedding"}

    def forward(self, features: Features) -> Features:
        """Project the last dimension from `in_features` to `out_features`."""
        vectors = features[self.module_input_name].float()
        projected = self.activation(self.linear(vectors))
        if self.use_residual:
            projected = projected + (vectors if self.in_features == self.out_features else self.residual(vectors))
        features[self.module_output_name] = projected
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return `out_features`."""
        return self.out_features


class ColBERTProjection(Dense):
    """Projection in a checkpoint of Stanford's ColBERT: a weight beside those of the transformer, without a bias."""

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Any:
        """Load it as a `Dense` over token vectors; raise ModelError if the checkpoint has no projection."""
        weights = read_named_weights(folder, "linear.", allow_bin=options.allow_bin)
        if "weight" not in weights or weights["weight"].dim() != 2:
            raise ModelError(f"{folder}: there is no projection (linear.weight), which a ColBERT model needs")
        width, hidden = weights["weight"].shape
        module = Dense(hidden, width, False, "torch.nn.modules.linear.Identity", "token_embeddings")
        module.linear.weight.data = weights["weight"].float()
        return module
