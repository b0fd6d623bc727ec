"""Adaptive layers: train earlier layers to give usable vectors too, optionally combined with Matryoshka."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from indexing.errors import InputError
from pipelines.training.losses.base import EmbeddingLoss, Features, WrapperLoss, total
from pipelines.training.losses.matryoshka import MatryoshkaLoss
from pipelines.training.model import EmbeddingModel


class AdaptiveLayerLoss(WrapperLoss):
    """Another loss on the last layer and on some earlier ones, with a KL divergence of the earlier from the last.

    Parameters
    ----------
    loss
        The loss of each layer's vectors.
    n_layers_per_step
        Number of earlier layers, drawn anew in each step; -1 for all.
    last_layer_weight, prior_layers_weight
        Weights of the last layer's loss and of the mean of the earlier layers' losses.
    kl_div_weight, kl_temperature
        Weight and temperature T of KL(softmax(last / T) || softmax(earlier / T)) * T over the vectors' dimensions; a
        temperature of 0 omits it.
    layer_weighting
        Weight of layer i, counted from 0: "uniform" 1, "linear" 1 / (1 + i), "log" 1 / (1 + log(1 + i)), or a function
        of i.

    References
    ----------
    Li et al., "2D Matryoshka Sentence Embeddings", 2024.
    """

    model: EmbeddingModel

    def __init__(
        self,
        model: Any,
        loss: EmbeddingLoss,
        n_layers_per_step: int = 1,
        last_layer_weight: float = 1.0,
        prior_layers_weight: float = 1.0,
        kl_div_weight: float = 1.0,
        kl_temperature: float = 0.3,
        layer_weighting: Literal["uniform", "log", "linear"] | Callable[[int], float] = "uniform",
    ) -> None:
        super().__init__(model, loss)
        if not callable(layer_weighting) and layer_weighting not in _WEIGHTS:
            raise InputError(f"layer_weighting must be uniform, log, linear or a function, not {layer_weighting!r}")
        if not isinstance(self.model, EmbeddingModel):
            raise InputError(f"{type(self).__name__} needs an encoder, whose layers can be run separately")
        self.warn_of_caching()
        self.n_layers_per_step = n_layers_per_step
        self.last_layer_weight, self.prior_layers_weight = last_layer_weight, prior_layers_weight
        self.kl_div_weight, self.kl_temperature = kl_div_weight, kl_temperature
        self.layer_weighting = layer_weighting

    def forward(self, columns: Sequence[Features], labels: Tensor | None = None) -> Tensor:
        """Embed the columns at the last layer and at the drawn earlier ones, and return the loss."""
        columns = list(columns)
        targets = self.loss.targets(columns, labels)
        layers = [self.model.layers(column) for column in columns]
        last = [column[-1]() for column in layers]
        loss = total(self.loss.loss_from_embeddings(last, targets)) * self.last_layer_weight
        temperature = self.kl_temperature
        truth = torch.softmax(torch.cat(last) / temperature, dim=-1).detach() if temperature > 0 else None
        layer_numbers: Sequence[int] = range(len(layers[0]) - 1)
        if 0 < self.n_layers_per_step < len(layer_numbers):
            layer_numbers = random.sample(layer_numbers, self.n_layers_per_step)
        weigh = _WEIGHTS[self.layer_weighting] if isinstance(self.layer_weighting, str) else self.layer_weighting
        for layer in layer_numbers:
            early = [column[layer]() for column in layers]
            part = total(self.loss.loss_from_embeddings(early, targets))
            loss = loss + part * weigh(layer) / len(layer_numbers) * self.prior_layers_weight
            if truth is not None:
                guess = torch.log_softmax(torch.cat(early) / temperature, dim=-1)
                loss = loss + F.kl_div(guess, truth, reduction="batchmean") * temperature * self.kl_div_weight
        return loss

    def loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """Raise InputError: embeddings alone do not contain the layers."""
        raise InputError(f"{type(self).__name__} needs the layers of a transformer, so no other loss can wrap it")


class Matryoshka2dLoss(AdaptiveLayerLoss):
    """`AdaptiveLayerLoss` over `MatryoshkaLoss`: fewer layers and fewer dimensions."""

    def __init__(
        self,
        model: Any,
        loss: EmbeddingLoss,
        matryoshka_dims: Sequence[int],
        matryoshka_weights: Sequence[float] | None = None,
        n_layers_per_step: int = 1,
        n_dims_per_step: int = 1,
        **arguments: Any,
    ) -> None:
        inner = MatryoshkaLoss(model, loss, matryoshka_dims, matryoshka_weights, n_dims_per_step)
        super().__init__(model, inner, n_layers_per_step, **arguments)


_WEIGHTS: dict[str, Callable[[int], float]] = {
    "uniform": lambda layer: 1.0,
    "linear": lambda layer: 1.0 / (1 + layer),
    "log": lambda layer: 1.0 / (1.0 + math.log(1 + layer)),
}
