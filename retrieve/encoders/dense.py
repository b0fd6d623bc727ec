"""Dense encoder: texts to vectors."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.inputs import flag, listed, whole_number
from indexing.plurals import counted
from indexing.token_vectors import TokenVectors
from retrieve.encoders.array_output import check_out, fill, gather
from retrieve.encoders.base import LoadArguments, Task
from retrieve.encoders.compared import ComparesVectors, NamedSimilarity
from retrieve.encoders.engine import TEXTS_PER_CHUNK, Chunk, check_finite
from retrieve.encoders.functions import DenseFunction
from retrieve.encoders.modules import Step
from retrieve.encoders.prompted import PromptedEncoder
from retrieve.encoders.quantize import Precision, check_precision, quantize, quantized_type, quantized_width
from retrieve.encoders.token_output import TokenOutput
from retrieve.encoders.workers import EncoderWorkers, worker_pool

if TYPE_CHECKING:
    from torch import Tensor

    from retrieve.encoders.modules.module import Features


class DenseOptions(TypedDict, total=False):
    """Keyword arguments of `DenseEncoder`'s encode methods, documented in `encode`."""

    prompt: str | None
    prompt_name: str | None
    normalize: bool
    truncate_dim: int | None
    precision: Precision
    ranges: NDArray[Any] | None
    show_progress: bool
    token_budget: int | None
    out: NDArray[Any] | None
    pool: EncoderWorkers | None
    device: Sequence[str] | None


