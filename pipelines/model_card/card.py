"""Model card: description, usage, training data and evaluation of a model.

An encoder holds its card (`card_of`). Evaluators and trainers fill it in, and `Encoder.save` writes it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from indexing.disk import write_atomically
from indexing.inputs import local_path
from pipelines.model_card.citations import citations
from pipelines.model_card.dataset import DatasetFacts
from pipelines.model_card.evaluations import Evaluations, EvaluationTable
from pipelines.model_card.log import LogTable
from pipelines.model_card.markdown import shown
from pipelines.model_card.usage import snippets
from pipelines.package_versions import package_version

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder

MARK = "generated_from_trainer"
"""Tag of cards that we wrote and may overwrite."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_TAGS = {
    "dense": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense"],
    "sparse": ["sentence-transformers", "sparse-encoder", "sparse", "splade"],
    "csr": ["sentence-transformers", "sparse-encoder", "sparse", "csr"],
    "multi-vector": ["sentence-transformers", "multi-vector", "colbert", "late-interaction"],
    "cross": ["sentence-transformers", "cross-encoder", "reranker"],
}
_PIPELINES = {
    "dense": "sentence-similarity",
    "sparse": "feature-extraction",
    "multi-vector": "feature-extraction",
    "cross": "text-ranking",
}
_WIDTHS = {"cross": "Labels", "multi-vector": "Dimensions of each token's vector"}
_TITLES = {
    "dense": "Sentence Transformer",
    "sparse": "SPLADE Sparse Encoder",
    "csr": "CSR Sparse Encoder",
    "multi-vector": "Multi-Vector Encoder",
    "cross": "Cross Encoder",
}
_PURPOSES = {
    "dense": "It maps texts to vectors of {width} dimensions, for semantic search and similarity.",
    "sparse": "It maps texts to weights of the {width} terms of its vocabulary, for an inverted index.",
    "csr": "It maps texts to a few of {width} latents, which compare texts and reconstruct their vectors.",
    "multi-vector": "It maps each token of a text to a vector of {width} dimensions, for late interaction (MaxSim).",
    "cross": "It reads a query and a document together and scores how well they match, to rerank search results.",
}


