"""Cross-encoder: reads two texts together and scores how well they match."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ModelError
from indexing.inputs import local_path, text, texts, whole_number
from retrieve.encoders.base import LoadArguments
from retrieve.encoders.engine import check_finite
from retrieve.encoders.modules import Step
from retrieve.encoders.prompted import PromptedEncoder
from retrieve.encoders.saving import save_modules
from retrieve.encoders.workers import EncoderWorkers, worker_pool

if TYPE_CHECKING:
    from torch import Tensor


class CrossEncoder(PromptedEncoder):
    """Scorer of text pairs, by a sequence-classification model or a language model that answers yes or no.

    Nogueira and Cho, "Passage Re-ranking with BERT", 2019.

    Parameters
    ----------
    model, arguments
        See `Encoder` and `PromptedEncoder`.
    activation
        Applied to the logits in float32. By default the one named in the checkpoint's
        config_sentence_transformers.json or config.json, or else a sigmoid for one label and the identity for several,
        as in sentence-transformers.
    """

    kind = "cross"
    organisation = "cross-encoder"
    model_type = "CrossEncoder"
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
        """Number of scores per pair."""
        return self.dimension

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the encoder, including its activation."""
        from retrieve.encoders.modules.activation import activation_path

        return super().settings | {"activation_fn": activation_path(self.activation)}

    def save(self, path: str | Path) -> None:
        """Save the encoder as `Encoder.save` does; a sequence classifier in plain transformers layout.

        An activation that is not a class of torch is saved by name; to load the encoder, pass `activation` again.
        """
        from retrieve.encoders.modules.transformer import Transformer

        first = self.modules[0]
        if len(self.modules) > 1 or not isinstance(first, Transformer) or getattr(first.model, "peft_config", None):
            return super().save(path)
        # sentence-transformers before 5.4 reads the activation from here.
        first.model.config.sentence_transformers = {"activation_fn": self.settings["activation_fn"]}
        return save_modules(self.modules, local_path(path, "path"), self.settings, listed=False, card=self._card())

    def predict(
        self,
        pairs: Iterable[tuple[str, str]] | tuple[str, str],
        *,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
    ) -> NDArray[np.float32]:
        """Score pairs of texts.

        Parameters
        ----------
        pairs
            Any number of (query, document), or one. In a pair longer than `max_length`, the longer text is truncated.
        prompt, prompt_name
            Prompt before each first text instead of the default one, as text or by its name in the encoder's `prompts`.
        show_progress
            Show a progress bar on stderr, counted in pairs.
        token_budget
            Maximum tokens in a batch, including padding that is computed; by default the best for the device.
        pool
            Worker processes to score in, from `start_multi_process_pool`.
        device
            List of devices to score on, with one process each for the length of the call.

        Returns
        -------
        float32 [pairs], or [pairs, labels] if the model has several
            In the order of `pairs`; for a single pair a number, or [labels].

        Raises
        ------
        InputError
            If an item is not a pair of texts; the message has its position.
        """
        if isinstance(pairs, tuple) and [type(part) for part in pairs] == [str, str]:
            return self.predict(
                [pairs], prompt=prompt, prompt_name=prompt_name, token_budget=token_budget, pool=pool, device=device
            )[0]
        prompt = self.resolve_prompt(prompt, None, prompt_name)
        if pool is not None or device is not None:
            items: Iterable[Any] = pairs
            with worker_pool(self, pool, device) as workers:
                scored = list(
                    workers.predict_stream(items, prompt=prompt, show_progress=show_progress, token_budget=token_budget)
                )
            return np.concatenate(scored) if scored else self.predict([])
        blocks = [np.empty((0, self.labels), np.float32)]
        for chunk in self.engine.chunks(
            pairs, pairs=True, prompt=prompt, show_progress=show_progress, token_budget=token_budget
        ):
            scores = np.empty((len(chunk), self.labels), np.float32)
            for rows, output in chunk.run(
                lambda _, features: self.activation(features["scores"].float()).cpu().numpy()
            ):
                scores[rows] = output
            check_finite(scores, self.checkpoint.name)
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
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
    ) -> list[dict[str, Any]]:
        """Rank documents by their score for a query; see `predict` for the options.

        Returns
        -------
        list of {"corpus_id": position in `documents`, "score": float}
            The `top_k` best (by default all), best first; equal scores stay in input order.

        Raises
        ------
        InputError
            If the model has several labels.
        """
        if self.labels != 1:
            raise InputError(f"rank needs a model with one label, but {self.checkpoint.name} has {self.labels}")
        query, top_k = text(query, "query"), None if top_k is None else whole_number(top_k, "top_k")
        scores = self.predict(
            [(query, document) for document in texts(documents, "documents")],
            prompt=prompt,
            prompt_name=prompt_name,
            show_progress=show_progress,
            pool=pool,
            device=device,
        )
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"corpus_id": int(at), "score": float(scores[at])} for at in order]

    def _subclass_arguments(self) -> dict[str, Any]:
        return {"activation": self.activation}

    def _default_activation(self) -> "Callable[[Tensor], Tensor]":
        import torch

        from retrieve.encoders.modules.activation import torch_activation

        config = self.checkpoint.config
        for name in (
            self.checkpoint.settings.get("activation_fn"),
            (config.get("sentence_transformers") or {}).get("activation_fn"),
            config.get("sbert_ce_default_activation_function"),
        ):
            if name is None or name == "":
                continue
            if (activation := torch_activation(name)) is None:
                raise ModelError(
                    f"{self.checkpoint.folder}: the activation {name!r} in its settings is not one of torch.nn, and "
                    "another would change the scores: pass activation=..."
                )
            return activation
        return torch.nn.Sigmoid() if self.labels == 1 else torch.nn.Identity()
