"""Normalization of vectors to unit length."""

from typing import Any

import torch

from retrieve.encoders.modules.module import Features, Module


class Normalize(Module):
    """Division of each vector by its Euclidean norm (at least 1e-12)."""

    config_keys = ("module_input_name", "module_output_name")

    def __init__(
        self, module_input_name: str = "sentence_embedding", module_output_name: str = "sentence_embedding"
    ) -> None:
        super().__init__()
        self.module_input_name, self.module_output_name = module_input_name, module_output_name
        self.output = module_output_name

    @property
    def saved_config(self) -> dict[str, Any]:
        """Settings if they are not the default: older releases have none."""
        default = self.module_input_name == self.module_output_name == "sentence_embedding"
        return {} if default else self.config

    def forward(self, features: Features) -> Features:
        """Normalize the last dimension."""
        features[self.module_output_name] = torch.nn.functional.normalize(features[self.module_input_name], dim=-1)
        return features