@dataclass
class Card:
    """Contents of a model card, which trainers and evaluators fill in.

    Parameters
    ----------
    name
        Title, and the name that loads the model.
    base_model
        Hub name of the model that was trained; local paths are omitted.
    datasets
        Hub names of the training data.
    language, license
        Metadata for the Hub.
    tables
        Evaluations in addition to those of evaluators.
    """

    name: str = "my-model"
    base_model: str | None = None
    datasets: Sequence[str] = ()
    language: str | Sequence[str] | None = None
    license: str | None = None
    tables: Sequence[EvaluationTable] = ()
    evaluations: Evaluations = field(default_factory=Evaluations)
    train: Sequence[DatasetFacts] = ()
    evaluation: Sequence[DatasetFacts] = ()
    losses: Mapping[str, Any] = field(default_factory=dict)
    """Losses by the name of their dataset, "" for a single one."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    non_default: Mapping[str, Any] = field(default_factory=dict)
    log: LogTable | None = None
    seconds: float | None = None
    device: str = ""

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: float = -1, step: int = -1
    ) -> None:
        """Record an evaluator's metrics; those during training are taken from the trainer's log."""
        self.evaluations.record(evaluator, metrics, step)

    def text(self, encoder: "Encoder") -> str:
        """Return an encoder's card as Markdown, with its front matter."""
        training, evaluations = self._training(), self._evaluated()
        parts = [
            f"---\n{self._front_matter(encoder)}\n---",
            f"# {shown(self.name)}",
            self._description(encoder),
            "## Usage",
            *(f"### {title}\n\n```python\n{code}\n```" for title, code in snippets(encoder.kind, self.name).items()),
            *(["## Evaluation", *map(str, evaluations)] if evaluations else []),
            *(["## Training", *training] if training else []),
            "### Framework versions\n\n" + _versions(),
            "## Citation",
            *(f"```bibtex\n{entry}\n```" for entry in citations(_names(self.losses.values()))),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _evaluated(self) -> list[EvaluationTable]:
        return [*self.tables, *self.evaluations.tables(is_trained=bool(self.losses))]

    def _front_matter(self, encoder: "Encoder") -> str:
        from huggingface_hub import EvalResult, ModelCardData

        results = [
            EvalResult(
                task_type=_slug(table.title),
                task_name=table.title,
                dataset_type=_slug(table.dataset) or "unknown",
                dataset_name=table.dataset or "unknown",
                metric_type=_slug(measure),
                metric_name=measure,
                metric_value=values[table.measured],
            )
            for table in self._evaluated()
            for measure, values in table.figures.items()
            if table.measured in values
        ]
        sizes = [facts.rows for facts in self.train if facts.rows is not None]
        tags = [
            *_TAGS[_family(encoder)],
            *([MARK] if self.losses else []),
            *(f"dataset_size:{sum(sizes)}" for _ in sizes[:1]),
        ]
        data = ModelCardData(
            tags=tags + [f"loss:{name}" for name in _names(self.losses.values())],
            base_model=self._base_model(encoder),
            datasets=list(self.datasets) or None,
            language=self.language if self.language is None or isinstance(self.language, str) else list(self.language),
            license=self.license,
            pipeline_tag=_PIPELINES[encoder.kind],
            library_name="sentence-transformers",
            metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
            model_name=self.name,
            eval_results=results or None,
        )
        text: str = data.to_yaml()
        return text.strip()

    def _base_model(self, encoder: "Encoder") -> str | None:
        from retrieve.default_models import MINILM, default_dense_model

        name = self.base_model or encoder.checkpoint.name
        if Path(name) == Path(default_dense_model()):
            return MINILM
        return name if _HUB_NAME.fullmatch(name) and not Path(name).exists() else None

    def _description(self, encoder: "Encoder") -> str:
        base = self._base_model(encoder)
        origin = f" fine-tuned from [{base}](https://huggingface.co/{base})" if base else ""
        modules = "\n".join(
            f"  ({at}): {type(module).__name__}({json.dumps(module.config, ensure_ascii=False, default=str)})"
            for at, module in enumerate(encoder.modules)
        )
        facts = [
            f"* Maximum length: {encoder.max_length or 'unlimited'}{' tokens' if encoder.max_length else ''}",
            f"* {_WIDTHS.get(encoder.kind, 'Dimensions')}: {encoder.dimension}",
        ]
        for task in ("query", "document") if encoder.kind == "multi-vector" else ():
            reader: Any = encoder.engine_for(task).input
            limit = reader.lengths.limit(task, reader.max_length) if hasattr(reader, "lengths") else reader.max_length
            facts += [f"* Maximum length of a {task}: {limit} tokens"] if limit else []
        similarity = getattr(encoder, "similarity_fn_name", None)
        shown_similarity = {"maxsim": "MaxSim", "meanmaxsim": "MeanMaxSim"}.get(str(similarity), similarity)
        facts += [f"* Similarity: {shown_similarity}"] if similarity else []
        facts += [f"* License: {shown(self.license)}"] if self.license else []
        return (
            f"A [{_TITLES[_family(encoder)]}](https://www.sbert.net){origin}. "
            + _PURPOSES[_family(encoder)].format(width=encoder.dimension)
            + "\n\n"
            + "\n".join(facts)
            + f"\n\n```\n{type(encoder).__name__}(\n{modules}\n)\n```"
        )

    def _training(self) -> list[str]:
        parts = []
        for title, datasets in (("Training data", self.train), ("Held-out data", self.evaluation)):
            if datasets:
                parts += [f"### {title}", *map(str, datasets)]
        for name, loss in self.losses.items():
            settings = json.dumps(dict(loss.settings), indent=4, ensure_ascii=False, default=str)
            heading = "### Loss" + (f" of {shown(name)}" if name else "")
            parts.append(f"{heading}\n\n`{type(loss).__name__}` with:\n\n```json\n{settings}\n```")
        if self.arguments:
            changed, every = (
                "\n".join(f"- {name}: {_value(value)}" for name, value in arguments.items())
                for arguments in (self.non_default, self.arguments)
            )
            parts.append(f"### Hyperparameters\n\nNon-default values:\n\n{changed or '- none'}")
            parts.append(f"<details><summary>All values</summary>\n\n{every}\n\n</details>")
        if self.log is not None and self.log.rows:
            parts.append(f"### Training log\n\n{self.log}")
        if self.seconds is not None:
            where = f" on {shown(self.device)}" if self.device else ""
            parts.append(f"### Time\n\n* Training: {self.seconds / 60:.1f} minutes{where}")
        return parts


def card_of(model: Any) -> Any:
    """Return an encoder's card, creating it if necessary; None for a retriever or pipeline, which has none."""
    if not hasattr(model, "model_card_data"):
        return None
    if model.model_card_data is None:
        model.model_card_data = Card()
    return model.model_card_data


def is_by_hand(path: Path) -> bool:
    """Return whether a file exists that we did not write."""
    return path.is_file() and MARK not in path.read_text("utf-8", errors="replace")


def write_card(folder: str | Path, card: Card, encoder: "Encoder") -> None:
    """Write a card into a model folder, unless its README.md was written by hand."""
    path = local_path(folder, "folder") / "README.md"
    if is_by_hand(path):
        return
    text = card.text(encoder).encode()
    write_atomically(path, lambda file: file.write(text))


def _family(encoder: "Encoder") -> str:
    return "csr" if type(encoder.modules[-1]).__name__ == "SparseAutoEncoder" else encoder.kind


def _names(losses: Any) -> list[str]:
    """Return the class names of losses and of the losses inside them."""
    return list(
        dict.fromkeys(
            type(module).__name__
            for loss in losses
            for module in loss.modules()
            if type(module).__name__[-4:] == "Loss"
        )
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9@_.]+", "-", text.lower()).strip("-")


def _value(value: Any) -> str:
    return shown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str), 1000)


def _versions() -> str:
    packages = ["retrieve-rerank", "transformers", "torch", "accelerate", "datasets", "tokenizers"]
    lines = (f"- {name}: {package_version(name) or 'not installed'}" for name in packages)
    return "\n".join([f"- Python: {python_version()}", *lines])