class DenseEncoder(NamedSimilarity, ComparesVectors, PromptedEncoder):
    """Encoder of texts as float32 vectors.

    Vectors equal those of sentence-transformers for its checkpoints. A plain transformers checkpoint is pooled by the
    mean, a causal language model by its last token. Reimers and Gurevych, "Sentence-BERT", 2019.

    Parameters
    ----------
    model, arguments
        See `Encoder` and `PromptedEncoder`.
    truncate_dim
        Keep only this many leading dimensions, of a model trained for that (Kusupati et al., "Matryoshka
        Representation Learning", 2022); by default the checkpoint's setting, or all.

    Examples
    --------
    >>> encoder = DenseEncoder("sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    >>> encoder.encode_query("how do vaccines work").shape  # doctest: +SKIP
    (384,)
    """

    of = staticmethod(DenseFunction)
    kind = "dense"
    organisation = "sentence-transformers"
    model_type = "SentenceTransformer"
    default_steps = (Step("Transformer", config={}), Step("Pooling", config={}))
    causal_steps = (Step("Transformer", config={}), Step("Pooling", config={"pooling_mode": "lasttoken"}))

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the encoder, including its similarity and `truncate_dim`."""
        truncation = {} if self.truncate_dim is None else {"truncate_dim": self.truncate_dim}
        return super().settings | {"similarity_fn_name": self.similarity_fn_name} | truncation

    def __init__(
        self, model: str | Path, *, truncate_dim: int | None = None, **arguments: Unpack[LoadArguments]
    ) -> None:
        super().__init__(model, **arguments)
        self._full_dimension = self.dimension
        chosen = self.checkpoint.settings.get("truncate_dim") if truncate_dim is None else truncate_dim
        self.truncate_dim = None if chosen is None else whole_number(chosen, "truncate_dim")

    @property
    def truncate_dim(self) -> int | None:
        """Number of leading dimensions that are kept; None for all. Setting it changes `dimension` too."""
        return self._truncate_dim

    @truncate_dim.setter
    def truncate_dim(self, truncate_dim: int | None) -> None:
        self.dimension = self._width(truncate_dim)
        self._truncate_dim = truncate_dim

    def _implied_steps(self) -> Sequence[Step]:
        if self.checkpoint.config.get("model_type") != "nvembed":
            return super()._implied_steps()
        from retrieve.encoders.modules.nv_embed import implied_steps

        return implied_steps(self.checkpoint.config)

    def truncated(self, dimension: int) -> Self:
        """Return an encoder with the same weights whose vectors keep only so many leading dimensions.

        Raises
        ------
        InputError
            For more dimensions than the model has.
        """
        if dimension > self._full_dimension:
            raise InputError(
                f"{self.checkpoint.name} has {counted(self._full_dimension, 'dimension')}, fewer than {dimension}"
            )
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        other.truncate_dim = dimension
        return other

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the encoder, including its similarity."""
        return super().identity | {"similarity": self.similarity_fn_name}

    @overload
    def encode(
        self,
        texts: str | Iterable[str],
        *,
        task: Task | None = None,
        convert_to: Literal["numpy"] = "numpy",
        **options: Unpack[DenseOptions],
    ) -> NDArray[Any]: ...
    @overload
    def encode(
        self,
        texts: str | Iterable[str],
        *,
        task: Task | None = None,
        convert_to: Literal["torch"],
        **options: Unpack[DenseOptions],
    ) -> "Tensor": ...
    def encode(
        self,
        texts: str | Iterable[str],
        *,
        task: Task | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        normalize: bool = False,
        truncate_dim: int | None = None,
        precision: Precision = "float32",
        ranges: NDArray[Any] | None = None,
        show_progress: bool = False,
        token_budget: int | None = None,
        out: NDArray[Any] | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
        convert_to: Literal["numpy", "torch"] = "numpy",
    ) -> "NDArray[Any] | Tensor":
        """Encode texts.

        Parameters
        ----------
        texts
            One text, or any number. A generator is read `TEXTS_PER_CHUNK` texts at a time.
        task
            "query" or "document"; selects the prompt, and the route of a model with several.
        prompt, prompt_name
            Prompt to use instead of the task's, as text or by its name in the encoder's `prompts`.
        normalize
            Scale each vector to unit length, even if the checkpoint does not.
        truncate_dim
            Keep only this many leading dimensions, instead of the encoder's setting. Applies before `normalize`;
            without it, truncated vectors are not of unit length.
        precision, ranges
            Quantize the vectors; see `quantize`. "int8" and "uint8" without `ranges` compute them from all vectors of
            this call, which are then held in float32.
        show_progress
            Show a progress bar on stderr, counted in texts.
        token_budget
            Maximum tokens in a batch, including padding that is computed; by default the best for the device.
        out
            Array to fill, [texts, dim], such as a memmap; rows beyond the texts of a generator are not changed.
        pool
            Worker processes to encode in, from `start_multi_process_pool`.
        device
            List of devices to encode on, with one process each for the length of the call.
        convert_to
            "numpy", or "torch" for a tensor on the CPU.

        Returns
        -------
        float32 [texts, dim], or the type of `precision`
            In the order of `texts`; [dim] for a single text. With `out`, the part of it that was filled.

        Raises
        ------
        InputError
            If an item is not a text (the message has its position), or `out` or `ranges` do not fit.
        """
        check_precision(precision)
        if convert_to not in ("numpy", "torch"):
            raise InputError(f"convert_to must be numpy or torch, not {convert_to!r}")
        single = isinstance(texts, str)
        if isinstance(texts, str):
            texts, out = [texts], None if out is None else out[None]
        texts = listed(texts, "texts")
        dimension = self.dimension if truncate_dim is None else self._width(truncate_dim)
        width, dtype = quantized_width(dimension, precision), quantized_type(precision)
        count = len(texts) if isinstance(texts, Sized) else None
        if out is not None:
            check_out(out, count, width, dtype)
        blocks: Iterator[NDArray[Any]] = self.encode_stream(
            texts,
            task=task,
            prompt=prompt,
            prompt_name=prompt_name,
            normalize=normalize,
            truncate_dim=dimension,
            show_progress=show_progress,
            token_budget=token_budget,
            pool=pool,
            device=device,
        )
        if precision in ("int8", "uint8") and ranges is None:
            vectors = gather(blocks, dimension, np.dtype(np.float32), count)
            blocks = iter([quantize(vectors, precision)])
        elif precision != "float32":
            blocks = (quantize(block, precision, ranges=ranges) for block in blocks)
        encoded = gather(blocks, width, dtype, count) if out is None else fill(out, blocks)
        if single:
            encoded = encoded[0]
        if convert_to == "numpy":
            return encoded
        import torch

        return torch.from_numpy(encoded)

    @overload
    def encode_query(
        self, texts: str | Iterable[str], *, convert_to: Literal["numpy"] = "numpy", **options: Unpack[DenseOptions]
    ) -> NDArray[Any]: ...
    @overload
    def encode_query(
        self, texts: str | Iterable[str], *, convert_to: Literal["torch"], **options: Unpack[DenseOptions]
    ) -> "Tensor": ...
    def encode_query(self, texts: str | Iterable[str], **options: Any) -> "NDArray[Any] | Tensor":
        """Encode queries: `encode` with task="query"."""
        return self.encode(texts, task="query", **options)

    @overload
    def encode_document(
        self, texts: str | Iterable[str], *, convert_to: Literal["numpy"] = "numpy", **options: Unpack[DenseOptions]
    ) -> NDArray[Any]: ...
    @overload
    def encode_document(
        self, texts: str | Iterable[str], *, convert_to: Literal["torch"], **options: Unpack[DenseOptions]
    ) -> "Tensor": ...
    def encode_document(self, texts: str | Iterable[str], **options: Any) -> "NDArray[Any] | Tensor":
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
        truncate_dim: int | None = None,
        show_progress: bool = False,
        token_budget: int | None = None,
        pool: EncoderWorkers | None = None,
        device: Sequence[str] | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Encode a stream of texts, yielding blocks float32 [up to `chunk`, dim] in order; see `encode`."""
        normalize = flag(normalize, "normalize")
        dimension = self.dimension if truncate_dim is None else self._width(truncate_dim)
        prompt = self.resolve_prompt(prompt, task, prompt_name)
        if pool is not None or device is not None:
            options = {"task": task, "prompt": prompt, "normalize": normalize, "truncate_dim": dimension}
            with worker_pool(self, pool, device) as workers:
                yield from workers.encode_stream(
                    texts, chunk=chunk, show_progress=show_progress, token_budget=token_budget, **options
                )
            return
        for block in self.engine_for(task).chunks(
            texts,
            prompt=prompt,
            chunk_size=TEXTS_PER_CHUNK if chunk is None else chunk,
            show_progress=show_progress,
            token_budget=token_budget,
            task=task,
        ):
            yield self._vectors(block, normalize, dimension)

    def encode_tokens(
        self,
        texts: str | Iterable[str],
        *,
        task: Task | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> TokenVectors:
        """Encode every token of each text for MaxSim: the token vectors before pooling, scaled to unit length.

        Special tokens are included: MaxSim of MiniLM's vectors over 1,200 docstrings has nDCG@10 .524 with them and
        .513 without.

        Raises
        ------
        InputError
            If the model makes no contextual token vectors, such as a static embedding.
        """
        prompt = self.resolve_prompt(prompt, task, prompt_name)
        engine = self.engine_for(task)
        if all(module.output != "token_embeddings" for module in engine.modules):
            modules = " > ".join(type(module).__name__ for module in engine.modules)
            raise InputError(
                f"{self.checkpoint.name} makes no token vectors ({modules}): encode_tokens and late interaction need "
                "a model with a transformer"
            )
        blocks = [
            self._token_vectors(chunk)
            for chunk in engine.chunks([texts] if isinstance(texts, str) else texts, prompt=prompt, task=task)
        ]
        lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(block.offsets) for block in blocks)])
        vectors = [block.vectors for block in blocks] or [np.zeros((0, self._full_dimension), np.float32)]
        return TokenVectors(np.cumsum(lengths), vectors[0] if len(vectors) == 1 else np.concatenate(vectors))

    def both_vectors(self, chunk: Chunk) -> tuple[NDArray[np.float32], TokenVectors]:
        """Return the vectors and the token vectors of a chunk's texts, from one pass through the network."""
        tokens = TokenOutput(chunk)
        return self._vectors(chunk, False, self.dimension, tokens), tokens.result(self.checkpoint.name)

    def _vectors(
        self, chunk: Chunk, normalize: bool, dimension: int, tokens: TokenOutput | None = None
    ) -> NDArray[np.float32]:
        import torch

        def finish(rows: NDArray[np.int64], features: "Features") -> Any:
            output: Tensor = features["sentence_embedding"][:, :dimension].float()
            if normalize:
                output = torch.nn.functional.normalize(output, dim=-1)
            if tokens is not None:
                tokens.add(rows, features)
            return output.cpu().numpy()

        vectors = np.empty((len(chunk), dimension), np.float32)
        for rows, output in chunk.run(finish):
            vectors[rows] = output
        check_finite(vectors, self.checkpoint.name)
        return vectors if len(chunk) == len(chunk.inverse) else vectors[chunk.inverse]

    def _token_vectors(self, chunk: Chunk) -> TokenVectors:
        tokens = TokenOutput(chunk)
        list(chunk.run(tokens.add))
        return tokens.result(self.checkpoint.name)

    def _width(self, truncate_dim: int | None) -> int:
        """Return the width of truncated vectors."""
        if truncate_dim is None:
            return self._full_dimension
        return min(whole_number(truncate_dim, "truncate_dim"), self._full_dimension)
