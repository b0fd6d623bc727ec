"""CrossEncoder: reads two texts together and scores how well they match."""

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from retrieve.encoders.base import LoadArguments, PromptedEncoder
from retrieve.encoders.checkpoint import Step
from retrieve.encoders.saving import save_modules
from retrieve.encoders.workers import EncoderWorkers, worker_pool

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


class CrossEncoder(PromptedEncoder):
    """Scores pairs of texts with a sequence-classification model, or a language model that says yes or no.

    Nogueira and Cho, "Passage Re-ranking with BERT", 2019.

    Parameters
    ----------
    model
        See `Encoder` and `PromptedEncoder`, also for the arguments that are not named here.
    activation
        Applied to the logits, in float32. By default what the checkpoint names (in config_sentence_transformers.json,
        then config.json), else a sigmoid for one label and nothing for several, as in sentence-transformers.
    """

    kind = "cross"
    organisation = "cross-encoder"
    saved_as = "CrossEncoder"
    default_steps = (Step("Transformer", config={"transformer_task": "sequence-classification"}),)
    causal_steps = (Step("Transformer", config={"transformer_task": "text-generation"}), Step("LogitScore", config={}))
    output = "scores"

    def __init__(
        self,
        model: str | Path,
        *,
        activation: "Callable[[Tensor], Tensor] | None" = None,
        **arguments: Unpack[LoadArguments],
    ) -> None:
        super().__init__(model, **arguments)
        self.activation = activation or self._default_activation()

    @property
    def labels(self) -> int:
        """How many scores the model gives to a pair."""
        return self.dimension

    @property
    def settings(self) -> dict[str, Any]:
        """As every prompted encoder's, and its activation."""
        from retrieve.encoders.modules.activation import activation_path

        return super().settings | {"activation_fn": activation_path(self.activation)}

    def save(self, path: str | Path) -> None:
        """Write the encoder; a sequence classifier as transformers does, which every release reads.

        See `Encoder.save`. An activation that is no class of torch is written by name and not found again.
        """
        from retrieve.encoders.modules.transformer import Transformer

        first = self.modules[0]
        if len(self.modules) > 1 or not isinstance(first, Transformer):
            return super().save(path)
        # Where releases before 5.4 look for it.
        first.model.config.sentence_transformers = {"activation_fn": self.settings["activation_fn"]}
        return save_modules(self.modules, Path(path), self.settings, listed=False, card=self._card())

    def predict(
        self,
        pairs: Iterable[tuple[str, str]] | tuple[str, str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers[Any] | None = None,
        device: Sequence[str] | None = None,
    ) -> NDArray[np.float32]:
        """Score pairs of texts.

        Parameters
        ----------
        pairs
            Any number of (query, document); what is longer than `max_length` loses from its longer part.
        prompt, prompt_name
            Put before each first text, instead of the checkpoint's default: this, or the one of the encoder's `prompts`
            that has the name.
        show_progress
            A progress bar on stderr, counted in pairs.
        token_budget
            The most tokens in a batch, with padding where that is computed, instead of what is best for the device.
        pool
            Other processes to score in, of `start_multi_process_pool`.
        device
            A list of devices instead, of one process each, which end with the call.

        Returns
        -------
        float32 [pairs], or [pairs, labels] when the model has several
            In the order of `pairs`; of one pair a number, or [labels].

        Raises
        ------
        InputError
            Naming the position of something that is not a pair of texts.
        """
        if isinstance(pairs, tuple) and [type(part) for part in pairs] == [str, str]:
            return self.predict(
                [pairs], prompt=prompt, prompt_name=prompt_name, token_budget=token_budget, pool=pool, device=device
            )[0]
        prompt = self.resolve_prompt(prompt, None, prompt_name)
        if pool is not None or device is not None:
            several: Iterable[Any] = pairs
            with worker_pool(self, pool, device) as workers:
                scored = list(
                    workers.predict_stream(
                        several, prompt=prompt, show_progress=show_progress, token_budget=token_budget
                    )
                )
            return np.concatenate(scored) if scored else self.predict([])
        blocks = [np.empty((0, self.labels), np.float32)]
        for chunk in self.engine.chunks(
            pairs, pairs=True, prompt=prompt, show_progress=show_progress, token_budget=token_budget
        ):
            scores = np.empty((len(chunk), self.labels), np.float32)
            for rows, features in chunk.run():
                scores[rows] = self.activation(features["scores"].float()).cpu().numpy()
            blocks.append(scores[chunk.inverse])
        scores = np.concatenate(blocks)
        return scores[:, 0] if self.labels == 1 else scores

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show_progress: bool = False,
        pool: EncoderWorkers[Any] | None = None,
        device: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Order documents by their score for a query; options as `predict` has them.

        Returns
        -------
        list of {"corpus_id": position in `documents`, "score": float}
            Best first, equal scores in their given order; the first `top_k`.

        Raises
        ------
        InputError
            When the model gives several scores to a pair.
        """
        if self.labels != 1:
            raise InputError(f"rank needs a model with one label, and {self.checkpoint.name} has {self.labels}")
        scores = self.predict(
            [(query, document) for document in documents],
            prompt=prompt,
            prompt_name=prompt_name,
            show_progress=show_progress,
            pool=pool,
            device=device,
        )
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"corpus_id": int(place), "score": float(scores[place])} for place in order]

    def _subclass_arguments(self) -> dict[str, Any]:
        return {"activation": self.activation}

    def _default_activation(self) -> "Callable[[Tensor], Tensor]":
        import torch

        from retrieve.encoders.modules.activation import torch_activation

        config = self.checkpoint.config
        for named in (
            self.checkpoint.settings.get("activation_fn"),
            (config.get("sentence_transformers") or {}).get("activation_fn"),
            config.get("sbert_ce_default_activation_function"),
        ):
            found = torch_activation(named) if named else None
            if found is not None:
                return found
            if named:
                logger.warning(
                    "%s: the activation %r is not one of torch's and is left out", self.checkpoint.name, named
                )
        return torch.nn.Sigmoid() if self.labels == 1 else torch.nn.Identity()
