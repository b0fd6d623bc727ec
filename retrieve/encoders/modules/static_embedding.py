"""Static embedding: one vector per token regardless of context, without a transformer."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from indexing.errors import ModelError
from retrieve.encoders.batching import Tokens, flatten_rows
from retrieve.encoders.modules.module import Features, InputModule, LoadOptions
from retrieve.encoders.modules.weights import first_line, read_weights

_TOKENIZER_BATCH = 1024


class StaticEmbedding(InputModule):
    """Mean of the tokens' vectors in float32, without special tokens; 0 for a text without tokens.

    Reads the formats of sentence-transformers and model2vec, whose `mapping` and `weights` it applies when loading.
    """

    def __init__(self, tokenizer: Any, weight: Tensor, *, max_length: int | None = None) -> None:
        super().__init__()
        self.tokenizer, self.max_length = tokenizer, max_length
        self.tokenizer.no_padding()
        if max_length is not None:
            self.tokenizer.enable_truncation(max_length)
        self.embedding = torch.nn.EmbeddingBag.from_pretrained(weight.float(), mode="mean")

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load `tokenizer.json` and the vectors."""
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ModelError(f"{folder}: there is no tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise ModelError(f"{path}: the tokenizer cannot be loaded ({first_line(error)})") from error
        weights = read_weights(folder, allow_bin=options.allow_bin)
        weight = weights.get("embedding.weight", weights.get("embeddings"))
        if weight is None:
            raise ModelError(f"{folder}: the weights hold no embedding.weight, only {', '.join(sorted(weights))}")
        if "mapping" in weights:
            weight = weight[weights["mapping"].long()]
        if "weights" in weights:
            weight = weight * weights["weights"][:, None]
        return cls(tokenizer, weight, max_length=options.max_length)

    def save(self, folder: Path) -> None:
        """Save `tokenizer.json` and the vectors."""
        super().save(folder)
        self.tokenizer.save(str(folder / "tokenizer.json"))

    def tokenize(self, texts: Sequence[Any], prompt: str = "", task: str | None = None) -> Tokens:
        """Tokenize texts without special tokens."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TOKENIZER_BATCH):
            batch = [prompt + text for text in texts[start : start + _TOKENIZER_BATCH]]
            ids += [encoding.ids for encoding in self.tokenizer.encode_batch(batch, add_special_tokens=False)]
        return Tokens(*flatten_rows(ids))

    def forward(self, features: Features) -> Features:
        """Average into `sentence_embedding` [texts, width]."""
        attended = features["attention_mask"].bool()
        counts = attended.sum(dim=1)
        features["sentence_embedding"] = self.embedding(features["input_ids"][attended], counts.cumsum(0) - counts)
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width of the vectors."""
        return self.embedding.embedding_dim
