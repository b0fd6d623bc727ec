"""Layouts of late-interaction checkpoints: sentence-transformers', PyLate's and Stanford ColBERT's."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from indexing.errors import ModelError
from retrieve.encoders.modules import Step

if TYPE_CHECKING:
    from retrieve.encoders.checkpoint import Checkpoint

NATIVE, PYLATE = "MultiVectorEncoder", "ColBERT"
_STANFORD = "HF_ColBERT"
_METADATA = "artifact.metadata"
_PUNCTUATION = list(string.punctuation)
_TOKEN_LEVEL = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}


@dataclass(frozen=True, slots=True)
class _PyLate:
    """Settings of PyLate in config_sentence_transformers.json; each release has some of them."""

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_length: int | None = field(default=None, metadata={"min": 1})
    document_length: int | None = field(default=None, metadata={"min": 1})
    do_query_expansion: bool | None = None
    query_expansion: Mapping[str, Any] | None = None
    attend_to_expansion_tokens: bool | None = None
    attend_to_mask_tokens: bool | None = None
    skiplist_words: list[str] | tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class _Stanford:
    """Settings of Stanford ColBERT in artifact.metadata that change the vectors."""

    query_token_id: str | None = None
    doc_token_id: str | None = None
    query_maxlen: int | None = field(default=None, metadata={"min": 1})
    doc_maxlen: int | None = field(default=None, metadata={"min": 1})
    attend_to_mask_tokens: bool | None = None
    mask_punctuation: bool | None = None


class Layout(NamedTuple):
    """A checkpoint in sentence-transformers' terms.

    Parameters
    ----------
    checkpoint
        The checkpoint with all modules of a late-interaction model.
    markers
        Prompts that start with a token of the vocabulary, which the tokenizer must not divide.
    """

    checkpoint: "Checkpoint"
    markers: list[str]


def is_late_interaction(checkpoint: "Checkpoint") -> bool:
    """Return whether a checkpoint is a late-interaction model, in any of the layouts."""
    model_type = checkpoint.settings.get("model_type")
    if checkpoint.steps and model_type is not None:
        return model_type in (NATIVE, PYLATE) or _is_early_pylate(checkpoint)
    return _is_stanford(checkpoint) or _is_early_pylate(checkpoint)


def read_layout(checkpoint: "Checkpoint") -> Layout:
    """Translate a checkpoint of any layout.

    Raises
    ------
    ModelError
        If it is not a late-interaction model or has no projection.
    """
    if not is_late_interaction(checkpoint):
        raise _not_late_interaction(checkpoint)
    if not checkpoint.steps:
        return _read_stanford(checkpoint)
    if checkpoint.settings.get("model_type") == PYLATE or _is_early_pylate(checkpoint):
        return _read_pylate(checkpoint)
    return Layout(replace(checkpoint, steps=_at_token_level(checkpoint)), [])


def _not_late_interaction(checkpoint: "Checkpoint") -> ModelError:
    folder = checkpoint.folder
    if any(name.endswith("ForRetrieval") for name in checkpoint.config.get("architectures") or ()):
        return ModelError(f"{folder} is a late-interaction model of images (ColPali), which is not read here")
    if checkpoint.steps:
        return ModelError(
            f"{folder} is a dense checkpoint without a projection for token vectors, not a late-interaction model: "
            "use DenseEncoder, whose encode_tokens and LateInteractionReranker need no projection, or train one: "
            "retrieve train multi-vector"
        )
    return ModelError(f"{folder} is a plain transformers model without a projection, not a late-interaction model")


def _is_stanford(checkpoint: "Checkpoint") -> bool:
    return _STANFORD in (checkpoint.config.get("architectures") or ())


def _is_early_pylate(checkpoint: "Checkpoint") -> bool:
    """Return whether PyLate saved a checkpoint before it named the kind of model."""
    markers = {name for name in _PyLate.__dataclass_fields__ if name != "query_expansion"}
    known = checkpoint.settings.get("model_type") in (None, "SentenceTransformer")
    return bool(checkpoint.steps) and known and bool(markers & set(checkpoint.settings))


def _read_pylate(checkpoint: "Checkpoint") -> Layout:
    from retrieve.encoders.modules.module import check_settings
    from retrieve.encoders.modules.transformer import Transformer

    path = checkpoint.folder / "config_sentence_transformers.json"
    settings = check_settings(_PyLate, checkpoint.settings, path)
    prompts = dict(settings.get("prompts") or {})
    prefixes = {}
    for task in ("query", "document"):
        if f"{task}_prefix" in settings:
            prefix = prefixes[task] = settings[f"{task}_prefix"] or ""
            prompts[task] = prefix + (prompts.get(task) or "").removeprefix(prefix)
    lengths = {name: settings.get(name) for name in ("query_length", "document_length", "query_expansion")}
    if "query_expansion" not in settings and settings.get("do_query_expansion") is not False:
        attend = settings.get("attend_to_expansion_tokens", settings.get("attend_to_mask_tokens"))
        length = lengths.pop("query_length") or 32
        lengths["query_expansion"] = {"strategy": "fixed", "attend": bool(attend), "length": length}
    skiplist = settings.get("skiplist_words")
    if skiplist is None and (prefixes or settings.get("model_type") == PYLATE):
        skiplist = _PUNCTUATION
    steps = [step for step in _at_token_level(checkpoint) if _name(step) not in ("Pooling", "Normalize")]
    if not any(_name(step) == "Dense" for step in steps):
        raise ModelError(f"{checkpoint.folder}: modules.json lists no projection (Dense), which a ColBERT model needs")
    stored = Transformer.read_config(checkpoint.folder / steps[0].path)
    given = {name: value for name, value in lengths.items() if value is not None}
    steps[0] = replace(steps[0], config=given | stored)
    translated = replace(
        checkpoint, steps=[*steps, *_scoring(skiplist or [])], settings=settings | {"prompts": prompts}
    )
    return Layout(translated, list(prefixes.values()))


def _read_stanford(checkpoint: "Checkpoint") -> Layout:
    from retrieve.encoders.modules.module import read_settings

    path = checkpoint.folder / _METADATA
    stored = read_settings(_Stanford, path) if path.is_file() else {}
    prompts = {
        "query": (stored.get("query_token_id") or "[unused0]") + " ",
        "document": (stored.get("doc_token_id") or "[unused1]") + " ",
    }
    lengths: dict[str, Any] = {
        "query_expansion": {
            "strategy": "fixed",
            "attend": bool(stored.get("attend_to_mask_tokens")),
            "length": stored.get("query_maxlen") or 32,
        }
    }
    if stored.get("doc_maxlen") is not None:
        lengths["document_length"] = stored["doc_maxlen"]
    skiplist = [] if stored.get("mask_punctuation", True) is False else _PUNCTUATION
    steps = [Step("Transformer", config=lengths), Step("ColBERTProjection"), *_scoring(skiplist)]
    settings = checkpoint.settings | {"prompts": prompts | (checkpoint.settings.get("prompts") or {})}
    return Layout(replace(checkpoint, steps=steps, settings=settings), list(prompts.values()))


def _at_token_level(checkpoint: "Checkpoint") -> list[Step]:
    """Return the modules, with every projection over token vectors unless its settings name another input."""
    from retrieve.encoders.modules.dense import Dense

    steps = []
    for step in checkpoint.steps:
        if _name(step) == "Dense" and step.config is None:
            stored = Dense.read_config(checkpoint.folder / step.path)
            default = {"module_input_name": "token_embeddings"}
            early = checkpoint.settings.get("model_type") != NATIVE
            step = replace(step, config=stored | _TOKEN_LEVEL if early else default | stored)
        steps.append(step)
    return steps


def _scoring(skiplist: list[str] | tuple[str, ...]) -> list[Step]:
    """Return the modules that these layouts imply after the projection."""
    return [
        Step("MultiVectorMask", config={"skiplist_words": list(skiplist)}),
        Step("Normalize", config=_TOKEN_LEVEL),
    ]


def _name(step: Step) -> str:
    return step.reference.rpartition(".")[2]
