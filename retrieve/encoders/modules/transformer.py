"""The transformer that stands first in nearly every encoder, with its tokenizer."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indexing.errors import ModelError
from retrieve.encoders.batching import Tokens, flatten_rows
from retrieve.encoders.modules.backbone import (
    encoder_class,
    load_config,
    load_model,
    reentrant,
    stored_arguments,
    usable_length,
)
from retrieve.encoders.modules.chat import ChatTemplate
from retrieve.encoders.modules.module import Features, InputModule, LoadOptions, read_json, write_json
from retrieve.encoders.modules.tokenizer import load_tokenizer, lower, quiet, save_tokenizer

_CONFIG_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# For each task: the transformers class, and what a checkpoint that lacks weights for it is told.
_TASKS = {
    "feature-extraction": ("AutoModel", ""),
    "fill-mask": ("AutoModelForMaskedLM", ": it has no trained masked-language-model head, which SPLADE reads"),
    "sequence-classification": (
        "AutoModelForSequenceClassification",
        ": it has no trained classification head, so it is not a cross-encoder",
    ),
    "text-generation": ("AutoModelForCausalLM", ""),
}
_SAVED_TYPES = {
    "fill-mask": "sentence_transformers.sparse_encoder.models.MLMTransformer",
    "text-generation": "sentence_transformers.base.modules.transformer.Transformer",
}
_OUTPUTS = {"sequence-classification": "scores", "text-generation": "causal_logits"}
# Architectures with code of their own that we have natively: model_type, and where the class is.
_NATIVE = {"nvembed": ("retrieve.encoders.modules.nv_embed", "NVEmbed")}
_TOKENIZER_BATCH = 256


class VocabularyLogits(NamedTuple):
    """Masked-language-model logits not yet multiplied out: whoever pools them does so a few terms at a time.

    Parameters
    ----------
    hidden
        [texts, tokens, width], what the head hands to its last layer.
    weight, bias
        Of that layer: [vocabulary, width] and [vocabulary].
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None


