"""Multi-vector encoder: texts to one vector for each token, for late interaction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import flag, number, require_positive
from indexing.token_vectors import TokenVectors
from retrieve.encoders.base import LoadArguments, Task
from retrieve.encoders.colbert_layouts import read_layout
from retrieve.encoders.compared import TOKEN_SIMILARITIES, ComparesTokens, NamedSimilarity
from retrieve.encoders.engine import Chunk, check_finite
from retrieve.encoders.prompted import PromptedEncoder
from retrieve.encoders.workers import EncoderWorkers, worker_pool

if TYPE_CHECKING:
    from torch import Tensor

    from retrieve.encoders.modules.module import Features, LoadOptions, Module

TEXTS_PER_CHUNK = 512
"""Texts whose token vectors are held beside the result: 50 MB for 180 tokens of 128 dimensions."""

TokenPrecision = Literal["float32", "float16"]


class MultiVectorOptions(TypedDict, total=False):
    """Keyword arguments of `MultiVectorEncoder`'s encode methods, documented in `encode`."""

    prompt: str | None
    prompt_name: str | None
    normalize: bool
    pool_factor: float | None
    precision: TokenPrecision
    show_progress: bool
    token_budget: int | None
    pool: EncoderWorkers | None
    device: Sequence[str] | None
    convert_to: Literal["ragged", "list", "torch"]


