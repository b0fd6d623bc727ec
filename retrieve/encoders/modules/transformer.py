"""Transformer with its tokenizer, the first module of nearly every encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indexing.errors import ModelError
from indexing.locks import CopiedLock
from retrieve.encoders.batching import Tokens, flatten_rows
from retrieve.encoders.kernels.graphs import Graphs
from retrieve.encoders.kernels.layout import Layout, concatenated, padded
from retrieve.encoders.modules.adapter_files import adapted_classifier, apply_adapter, is_adapter
from retrieve.encoders.modules.backbone import (
    TOKENIZER_ARGUMENTS,
    encoder_class,
    load_config,
    load_model,
    padding_id,
    reentrant,
    require_accepted,
    stored_arguments,
    usable_length,
)
from retrieve.encoders.modules.chat import ChatTemplate
from retrieve.encoders.modules.exported import ExportedModel, exported_file, graph_files
from retrieve.encoders.modules.module import Features, InputModule, LoadOptions, read_object, read_settings, write_json
from retrieve.encoders.modules.task_lengths import TaskLengths, stored_lengths
from retrieve.encoders.modules.tokenizer import load_tokenizer, lowercase, quiet, save_tokenizer
from retrieve.encoders.modules.vocabulary_logits import VocabularyLogits

_CONFIG_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# For each task: the transformers class, and the end of the error for a checkpoint without its weights.
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
    "sequence-classification": "sentence_transformers.base.modules.transformer.Transformer",
    "text-generation": "sentence_transformers.base.modules.transformer.Transformer",
}
_OUTPUTS = {"sequence-classification": "scores", "text-generation": "causal_logits"}
# Architectures that transformers lacks and this package implements: model_type -> module and class.
_NATIVE = {"nvembed": ("retrieve.encoders.modules.nv_embed", "NVEmbed")}
_TOKENIZER_BATCH = 256


@dataclass(frozen=True, slots=True)
class _StoredSettings:
    """Settings of a transformer in a checkpoint, under their names in all releases of sentence-transformers."""

    transformer_task: str | None = None
    max_seq_length: int | None = field(default=None, metadata={"min": 1})
    do_lower_case: bool | None = None
    query_length: int | None = field(default=None, metadata={"min": 1})
    document_length: int | None = field(default=None, metadata={"min": 1})
    query_expansion: Mapping[str, Any] | None = None
    model_args: Mapping[str, Any] | None = None
    model_kwargs: Mapping[str, Any] | None = None
    tokenizer_args: Mapping[str, Any] | None = None
    processor_kwargs: Mapping[str, Any] | None = None
    config_args: Mapping[str, Any] | None = None
    config_kwargs: Mapping[str, Any] | None = None
    modality_config: Mapping[str, Mapping[str, Any]] | None = None
    processing_kwargs: Mapping[str, Mapping[str, Any]] | None = None


class Transformer(InputModule):
    """Transformers model and its tokenizer, for one of four tasks.

    Task and output: "feature-extraction" `token_embeddings`, "fill-mask" `token_embeddings` as `VocabularyLogits`,
    "sequence-classification" `scores` (logits), "text-generation" `causal_logits` of the last token.
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
        lengths: TaskLengths | None = None,
    ) -> None:
        super().__init__()
        self.model, self.tokenizer, self.chat, self.lengths = model, tokenizer, chat, lengths or TaskLengths()
        self.transformer_task, self.max_length, self.do_lower_case = transformer_task, max_length, do_lower_case
        self.output = _OUTPUTS.get(transformer_task, "token_embeddings")
        if transformer_task == "text-generation":
            # Left padding puts the last token of every text into the last column.
            tokenizer.padding_side = "left"
        if transformer_task == "fill-mask":
            # Keep the last layer and its weights, but return its input: the pooling multiplies by them.
            self.project.forward = _identity  # type: ignore[method-assign, assignment]
        if transformer_task == "feature-extraction" and isinstance(getattr(model, "pooler", None), torch.nn.Module):
            # Skip the pooler, whose output is not used.
            model.pooler.forward = _skip
        self.pad_id = padding_id(tokenizer, model)
        if transformer_task == "sequence-classification":
            # A decoder's classification head finds the last token of each text by this id.
            model.config.pad_token_id = model.config.get_text_config().pad_token_id = self.pad_id
        if do_lower_case:
            lowercase(tokenizer)
        self._has_type_ids = "token_type_ids" in tokenizer.model_input_names
        self._tokenizing, self._graphs = CopiedLock(), Graphs()
        self.reentrant = reentrant(model)

    @classmethod
    def read_config(cls, folder: Path) -> dict[str, Any]:
        """Read the settings from the first of the historical file names that exists."""
        path = next((folder / name for name in _CONFIG_FILES if (folder / name).is_file()), None)
        return read_settings(_StoredSettings, path) if path is not None else {}

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load weights and tokenizer from a checkpoint's folder; its own code runs only if it is trusted."""
        import transformers

        weights = options.base if options.base is not None and is_adapter(folder) else folder
        if cls is Transformer and (native := _native(weights)) is not None:
            native_model: Self = native.load(folder, options, config)
            return native_model
        settings = cls.read_config(folder) if config is None else config
        task = settings.get("transformer_task") or cls.default_task
        if task not in _TASKS:
            raise ModelError(f"{folder}: transformer_task {task!r} cannot be run here, only {', '.join(_TASKS)} can")
        auto_class, missing_head = _TASKS[task]
        with quiet():
            model_config = load_config(weights, options, stored_arguments(settings, "config_kwargs", "config_args"))
            encoder = encoder_class(model_config) if task == "feature-extraction" else None
            exported = exported_file(weights)
            model = (
                ExportedModel(model_config, *exported, task)
                if exported
                else load_model(
                    encoder or getattr(transformers, auto_class),
                    weights,
                    model_config,
                    options,
                    stored=stored_arguments(settings, "model_kwargs", "model_args"),
                    # BERT's pooler is only used by the classification head of pre-training; many checkpoints lack it.
                    optional="pooler." if task == "feature-extraction" else None,
                    hint=missing_head,
                )
            )
            if weights is not folder:
                apply_adapter(model, folder, allow_bin=options.allow_bin)
            stored = stored_arguments(settings, "processor_kwargs", "tokenizer_args")
            require_accepted(stored, TOKENIZER_ARGUMENTS, folder, options, "tokenizer")
            tokenizer = load_tokenizer(
                folder if (folder / "tokenizer_config.json").is_file() else weights, options, stored
            )
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
            lengths=stored_lengths(folder, settings, options, tokenizer, model, chat),
        )

    @classmethod
    def files(cls, folder: Path) -> list[Path]:
        """Return the files of the weights, or of the graph that replaces them."""
        return super().files(folder) or graph_files(folder)

    @property
    def config(self) -> dict[str, Any]:
        """Settings, including lengths by task and the chat template if there are any."""
        chat = {} if self.chat is None else {"chat": self.chat.identity}
        return super().config | self.lengths.config | chat

    @property
    def saved_type(self) -> str:
        """Dotted path of its class, which depends on the task."""
        return _SAVED_TYPES.get(self.transformer_task, f"{self.saved_package}.Transformer")

    @property
    def saved_config(self) -> dict[str, Any]:
        """Settings in the older format, or in that of 5.4 and later for text generation and chat templates."""
        config = {"max_seq_length": self.max_length, "do_lower_case": self.do_lower_case} | self.lengths.config
        if (
            self.transformer_task != "text-generation"
            and self.chat is None
            and not adapted_classifier(self.transformer_task, self.model)
        ):
            return config
        output = "last_hidden_state" if self.transformer_task == "feature-extraction" else "logits"
        modalities: dict[str, Any] = {"text": {"method": "forward", "method_output_name": output}}
        stored: dict[str, Any] = {}
        if self.chat is not None:
            modalities["message"] = modalities["text"] | self.chat.config
            stored = {"processing_kwargs": {"chat_template": self.chat.arguments}} if self.chat.arguments else {}
        return {
            "transformer_task": self.transformer_task,
            "modality_config": modalities,
            "module_output_name": self.output,
            **stored,
            **config,
        }

    def save(self, folder: Path) -> None:
        """Save the model, its tokenizer and the settings."""
        write_json(folder / self.config_file, self.saved_config)
        with quiet(), self._tokenizing:
            self.model.save_pretrained(folder)
            save_tokenizer(self.tokenizer, folder, self.max_length)

    def tokenize(
        self, texts: Sequence[Any], prompt: str = "", task: str | None = None, max_length: int | None = None
    ) -> Tokens:
        """Tokenize texts or pairs with the model's special tokens, truncated to the model's or the task's length.

        With `max_length` they are truncated to this instead, except queries of a fixed number of tokens. In a pair
        that is too long, the longer text is truncated. Queries are expanded if the model does that.
        """
        limit = self.lengths.limit(task, self.max_length, max_length)
        pairs = bool(texts) and not isinstance(texts[0], str)
        ids, lengths = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        types: list[NDArray[np.int32]] = []
        for start in range(0, len(texts), _TOKENIZER_BATCH):
            batch = texts[start : start + _TOKENIZER_BATCH]
            if self.chat is not None:
                encoded = {"input_ids": self._encode_chats(self.chat, batch, prompt)}
            else:
                first = [prompt + (text[0] if pairs else text) for text in batch] if prompt or pairs else list(batch)
                encoded = self._encode(first, [text[1] for text in batch] if pairs else None, limit=limit)
            flat, offsets = flatten_rows(encoded["input_ids"])
            ids.append(flat)
            lengths.append(np.diff(offsets))
            if pairs and self.chat is None and self._has_type_ids:
                types.append(flatten_rows(encoded["token_type_ids"])[0])
        tokens = Tokens(
            ids=np.concatenate(ids),
            offsets=np.cumsum(np.concatenate(lengths)),
            type_ids=np.concatenate(types) if types else None,
            pad_id=self.pad_id,
            pad_left=self.tokenizer.padding_side == "left",
            # A chat template may put the prompt anywhere, so it is pooled with the text.
            prompt_length=self._prompt_length(prompt) if prompt and self.chat is None else 0,
        )
        expansion = self.lengths.query_expansion if task == "query" else None
        if expansion is None:
            return tokens
        return tokens.expanded(expansion.length, self.expansion_id, attend=expansion.attend)

    def forward(self, features: Features) -> Features:
        """Run the transformer over padded `input_ids` [texts, tokens]."""
        inputs = _model_inputs(features)
        if "expansion_mask" in features:
            with padded():
                return self._run(inputs, features)
        lengths = features.get("lengths")
        if lengths is None or not self.unpadded:
            return self._run(inputs, features)
        mask = inputs["attention_mask"] if self.reads_mask else inputs.pop("attention_mask")
        if len(lengths) == 1:
            output = self._graphs.run(self.model, inputs, mask)
            if output is not None:
                return self._add(output, features)
        with concatenated(Layout.of_lengths(lengths, mask.shape[1], mask.device)):
            return self._run(inputs, features)

    def _run(self, inputs: Features, features: Features) -> Features:
        if self.transformer_task == "text-generation":
            features["causal_logits"] = self.model(**inputs, logits_to_keep=1, use_cache=False, return_dict=True).logits
            return features
        return self._add(self.model(**inputs, return_dict=True), features)

    def _add(self, output: Any, features: Features) -> Features:
        if self.transformer_task == "fill-mask":
            features["token_embeddings"] = VocabularyLogits(output.logits, self.project.weight, self.project.bias)
        elif self.transformer_task == "sequence-classification":
            features["scores"] = output.logits
        else:
            features["token_embeddings"] = output.last_hidden_state
            features["all_layer_embeddings"] = getattr(output, "hidden_states", None)
        return features

    def hidden_states(self, features: Features) -> tuple[Tensor, ...]:
        """Return the token vectors [texts, tokens, width] before the first layer and after each layer."""
        output = self.model(**_model_inputs(features), output_hidden_states=True, return_dict=True)
        states: tuple[Tensor, ...] = output.hidden_states
        return states

    @property
    def expansion_id(self) -> int:
        """Id of the token that expands queries."""
        assert self.lengths.query_expansion is not None
        return self.lengths.query_expansion.token_id(self.tokenizer, Path())

    def dimension(self, incoming: int | None) -> int | None:
        """Return the hidden width, the vocabulary size or the number of labels, depending on the task."""
        if self.transformer_task in ("fill-mask", "text-generation"):
            return self.project.out_features
        config = self.model.config
        width: int = config.num_labels if self.transformer_task == "sequence-classification" else config.hidden_size
        return width

    @property
    def project(self) -> torch.nn.Linear:
        """Last layer of a language-model head, from hidden width to vocabulary."""
        layer = self.model.get_output_embeddings()
        if not isinstance(layer, torch.nn.Linear):
            raise ModelError(f"{type(self.model).__name__} does not end in a linear layer over its vocabulary")
        return layer

    @property
    def vocabulary(self) -> list[str]:
        """Term of each column of the vocabulary layer; columns beyond the tokenizer's vocabulary are numbered."""
        columns = self.dimension(None) or 0
        known = min(columns, len(self.tokenizer))
        terms = self.tokenizer.convert_ids_to_tokens(range(known))
        return [term if term is not None else f"[column{at}]" for at, term in enumerate(terms)] + [
            f"[column{at}]" for at in range(known, columns)
        ]

    def _encode_chats(self, chat: ChatTemplate, texts: Sequence[Any], prompt: str) -> list[list[int]]:
        encoded = self._encode(chat.render(texts, prompt), None, special=False, limit=self.max_length)
        ids: list[list[int]] = encoded["input_ids"]
        truncated = [row for row in ids if self.max_length is not None and len(row) >= self.max_length]
        if truncated:
            with self._tokenizing:
                end = chat.closing_tokens(prompt, pairs=not isinstance(texts[0], str))
            for row in truncated:
                row[max(0, len(row) - len(end)) :] = end[-len(row) :]
        return ids

    def _encode(
        self, first: list[str], second: list[str] | None, *, special: bool = True, limit: int | None = None
    ) -> Any:
        # The tokenizer stores its truncation setting, and changing that while it runs in another thread fails.
        with self._tokenizing:
            return self.tokenizer(
                first,
                second,
                add_special_tokens=special,
                truncation="longest_first" if limit else False,
                max_length=limit,
                return_attention_mask=False,
                return_token_type_ids=second is not None and self._has_type_ids,
                verbose=False,
            )

    def _prompt_length(self, prompt: str) -> int:
        ids = self._encode([prompt], None, limit=self.max_length)["input_ids"][0]
        return len(ids) - bool(ids and ids[-1] in self.tokenizer.all_special_ids)


class MLMTransformer(Transformer):
    """Transformer of sparse encoders saved by sentence-transformers 5.0 to 5.3."""

    default_task = "fill-mask"


def _native(folder: Path) -> Any:
    """Return the class in `_NATIVE` for a checkpoint's architecture, or None."""
    path = folder / "config.json"
    model_type = str(read_object(path).get("model_type")) if path.is_file() else ""
    module, name = _NATIVE.get(model_type, ("", ""))
    return getattr(import_module(module), name) if module else None


def _model_inputs(features: Features) -> Features:
    return {name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in features}


def _identity(hidden: Tensor) -> Tensor:
    return hidden


def _skip(*_: Any, **__: Any) -> None:
    return None