class Transformer(InputModule):
    """A transformers model and its tokenizer, for one of four tasks.

    "feature-extraction" gives `token_embeddings`; "fill-mask" gives them as `VocabularyLogits`;
    "sequence-classification" gives `scores` (logits); "text-generation" gives `causal_logits` of the last token.
    """

    config_file = "sentence_bert_config.json"
    config_keys = ("transformer_task", "do_lower_case")
    default_task: ClassVar[str] = "feature-extraction"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        transformer_task: str,
        max_length: int | None,
        do_lower_case: bool = False,
        chat: ChatTemplate | None = None,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.chat = model, tokenizer, chat
        self.transformer_task, self.max_length, self.do_lower_case = transformer_task, max_length, do_lower_case
        self.output = _OUTPUTS.get(transformer_task, "token_embeddings")
        if transformer_task == "text-generation":
            # Padding on the left puts every text's last token into the last column.
            tokenizer.padding_side = "left"
        if transformer_task == "fill-mask":
            # The layer stays in its place, with its weights, but hands its input through.
            self.project.forward = _unchanged  # type: ignore[method-assign, assignment]
        if transformer_task == "feature-extraction" and isinstance(getattr(model, "pooler", None), torch.nn.Module):
            # Likewise: nobody reads what it makes.
            model.pooler.forward = _nothing
        if do_lower_case:
            lower(tokenizer)
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._tokenizing = Lock()
        self.reentrant = reentrant(model)

    @classmethod
    def read_config(cls, folder: Path) -> dict[str, Any]:
        """Read the settings from whichever of the historical file names is there."""
        found = next((folder / name for name in _CONFIG_FILES if (folder / name).is_file()), None)
        return read_json(found) if found is not None else {}

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load weights and tokenizer from a checkpoint's folder; its code is run only when that is trusted."""
        import transformers

        if cls is Transformer and (native := _native(folder)) is not None:
            native_model: Self = native.load(folder, options, config)
            return native_model
        settings = cls.read_config(folder) if config is None else config
        task = settings.get("transformer_task") or cls.default_task
        if task not in _TASKS:
            raise ModelError(f"{folder}: transformer_task {task!r} cannot be run here, only {', '.join(_TASKS)} can")
        auto_class, no_head = _TASKS[task]
        with quiet():
            model_config = load_config(folder, options, stored_arguments(settings, "config_kwargs", "config_args"))
            encoder = encoder_class(model_config) if task == "feature-extraction" else None
            model = load_model(
                encoder or getattr(transformers, auto_class),
                folder,
                model_config,
                options,
                stored=stored_arguments(settings, "model_kwargs", "model_args"),
                # BERT's pooler feeds only the classification head of pre-training; checkpoints often leave it out.
                optional="pooler." if task == "feature-extraction" else None,
                without=no_head,
            )
            stored = stored_arguments(settings, "processor_kwargs", "tokenizer_args")
            tokenizer = load_tokenizer(folder, options, stored)
        chat = ChatTemplate.of(
            folder, settings, tokenizer, plain=config is not None, task=task, model_type=model.config.model_type
        )
        max_length = options.max_length or settings.get("max_seq_length")
        return cls(
            model.eval(),
            tokenizer,
            transformer_task=task,
            max_length=usable_length(max_length, tokenizer, model),
            do_lower_case=bool(settings.get("do_lower_case")),
            chat=chat,
        )

    @property
    def config(self) -> dict[str, Any]:
        """Its settings, and the chat template where its texts go through one."""
        return super().config | ({} if self.chat is None else {"chat": self.chat.identity})

    @property
    def saved_type(self) -> str:
        """The dotted path by task: what reads vocabulary logits had a class of its own, a generator has no old path."""
        return _SAVED_TYPES.get(self.transformer_task, f"{self.home}.Transformer")

    @property
    def saved_config(self) -> dict[str, Any]:
        """Its settings as older releases read them; of a generator or a chat's reader as those since 5.4 do."""
        config = {"max_seq_length": self.max_length, "do_lower_case": self.do_lower_case}
        if self.transformer_task != "text-generation" and self.chat is None:
            return config
        made = "last_hidden_state" if self.transformer_task == "feature-extraction" else "logits"
        reads: dict[str, Any] = {"text": {"method": "forward", "method_output_name": made}}
        stored: dict[str, Any] = {}
        if self.chat is not None:
            reads["message"] = reads["text"] | self.chat.config
            stored = {"processing_kwargs": {"chat_template": self.chat.arguments}} if self.chat.arguments else {}
        return {
            "transformer_task": self.transformer_task,
            "modality_config": reads,
            "module_output_name": self.output,
            **stored,
            **config,
        }

    def save(self, folder: Path) -> None:
        """Write the model, its tokenizer and the settings."""
        write_json(folder / self.config_file, self.saved_config)
        with quiet(), self._tokenizing:
            self.model.save_pretrained(folder)
            save_tokenizer(self.tokenizer, folder, self.max_length)

    def tokenize(self, texts: Sequence[Any], prompt: str = "") -> Tokens:
        """Cut texts or pairs into tokens with the model's special ones, at most `max_length` a text.

        Too long a pair loses from its longer part.
        """
        pairs = bool(texts) and not isinstance(texts[0], str)
        ids, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        types: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), _TOKENIZER_BATCH):
            some = texts[start : start + _TOKENIZER_BATCH]
            if self.chat is not None:
                coded = {"input_ids": self._encode_chats(self.chat, some, prompt)}
            else:
                first = [prompt + (text[0] if pairs else text) for text in some] if prompt or pairs else list(some)
                coded = self._encode(first, [text[1] for text in some] if pairs else None)
            laid, offsets = flatten_rows(coded["input_ids"])
            ids.append(laid)
            lengths.append(np.diff(offsets))
            if pairs and self.chat is None and self._has_type_ids:
                types.append(flatten_rows(coded["token_type_ids"])[0])
        return Tokens(
            ids=np.concatenate(ids),
            offsets=np.cumsum(np.concatenate(lengths)),
            type_ids=np.concatenate(types) if types else None,
            pad_id=self.tokenizer.pad_token_id or 0,
            pad_left=self.tokenizer.padding_side == "left",
            # Where a chat's template puts the prompt is its own affair: it is pooled with the rest.
            prompt_length=self._prompt_length(prompt) if prompt and self.chat is None else 0,
        )

    def forward(self, features: Features) -> Features:
        """Run the transformer over padded `input_ids` [texts, tokens]."""
        inputs = {
            name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in features
        }
        if self.transformer_task == "text-generation":
            features["causal_logits"] = self.model(**inputs, logits_to_keep=1, use_cache=False, return_dict=True).logits
            return features
        output = self.model(**inputs, return_dict=True)
        if self.transformer_task == "fill-mask":
            features["token_embeddings"] = VocabularyLogits(output.logits, self.project.weight, self.project.bias)
        elif self.transformer_task == "sequence-classification":
            features["scores"] = output.logits
        else:
            features["token_embeddings"] = output.last_hidden_state
        return features

    def hidden_states(self, features: Features) -> tuple[Tensor, ...]:
        """Give the token vectors [texts, tokens, width] before the first layer and after each."""
        inputs = {
            name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in features
        }
        states: tuple[Tensor, ...] = self.model(**inputs, output_hidden_states=True, return_dict=True).hidden_states
        return states

    def dimension(self, incoming: int | None) -> int | None:
        """Give the hidden width, the vocabulary's size or the number of labels, by task."""
        if self.transformer_task in ("fill-mask", "text-generation"):
            return self.project.out_features
        config = self.model.config
        width: int = config.num_labels if self.transformer_task == "sequence-classification" else config.hidden_size
        return width

    @property
    def project(self) -> torch.nn.Linear:
        """The layer from hidden width to vocabulary that a masked-language-model head ends in."""
        found = self.model.get_output_embeddings()
        if not isinstance(found, torch.nn.Linear):
            raise ModelError(f"{type(self.model).__name__} ends in no linear layer over its vocabulary")
        return found

    @property
    def vocabulary(self) -> list[str]:
        """The term of each column that the vocabulary layer gives out; those beyond the tokenizer's are numbered."""
        columns = self.dimension(None) or 0
        known = min(columns, len(self.tokenizer))
        terms = self.tokenizer.convert_ids_to_tokens(range(known))
        return [term if term is not None else f"[column{at}]" for at, term in enumerate(terms)] + [
            f"[column{at}]" for at in range(known, columns)
        ]

    def _encode_chats(self, chat: ChatTemplate, texts: Sequence[Any], prompt: str) -> list[list[int]]:
        ids: list[list[int]] = self._encode(chat.render(texts, prompt), None, special=False)["input_ids"]
        full = [row for row in ids if self.max_length is not None and len(row) >= self.max_length]
        if full:
            with self._tokenizing:
                end = chat.end(prompt, pairs=not isinstance(texts[0], str))
            for row in full:
                row[max(0, len(row) - len(end)) :] = end[-len(row) :]
        return ids

    def _encode(self, first: list[str], second: list[str] | None, *, special: bool = True) -> Any:
        # The tokenizer keeps its truncation setting inside, and a change while it runs in another thread fails.
        with self._tokenizing:
            return self.tokenizer(
                first,
                second,
                add_special_tokens=special,
                truncation="longest_first" if self.max_length else False,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=second is not None and self._has_type_ids,
                verbose=False,
            )

    def _prompt_length(self, prompt: str) -> int:
        ids = self._encode([prompt], None)["input_ids"][0]
        return len(ids) - bool(ids and ids[-1] in self.tokenizer.all_special_ids)


class MLMTransformer(Transformer):
    """The transformer of sparse encoders saved by sentence-transformers 5.0 to 5.3."""

    default_task = "fill-mask"


def _native(folder: Path) -> Any:
    """Give the class that reads a checkpoint whose architecture is ours and not transformers'; None for any other."""
    path = folder / "config.json"
    model_type = str(read_json(path).get("model_type")) if path.is_file() else ""
    home, name = _NATIVE.get(model_type, ("", ""))
    return getattr(import_module(home), name) if home else None


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden


def _nothing(*_: Any, **__: Any) -> None:
    """Pool nothing."""
