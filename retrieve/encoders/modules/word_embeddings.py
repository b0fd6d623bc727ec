"""Word embeddings and bags of words: input modules of checkpoints without a transformer."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from indexing.errors import ModelError
from retrieve.encoders.batching import Tokens, flatten_rows
from retrieve.encoders.modules.module import Features, InputModule, LoadOptions, read_settings, write_json
from retrieve.encoders.modules.weights import read_weights

_WORDS_FILE = "whitespacetokenizer_config.json"


@dataclass(frozen=True, slots=True)
class _Words:
    """Settings of a tokenizer of words."""

    vocab: Sequence[str] = field(metadata={"is": "the words, in the order of their ids"})
    stop_words: Sequence[str] = ()
    do_lower_case: bool = False


class WordTokenizer:
    """Tokenizer of words between white space: as they are, without punctuation at their ends, or in lower case.

    Stop words and words that the vocabulary lacks have no id.
    """

    def __init__(self, words: Sequence[str], stop_words: Sequence[str] = (), *, do_lower_case: bool = False) -> None:
        self.words, self.stop_words, self.do_lower_case = list(words), sorted(set(stop_words)), do_lower_case
        self._ids = {word: at for at, word in enumerate(self.words)}
        self._stopped = set(self.stop_words)

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text's words."""
        found = []
        for word in (text.lower() if self.do_lower_case else text).split():
            bare = word.strip(string.punctuation)
            for form in dict.fromkeys((word, bare, bare.lower())):
                if form in self._stopped:
                    break
                if form in self._ids and (form or form == word):
                    found.append(self._ids[form])
                    break
        return found


class WordEmbeddings(InputModule):
    """One vector for each word regardless of context, as `token_embeddings`; a pooling module follows."""

    config_file = "wordembedding_config.json"
    output = "token_embeddings"

    def __init__(
        self, tokenizer: Any, weight: Tensor, *, max_length: int | None, tokenizer_class: str, update: bool = False
    ) -> None:
        super().__init__()
        self.tokenizer, self.max_length = tokenizer, max_length
        self.tokenizer_class, self.update_embeddings = tokenizer_class, update
        self.emb_layer = torch.nn.Embedding.from_pretrained(weight.float(), freeze=not update)

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load the words and their vectors."""
        from retrieve.encoders.modules.tokenizer import load_tokenizer

        settings = cls.read_config(folder) if config is None else dict(config)
        kind = str(settings.get("tokenizer_class", "")).rpartition(".")[2]
        tokenizer: Any
        if kind == "WhitespaceTokenizer":
            words = read_settings(_Words, folder / _WORDS_FILE)
            lower = words.get("do_lower_case", False)
            tokenizer = WordTokenizer(words["vocab"], words.get("stop_words", ()), do_lower_case=lower)
        elif kind == "TransformersTokenizerWrapper":
            tokenizer = load_tokenizer(folder, options, {})
        else:
            raise ModelError(
                f"{folder / cls.config_file}: the tokenizer {kind or 'none'} is not read (PhraseTokenizer splits with "
                "nltk): there are WhitespaceTokenizer and TransformersTokenizerWrapper"
            )
        weights = read_weights(folder, allow_bin=options.allow_bin)
        if "emb_layer.weight" not in weights:
            raise ModelError(f"{folder}: the weights hold no emb_layer.weight, only {', '.join(sorted(weights))}")
        return cls(
            tokenizer,
            weights["emb_layer.weight"],
            max_length=options.max_length or settings.get("max_seq_length"),
            tokenizer_class=str(settings["tokenizer_class"]),
            update=bool(settings.get("update_embeddings", False)),
        )

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the module."""
        return {
            "tokenizer_class": self.tokenizer_class,
            "update_embeddings": self.update_embeddings,
            "max_seq_length": self.max_length or 1_000_000,
        }

    def save(self, folder: Path) -> None:
        """Save the settings, the vectors and the tokenizer."""
        super().save(folder)
        if isinstance(self.tokenizer, WordTokenizer):
            write_json(folder / _WORDS_FILE, _words_of(self.tokenizer))
        else:
            self.tokenizer.save_pretrained(folder)

    def tokenize(self, texts: Sequence[Any], prompt: str = "", task: str | None = None) -> Tokens:
        """Tokenize texts, truncated to `max_length` words."""
        if isinstance(self.tokenizer, WordTokenizer):
            rows = [self.tokenizer(prompt + text) for text in texts]
        else:
            rows = self.tokenizer([prompt + text for text in texts], truncation=False)["input_ids"] if texts else []
        return Tokens(*flatten_rows([row[: self.max_length] for row in rows]))

    def forward(self, features: Features) -> Features:
        """Look up the vectors of `input_ids`: `token_embeddings` [texts, words, width]."""
        features["token_embeddings"] = self.emb_layer(features["input_ids"])
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the width of the vectors."""
        return self.emb_layer.embedding_dim


class BoW(InputModule):
    """The weights of a text's words, one dimension a word of the vocabulary.

    Parameters
    ----------
    vocab
        Words; repeated ones count once.
    word_weights, unknown_word_weight
        {word: weight}, also for its lower case, and the weight of other words.
    cumulative_term_frequency
        Multiply the weight by the number of occurrences.
    """

    config_keys = ("vocab", "word_weights", "unknown_word_weight", "cumulative_term_frequency")
    max_length = None

    def __init__(
        self,
        vocab: Sequence[str],
        word_weights: Mapping[str, float] | None = None,
        unknown_word_weight: float = 1,
        cumulative_term_frequency: bool = True,
    ) -> None:
        super().__init__()
        self.vocab, self.word_weights = list(dict.fromkeys(vocab)), dict(word_weights or {})
        self.unknown_word_weight, self.cumulative_term_frequency = unknown_word_weight, cumulative_term_frequency
        self.tokenizer = WordTokenizer(self.vocab)
        self._weights = weights_of(self.vocab, self.word_weights, unknown_word_weight)

    def tokenize(self, texts: Sequence[Any], prompt: str = "", task: str | None = None) -> Tokens:
        """Tokenize texts into known words."""
        return Tokens(*flatten_rows([self.tokenizer(prompt + text) for text in texts]))

    def forward(self, features: Features) -> Features:
        """Sum the weights of the words: `sentence_embedding` [texts, vocabulary]."""
        ids, mask = features["input_ids"], features["attention_mask"].float()
        counts = torch.zeros(len(ids), len(self.vocab), device=ids.device).scatter_add_(1, ids, mask)
        if not self.cumulative_term_frequency:
            counts = (counts > 0).float()
        weights = torch.tensor(self._weights, dtype=torch.float32, device=ids.device)
        features["sentence_embedding"] = counts * weights
        return features

    def dimension(self, incoming: int | None) -> int | None:
        """Return the size of the vocabulary."""
        return len(self.vocab)

    @property
    def vocabulary(self) -> list[str]:
        """Words, in the order of the dimensions."""
        return self.vocab


def weights_of(vocab: Sequence[str], weights: Mapping[str, float], unknown: float) -> list[float]:
    """Return the weight of each word: its own, that of its lower case, or that of unknown words."""
    return [float(weights.get(word, weights.get(word.lower(), unknown))) for word in vocab]


def _words_of(tokenizer: WordTokenizer) -> dict[str, Any]:
    return {
        "vocab": tokenizer.words,
        "stop_words": tokenizer.stop_words,
        "do_lower_case": tokenizer.do_lower_case,
    }
