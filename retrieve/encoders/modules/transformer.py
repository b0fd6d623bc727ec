"""The transformer that stands first in nearly every encoder, with its tokenizer."""

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from indexing.errors import ModelError
from retrieve.encoders.batching import Tokens
from retrieve.encoders.modules.module import Features, InputModule, LoadOptions, read_json, write_json
from retrieve.encoders.modules.tokenizer import load_tokenizer, lower, quiet, save_tokenizer
from retrieve.encoders.modules.weights import first_line, require_weights

logger = logging.getLogger(__name__)

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
# Stored arguments that are ours to decide, or that would run code from the checkpoint.
_OURS = {"trust_remote_code", "torch_dtype", "dtype", "attn_implementation", "device_map", "use_safetensors"}
_TOKENIZED_AT_ONCE = 1024


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
        self, model: Any, tokenizer: Any, *, transformer_task: str, max_length: int | None, do_lower_case: bool = False
    ) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.transformer_task, self.max_length, self.do_lower_case = transformer_task, max_length, do_lower_case
        self.output = _OUTPUTS.get(transformer_task, "token_embeddings")
        if transformer_task == "text-generation":
            # Padding on the left puts every text's last token into the last column.
            tokenizer.padding_side = "left"
        if transformer_task == "fill-mask":
            # The layer stays in its place, with its weights, but hands its input through.
            self.project.forward = _unchanged  # type: ignore[method-assign, assignment]
        if do_lower_case:
            lower(tokenizer)
        self._pairs_types = "token_type_ids" in tokenizer.model_input_names
        self._tokenizing = Lock()

    @classmethod
    def read_config(cls, folder: Path) -> dict[str, Any]:
        """Read the settings from whichever of the historical file names is there."""
        found = next((folder / name for name in _CONFIG_FILES if (folder / name).is_file()), None)
        return read_json(found) if found is not None else {}

    @classmethod
    def load(cls, folder: Path, options: LoadOptions, config: Mapping[str, Any] | None = None) -> Self:
        """Load weights (safetensors only) and tokenizer from a checkpoint's folder; never runs code from it."""
        settings = cls.read_config(folder) if config is None else config
        task = settings.get("transformer_task") or cls.default_task
        if task not in _TASKS:
            raise ModelError(f"{folder}: transformer_task {task!r} cannot be run here, only {', '.join(_TASKS)} can")
        if "message" in (settings.get("modality_config") or {}):
            raise ModelError(f"{folder}: the model reads texts wrapped in a chat template, which is not done here")
        with quiet():
            model_config = _load_config(folder, _stored(settings, "config_kwargs", "config_args"))
            model = _load_model(folder, task, model_config, options, _stored(settings, "model_kwargs", "model_args"))
            tokenizer = load_tokenizer(folder, _stored(settings, "processor_kwargs", "tokenizer_args"))
        if config is not None and getattr(tokenizer, "chat_template", None):
            logger.warning("%s: texts are read as they stand, not wrapped in the tokenizer's chat template", folder)
        max_length = options.max_length or settings.get("max_seq_length")
        return cls(
            model.eval(),
            tokenizer,
            transformer_task=task,
            max_length=_usable_length(max_length, tokenizer, model),
            do_lower_case=bool(settings.get("do_lower_case")),
        )

    @property
    def saved_type(self) -> str:
        """The dotted path by task: what reads vocabulary logits had a class of its own, a generator has no old path."""
        return _SAVED_TYPES.get(self.transformer_task, f"{self.home}.Transformer")

    @property
    def saved_config(self) -> dict[str, Any]:
        """Its settings as older releases read them; of a generator as those since 5.4 do."""
        config = {"max_seq_length": self.max_length, "do_lower_case": self.do_lower_case}
        if self.transformer_task != "text-generation":
            return config
        reads = {"text": {"method": "forward", "method_output_name": "logits"}}
        return {
            "transformer_task": self.transformer_task,
            "modality_config": reads,
            "module_output_name": self.output,
        } | config

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
        ids: list[list[int]] = []
        types: list[list[int]] = []
        for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
            some = texts[start : start + _TOKENIZED_AT_ONCE]
            first = [prompt + (text[0] if pairs else text) for text in some] if prompt or pairs else list(some)
            coded = self._code(first, [text[1] for text in some] if pairs else None)
            ids += coded["input_ids"]
            if pairs and self._pairs_types:
                types += coded["token_type_ids"]
        offsets = np.zeros(len(ids) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in ids], out=offsets[1:])
        total = int(offsets[-1])
        return Tokens(
            ids=np.fromiter(chain.from_iterable(ids), np.int32, count=total),
            offsets=offsets,
            type_ids=np.fromiter(chain.from_iterable(types), np.int32, count=total) if types else None,
            pad_id=self.tokenizer.pad_token_id or 0,
            pad_left=self.tokenizer.padding_side == "left",
            prompt_length=self._prompt_length(prompt) if prompt else 0,
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

    def _code(self, first: list[str], second: list[str] | None) -> Any:
        # The tokenizer keeps its truncation setting inside, and a change while it runs in another thread fails.
        with self._tokenizing:
            return self.tokenizer(
                first,
                second,
                truncation="longest_first" if self.max_length else False,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=second is not None and self._pairs_types,
                verbose=False,
            )

    def _prompt_length(self, prompt: str) -> int:
        ids = self._code([prompt], None)["input_ids"][0]
        return len(ids) - bool(ids and ids[-1] in self.tokenizer.all_special_ids)


class MLMTransformer(Transformer):
    """The transformer of sparse encoders saved by sentence-transformers 5.0 to 5.3."""

    default_task = "fill-mask"


def _stored(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Give the arguments that the checkpoint stores for transformers, less those that are ours to decide."""
    stored: Mapping[str, Any] = next((settings[name] for name in names if settings.get(name)), {})
    return {name: value for name, value in stored.items() if name not in _OURS}


def _load_config(folder: Path, stored: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: there is no config.json, so this is not a transformers model")
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **stored)
    except (ValueError, KeyError, OSError) as error:
        if "auto_map" in read_json(folder / "config.json"):
            raise ModelError(
                f"{folder}: this model brings its own Python code, which is never run here; "
                "use a checkpoint whose architecture transformers knows"
            ) from error
        raise ModelError(f"{folder / 'config.json'}: transformers cannot read it ({first_line(error)})") from error


def _load_model(folder: Path, task: str, config: Any, options: LoadOptions, stored: dict[str, Any]) -> Any:
    import transformers
    from safetensors import SafetensorError

    _lost_shards(folder)
    pickled = require_weights(folder, allow_bin=options.allow_bin)
    auto_class, no_head = _TASKS[task]
    try:
        model, report = getattr(transformers, auto_class).from_pretrained(
            folder,
            config=config,
            dtype=options.dtype,
            use_safetensors=not pickled,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **stored,
        )
    except (ValueError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the weights cannot be loaded ({first_line(error)})") from error
    # BERT's pooler feeds only the classification head of pre-training; checkpoints often leave it out.
    missing = sorted(name for name in report["missing_keys"] if task != "feature-extraction" or "pooler." not in name)
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise ModelError(f"{folder}: the checkpoint lacks the weights {shown}{no_head}")
    return model


def _lost_shards(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(read_json(index)["weight_map"].values()))
        lost = [name for name in shards if not (folder / name).is_file()]
        if lost:
            raise ModelError(f"{folder}: the weights {', '.join(lost)} named by {index.name} are missing")


def _usable_length(asked: int | None, tokenizer: Any, model: Any) -> int | None:
    """Give the tokens that a text may have: as asked or as the tokenizer says, but no more than the model can place."""
    length = int(asked) if asked else int(tokenizer.model_max_length)
    places = getattr(model.config, "max_position_embeddings", None)
    if places and places > 0:
        length = min(length, places - _reserved_positions(model))
    # Tokenizers without a limit of their own carry 1e30.
    return length if length < 1 << 30 else None


def _reserved_positions(model: Any) -> int:
    """How many positions never hold a token: RoBERTa and its kin count from behind the padding id."""
    for module in model.modules():
        positions = getattr(module, "position_embeddings", None)
        if isinstance(getattr(module, "padding_idx", None), int) and isinstance(positions, torch.nn.Embedding):
            return int(module.padding_idx) + 1
    return 0


def _unchanged(hidden: Tensor) -> Tensor:
    return hidden
