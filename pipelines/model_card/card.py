"""A model card: what the model is, how to use it, what it was trained on and how well it does.

An encoder has its card with it (`card_of`): evaluators and trainers write into it, and `Encoder.save` writes it down.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

from indexing.disk import write_atomically
from pipelines.model_card.citations import citations
from pipelines.model_card.dataset import DatasetFacts
from pipelines.model_card.evaluations import Evaluations, EvaluationTable
from pipelines.model_card.log import LogTable
from pipelines.model_card.markdown import shown
from pipelines.model_card.usage import snippets

if TYPE_CHECKING:
    from retrieve.encoders.base import Encoder

MARK = "generated_from_trainer"
"""The tag by which a card is known as ours, to be written anew."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_TAGS = {
    "dense": ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense"],
    "sparse": ["sentence-transformers", "sparse-encoder", "sparse", "splade"],
    "csr": ["sentence-transformers", "sparse-encoder", "sparse", "csr"],
    "cross": ["sentence-transformers", "cross-encoder", "reranker"],
}
_PIPELINES = {"dense": "sentence-similarity", "sparse": "feature-extraction", "cross": "text-ranking"}
_TITLES = {
    "dense": "Sentence Transformer",
    "sparse": "SPLADE Sparse Encoder",
    "csr": "CSR Sparse Encoder",
    "cross": "Cross Encoder",
}
_PURPOSES = {
    "dense": "It maps texts to vectors of {width} dimensions, for semantic search and similarity.",
    "sparse": "It maps texts to weights of the {width} terms of its vocabulary, for an inverted index.",
    "csr": "It maps texts to a few of {width} latents, by which texts are told apart and their vectors given back.",
    "cross": "It reads a query and a document together and scores how well they match, to rerank search results.",
}


@dataclass
class Card:
    """All that a card says; a trainer fills in what it knows, and evaluators what they find.

    Parameters
    ----------
    name
        By which the model is loaded; a title, too.
    base_model
        What was trained, as a Hub name. A folder's path is no use to others and is left out.
    datasets
        Names on the Hub.
    language, license
        For the Hub.
    tables
        Evaluations beside those of evaluators.
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
    """The loss of each dataset by its name, "" where there is one."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    non_default: Mapping[str, Any] = field(default_factory=dict)
    log: LogTable | None = None
    seconds: float | None = None
    device: str = ""

    def set_evaluation_metrics(
        self, evaluator: Any, metrics: Mapping[str, float], epoch: float = -1, step: int = -1
    ) -> None:
        """Take down what an evaluator found; of those of a trainer the figures themselves stand in its log."""
        self.evaluations.record(evaluator, metrics, step)

    def text(self, encoder: "Encoder") -> str:
        """Give the card of an encoder as Markdown, with its front matter."""
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

        found = [
            EvalResult(
                task_type=_slug(one.title),
                task_name=one.title,
                dataset_type=_slug(one.dataset) or "unknown",
                dataset_name=one.dataset or "unknown",
                metric_type=_slug(measure),
                metric_name=measure,
                metric_value=values[one.measured],
            )
            for one in self._evaluated()
            for measure, values in one.figures.items()
            if one.measured in values
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
            metrics=list(dict.fromkeys(one.metric_type for one in found)) or None,
            model_name=self.name,
            eval_results=found or None,
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
            f"* {'Labels' if encoder.kind == 'cross' else 'Dimensions'}: {encoder.dimension}",
        ]
        similarity = getattr(encoder, "similarity", None)
        facts += [f"* Similarity: {similarity}"] if similarity else []
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
        for title, some in (("Training data", self.train), ("Held-out data", self.evaluation)):
            if some:
                parts += [f"### {title}", *map(str, some)]
        for name, loss in self.losses.items():
            settings = json.dumps(dict(loss.settings), indent=4, ensure_ascii=False, default=str)
            heading = "### Loss" + (f" of {shown(name)}" if name else "")
            parts.append(f"{heading}\n\n`{type(loss).__name__}` with:\n\n```json\n{settings}\n```")
        if self.arguments:
            every = "\n".join(f"- {name}: {_value(value)}" for name, value in self.arguments.items())
            changed = "\n".join(f"- {name}: {_value(value)}" for name, value in self.non_default.items())
            parts.append(f"### Hyperparameters\n\nOther than by default:\n\n{changed or '- none'}")
            parts.append(f"<details><summary>All of them</summary>\n\n{every}\n\n</details>")
        if self.log is not None and self.log.rows:
            parts.append(f"### Training log\n\n{self.log}")
        if self.seconds is not None:
            where = f" on {shown(self.device)}" if self.device else ""
            parts.append(f"### Time\n\n* Training: {self.seconds / 60:.1f} minutes{where}")
        return parts


def card_of(model: Any) -> Any:
    """Give the card that an encoder has with it, a new one at first; None of what is no encoder."""
    if not hasattr(model, "model_card_data"):
        return None
    if model.model_card_data is None:
        model.model_card_data = Card()
    return model.model_card_data


def is_by_hand(path: Path) -> bool:
    """Say whether a README.md is there that no trainer wrote."""
    return path.is_file() and MARK not in path.read_text("utf-8", errors="replace")


def write_card(folder: str | Path, card: Card, encoder: "Encoder") -> None:
    """Write a card into a model folder; a README.md that somebody wrote by hand is left as it is."""
    path = Path(folder) / "README.md"
    if is_by_hand(path):
        return
    text = card.text(encoder).encode()
    write_atomically(path, lambda file: file.write(text))


def _family(encoder: "Encoder") -> str:
    return "csr" if type(encoder.modules[-1]).__name__ == "SparseAutoEncoder" else encoder.kind


def _names(losses: Any) -> list[str]:
    """Name losses and the losses within them."""
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
    names = ["retrieve-rerank", "transformers", "torch", "accelerate", "datasets", "tokenizers"]
    found = {"Python": python_version()} | {name: version(name) for name in names}
    return "\n".join(f"- {name}: {of_one}" for name, of_one in found.items())
