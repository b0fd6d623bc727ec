"""Sparse static embedding: one weight per term of a text, for queries without a transformer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from indexing.errors import ModelError
from indexing.locks import CopiedLock
from retrieve.encoders.batching import Tokens, flatten_rows
from retrieve.encoders.modules.module import Features, InputModule, LoadOptions, read_object
from retrieve.encoders.modules.tokenizer import load_tokenizer, quiet, save_tokenizer
from retrieve.encoders.modules.weights import load_weights

_NO_LIMIT = 1 << 30
_MOST_ROWS = 1 << 24


class SparseStaticEmbedding(InputModule):
    """A learned or inverse-document-frequency weight for each distinct token of a text, without special tokens.

    If an earlier module has weighted the terms too, the weights are multiplied.

    References
    ----------
    Geng et al., "Towards Competitive Search Relevance For Inference-Free Learned Sparse Retrievers", 2024.
    """

    saved_package = "sentence_transformers.sparse_encoder.models"
    config_keys = ("frozen",)

    def __init__(self, tokenizer: Any, weight: Tensor, *, max_length: int | None = None, frozen: bool = False) -> None:
        super().__init__()
        self.tokenizer, self.max_length, self.frozen = tokenizer, max_length, frozen
        self.weight = torch.nn.Parameter(weight.float(), requires_grad=not frozen)
        self._tokenizing = CopiedLock()

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load the tokenizer and the weights, from model.safetensors or the config's JSON file {term: weight}."""
        settings = cls.read_config(folder) if config is None else config
        with quiet():
            tokenizer = load_tokenizer(folder, options)
        rows = max(tokenizer.get_vocab().values()) + 1
        if rows > _MOST_ROWS:
            raise ModelError(f"{folder}: the tokenizer has a token with the id {rows - 1}, above {_MOST_ROWS}")
        limit = min(options.max_length or _NO_LIMIT, int(tokenizer.model_max_length))
        module = cls(
            tokenizer,
            torch.zeros(rows),
            max_length=limit if limit < _NO_LIMIT else None,
            frozen=bool(settings.get("frozen")),
        )
        table = _table(folder, settings)
        if table is None:
            load_weights(module, folder, allow_bin=options.allow_bin)
        else:
            terms = read_object(table)
            if not all(isinstance(weight, int | float) for weight in terms.values()):
                raise ModelError(f"{table}: the weight of each term must be a number")
            columns = torch.tensor(tokenizer.convert_tokens_to_ids(list(terms)), dtype=torch.long)
            module.weight.data[columns] = torch.tensor(list(terms.values()), dtype=torch.float32)
        return module

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """Return the files with the weights."""
        table = _table(folder, cls.read_config(folder))
        return super().files(folder) if table is None else [table]

    def save(self, folder: Path) -> None:
        """Save settings, weights and tokenizer."""
        super().save(folder)
        with self._tokenizing:
            save_tokenizer(self.tokenizer, folder, self.max_length)

    def tokenize(self, texts: Sequence[Any], prompt: str = "", task: str | None = None) -> Tokens:
        """Tokenize texts without special tokens, truncated to `max_length`."""
        # The tokenizer stores its truncation setting, and changing that while it runs in another thread fails.
        with self._tokenizing:
            ids = self.tokenizer(
                [prompt + text for text in texts],
                add_special_tokens=False,
                truncation=self.max_length is not None,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )["input_ids"]
        return Tokens(*flatten_rows(ids), pad_id=self.tokenizer.pad_token_id or 0)

    def forward(self, features: Features) -> Features:
        """Compute the term weights `sentence_embedding`, float32 [texts, vocabulary]."""
        attended = features["attention_mask"].to(self.weight.dtype)
        present = attended.new_zeros(len(attended), len(self.weight))
        # Keep the maximum rather than the last value: the padding id may also be a token of the text.
        present.scatter_reduce_(1, features["input_ids"], attended, "amax")
        weights = present * self.weight
        before = features.get("sentence_embedding")
        features["sentence_embedding"] = weights if before is None else weights * before
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the vocabulary size."""
        return len(self.weight)

    @property
    def vocabulary(self) -> list[str]:
        """Term of each column."""
        terms = self.tokenizer.convert_ids_to_tokens(range(len(self.weight)))
        return [term if term is not None else f"[column{at}]" for at, term in enumerate(terms)]


def _table(folder: Path, settings: Mapping[str, Any]) -> Path | None:
    """Return the file of term weights that the settings name, in the module's folder or its parent; None without."""
    name = str(settings.get("path") or "")
    if not name.endswith(".json"):
        return None
    table = next((path for home in (folder, folder.parent) if (path := home / Path(name).name).is_file()), None)
    if table is None:
        raise ModelError(f"{folder / 'config.json'}: there is no file {name} in that folder or its parent")
    return table
