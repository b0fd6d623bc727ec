"""Vectors of length one."""

from typing import Any

import torch

from retrieve.encoders.modules.module import Features, Module


class Normalize(Module):
    """Divide each vector by its Euclidean length (at least 1e-12)."""

    config_keys = ("module_input_name", "module_output_name")

    def __init__(
        self, module_input_name: str = "sentence_embedding", module_output_name: str = "sentence_embedding"
    ) -> None:
        super().__init__()
        self.module_input_name, self.module_output_name = module_input_name, module_output_name
        self.output = module_output_name

    @property
    def saved_config(self) -> dict[str, Any]:
        """Its settings where they are not the usual ones: older releases have none."""
        usual = self.module_input_name == self.module_output_name == "sentence_embedding"
        return {} if usual else self.config

    def forward(self, features: Features) -> Features:
        """Normalise over the last dimension."""
        features[self.module_output_name] = torch.nn.functional.normalize(features[self.module_input_name], dim=-1)
        return features