class MultiVectorEncoder(NamedSimilarity, ComparesTokens, PromptedEncoder):
    """Encoder of texts as one vector for each token that counts, as ColBERT does.

    Vectors equal those of sentence-transformers for its checkpoints, PyLate's and Stanford ColBERT's. Khattab and
    Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late Interaction over BERT", 2020.

    Parameters
    ----------
    model, arguments
        See `Encoder` and `PromptedEncoder`.
    pool_factor
        Pools the vectors of documents as `encode` does with this factor.
    query_length, document_length
        Truncate queries, or documents, to this many tokens; by default the checkpoint's setting. A checkpoint that
        fills up queries to a fixed length fills them up to `query_length`.

    Raises
    ------
    ModelError
        Also if the checkpoint is not a late-interaction model, or lacks its projection.

    Examples
    --------
    >>> encoder = MultiVectorEncoder("lightonai/GTE-ModernColBERT-v1")  # doctest: +SKIP
    >>> queries = encoder.encode_query(["how do vaccines work"])  # doctest: +SKIP
    >>> documents = encoder.encode_document(["Vaccines train the immune system."])  # doctest: +SKIP
    >>> encoder.similarity(queries, documents).shape  # doctest: +SKIP
    torch.Size([1, 1])
    """

    kind = "multi-vector"
    similarities, default_similarity = TOKEN_SIMILARITIES, "maxsim"
    organisation = "lightonai"
    model_type = "MultiVectorEncoder"
    default_steps = ()
    output = "token_embeddings"

    def __init__(
        self,
        model: str | Path,
        *,
        query_length: int | None = None,
        document_length: int | None = None,
        pool_factor: float | None = None,
        **arguments: Unpack[LoadArguments],
    ) -> None:
        require_positive(query_length=query_length, document_length=document_length)
        self._query_length, self._document_length = query_length, document_length
        self.pool_factor = None if pool_factor is None else number(pool_factor, "pool_factor", least=1)
        super().__init__(model, **arguments)

    def pooled(self, pool_factor: float) -> Self:
        """Return an encoder with the same weights that pools the vectors of documents by default."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.pool_factor = number(pool_factor, "pool_factor", least=1)
        return other

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the encoder, including its similarity and pooling."""
        pooling = {} if self.pool_factor is None else {"pool_factor": self.pool_factor}
        return super().identity | {"similarity": self.similarity_fn_name} | pooling

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the encoder, including its similarity."""
        return super().settings | {"similarity_fn_name": self.similarity_fn_name}

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        task: Task | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize: bool = False,
        pool_factor: float | None = None,
        precision: TokenPrecision = "float32",
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
        convert_to: Literal["ragged", "list", "torch"] = "ragged",
    ) -> "TokenVectors | NDArray[Any] | list[NDArray[Any]] | Tensor | list[Tensor]":
        """Encode texts.

        Parameters
        ----------
        texts
            One text, or any number. A generator is read in chunks.
        task
            "query" or "document"; selects the prompt, the length and which tokens count. A text without a task has
            the tokens of a document and the model's own length.
        prompt, prompt_name
            Prompt to use instead of the task's, as text or by its name in the encoder's `prompts`.
        normalize
            Scale each vector to unit length, even if the checkpoint does not.
        pool_factor
            Pool the vectors of each document to about this part of their number, by `pool_tokens`; queries keep all.
        precision
            "float16" halves the memory; scores change by about 3e-4.
        show_progress
            Show a progress bar on stderr, counted in texts.
        token_budget
            Maximum tokens in a batch, including padding that is computed; by default the best for the device.
        pool
            Worker processes to encode in, from `start_multi_process_pool`.
        device
            List of devices to encode on, with one process each for the length of the call.
        convert_to
            "ragged" for one array with offsets, "list" for an array each text, "torch" for a tensor each text.

        Returns
        -------
        TokenVectors
            In the order of `texts`. A text of which no token counts has no vectors. With "list" or "torch" a list of
            [tokens, dim]; for a single text only its array (or tensor).

        Raises
        ------
        InputError
            If an item is not a text (the message has its position).
        """
        if convert_to not in ("ragged", "list", "torch"):
            raise InputError(f"convert_to must be ragged, list or torch, not {convert_to!r}")
        _check_precision(precision)
        single = isinstance(texts, str)
        blocks = self.encode_stream(
            [texts] if isinstance(texts, str) else texts,
            task=task,
            prompt=prompt,
            prompt_name=prompt_name,
            normalize=normalize,
            pool_factor=pool_factor,
            precision=precision,
            show_progress=show_progress,
            token_budget=token_budget,
            pool=pool,
            device=device,
        )
        encoded = TokenVectors.join(blocks, self.dimension, np.dtype(precision))
        if convert_to == "ragged" and not single:
            return encoded
        arrays = encoded.to_list()
        if convert_to != "torch":
            return arrays[0] if single else arrays
        import torch

        tensors = [torch.from_numpy(array) for array in arrays]
        return tensors[0] if single else tensors

    def encode_query(self, texts: str | Iterable[str], **options: Unpack[MultiVectorOptions]) -> Any:
        """Encode queries: `encode` with task="query"."""
        return self.encode(texts, task="query", **options)

    def encode_document(self, texts: str | Iterable[str], **options: Unpack[MultiVectorOptions]) -> Any:
        """Encode documents: `encode` with task="document"."""
        return self.encode(texts, task="document", **options)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        task: Task | None = None,
        chunk: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize: bool = False,
        pool_factor: float | None = None,
        precision: TokenPrecision = "float32",
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
    ) -> Iterator[TokenVectors]:
        """Encode a stream of texts, yielding blocks of up to `chunk` texts in order; see `encode`."""
        _check_precision(precision)
        normalize = flag(normalize, "normalize")
        pool_factor = self.pool_factor if pool_factor is None else number(pool_factor, "pool_factor", least=1)
        prompt = self.resolve_prompt(prompt, task, prompt_name)
        options: dict[str, Any] = {"normalize": normalize, "pool_factor": pool_factor, "precision": precision}
        if pool is not None or device is not None:
            with worker_pool(self, pool, device) as workers:
                yield from workers.encode_stream(
                    texts,
                    chunk=chunk,
                    show_progress=show_progress,
                    token_budget=token_budget,
                    task=task,
                    prompt=prompt,
                    **options,
                )
            return
        for block in self.engine_for(task).chunks(
            texts,
            prompt=prompt,
            chunk_size=TEXTS_PER_CHUNK if chunk is None else chunk,
            show_progress=show_progress,
            token_budget=token_budget,
            task=task,
            settings={"task": task},
        ):
            yield self._vectors(block, normalize, None if task == "query" else pool_factor, np.dtype(precision))

    def _vectors(
        self, chunk: Chunk, normalize: bool, pool_factor: float | None, dtype: "np.dtype[Any]"
    ) -> TokenVectors:
        import torch

        from retrieve.encoders.modules.token_pooling import pool_tokens

        def finish(rows: NDArray[np.int64], features: "Features") -> TokenVectors:
            mask = features["attention_mask"].bool()
            vectors = features["token_embeddings"][mask].float()
            if normalize:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
            offsets = np.concatenate(([0], mask.sum(dim=1).cumsum(0).cpu().numpy()))
            return TokenVectors(offsets, vectors.cpu().numpy())

        order, blocks = [], []
        for rows, block in chunk.run(finish):
            check_finite(block.vectors, self.checkpoint.name)
            if pool_factor is not None:
                block = TokenVectors.of([pool_tokens(text, pool_factor) for text in block.to_list()])
            order.append(rows)
            blocks.append(block._replace(vectors=block.vectors.astype(dtype, copy=False)))
        return TokenVectors.join(blocks, self.dimension, dtype).take(chunk.places(order))

    def _load_modules(self, options: "LoadOptions") -> "list[Module]":
        from retrieve.encoders.modules.multi_vector_mask import MultiVectorMask
        from retrieve.encoders.modules.router import modules_for_task
        from retrieve.encoders.modules.transformer import Transformer

        self.checkpoint, markers = read_layout(self.checkpoint)
        modules = super()._load_modules(
            replace(options, query_length=self._query_length, document_length=self._document_length)
        )
        for task in ("query", "document"):
            route = modules_for_task(modules, task)
            first = next((module for module in route if isinstance(module, Transformer)), None)
            if first is None:
                continue
            keep_whole(first.tokenizer, markers)
            for module in route:
                if isinstance(module, MultiVectorMask):
                    module.resolve(first.tokenizer)
        return modules

    def _check_kind(self) -> None:
        if self.checkpoint.steps and self.checkpoint.settings.get("model_type") in ("SparseEncoder", "CrossEncoder"):
            super()._check_kind()

    def _subclass_arguments(self) -> dict[str, Any]:
        return {
            "query_length": self._query_length,
            "document_length": self._document_length,
            "pool_factor": self.pool_factor,
        }


def keep_whole(tokenizer: Any, markers: Sequence[str]) -> None:
    """Make a tokenizer read each marker as one token where its vocabulary has it, as text before a text."""
    from transformers import AddedToken

    vocabulary = tokenizer.get_vocab()
    for marker in markers:
        candidates = [marker, marker.split(None, 1)[0]] if marker.split() else []
        known = next((name for name in candidates if name in vocabulary), None)
        if known is not None and tokenizer.tokenize(known) != [known]:
            tokenizer.add_tokens([AddedToken(known, normalized=False, special=True)], special_tokens=True)


def _check_precision(precision: Any) -> None:
    if precision not in ("float32", "float16"):
        raise InputError(f"precision must be float32 or float16, not {precision!r}")
