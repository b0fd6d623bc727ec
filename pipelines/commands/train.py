"""``retrieve train``: rows in, a fine-tuned model out; or for a reranker, a collection and pairs in."""

import argparse
import logging
from typing import Any

from indexing.errors import InputError
from pipelines.commands.command import command, positive

_EXAMPLES = {
    "dense": "retrieve train dense --data negatives --eval-data held-out.jsonl --output my-encoder\n"
    "retrieve train dense --config train.yaml --lr 3e-5 --matryoshka 384,256,128",
    "sparse": "retrieve train sparse --data negatives --eval-data my-beir-folder --output my-splade\n"
    "retrieve train sparse --config train.yaml --document-weight 3e-3",
    "reranker": "retrieve train reranker --collection my-collection --pairs pairs.jsonl --output my-reranker\n"
    "retrieve train reranker --model cross-encoder/ms-marco-MiniLM-L6-v2 --data negatives --output my-reranker",
}
_SUMMARIES = {
    "dense": "Fine-tune a dense encoder on rows of texts, with labels or without.",
    "sparse": "Fine-tune a SPLADE encoder; of a dense encoder without a masked-language-model head one is made first.",
    "reranker": "Fine-tune a cross-encoder on rows, or from a collection and pairs of queries with their right texts: "
    "hard negatives are mined, and the model is compared with the first stage on queries that it has not seen.",
}


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    summary = "Fine-tune a dense encoder, a SPLADE encoder or a reranker; a stopped run goes on where it stopped."
    parser = commands.add_parser("train", help=summary, description=summary)
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    for kind in _SUMMARIES:
        of_kind = command(kinds, kind, run, _SUMMARIES[kind], _EXAMPLES[kind])
        of_kind.set_defaults(kind=kind)
        _add_settings(of_kind, kind)
        if kind == "reranker":
            _add_collection(of_kind)


def _add_settings(parser: argparse.ArgumentParser, kind: str) -> None:
    model = "a cross-encoder, or an encoder that gets a head" if kind == "reranker" else "what is trained"
    parser.add_argument("--config", metavar="FILE", help="settings as YAML, by the names of these options")
    parser.add_argument("--model", metavar="MODEL", help=f"a folder or a Hub name: {model} (all-MiniLM-L6-v2)")
    parser.add_argument("--output", metavar="FOLDER", help="checkpoints, and the model in its folder `final`")
    parser.add_argument(
        "--data", metavar="ROWS", help="what `retrieve mine` wrote, JSONL, CSV, TSV, Parquet or a `datasets` name"
    )
    parser.add_argument("--split", metavar="NAME", help="of a `datasets` name")
    parser.add_argument(
        "--columns",
        type=_names,
        metavar="A,B",
        help="which columns, in order; a label is called label, score or scores",
    )
    parser.add_argument("--eval-data", metavar="ROWS", help="held-out rows, or a BEIR folder (not for rerankers)")
    parser.add_argument("--loss", metavar="NAME", help="a loss's class, as MarginMSE (chosen by the columns)")
    parser.add_argument(
        "--loss-option", action="append", metavar="NAME=VALUE", help="of the loss, as scale=30; may be repeated"
    )
    parser.add_argument("--epochs", type=float, metavar="N", help="passes over the rows (1)")
    parser.add_argument("--max-steps", type=positive, metavar="N", help="stop after so many steps, whatever the epochs")
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="rows a step (32; 8 of a reranker's rows of several documents; 128 for a dense encoder with many rows)",
    )
    parser.add_argument(
        "--lr", type=float, metavar="RATE", help="learning rate (2e-5; 2e-4 of a reranker that gets a head)"
    )
    parser.add_argument("--warmup", type=float, metavar="SHARE", help="share of the steps in which it rises (0.1)")
    parser.add_argument("--max-length", type=positive, metavar="N", help="tokens of a text or pair (the model's)")
    parser.add_argument("--dropout", type=float, metavar="P", help="of all layers (0 on a processor, else the model's)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the order, of new weights, of held-out queries (42)")
    parser.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction, help="compute in bfloat16 (where the machine has it)"
    )
    parser.add_argument("--checkpoints", type=positive, metavar="N", help="how often to save on the way (4)")
    parser.add_argument(
        "--resume", action=argparse.BooleanOptionalAction, help="go on with what --output holds of the same run (yes)"
    )
    if kind == "dense":
        parser.add_argument("--matryoshka", type=_widths, metavar="W,W", help="train the first dimensions, too")
    if kind == "sparse":
        parser.add_argument("--document-weight", type=float, metavar="W", help="price of documents' terms (3e-5)")
        parser.add_argument("--query-weight", type=float, metavar="W", help="price of queries' terms (5e-5)")
        parser.add_argument(
            "--inference-free",
            action="store_true",
            default=None,
            help="queries get a learned weight for each of their terms, and need no transformer",
        )


def _add_collection(parser: argparse.ArgumentParser) -> None:
    whole = parser.add_argument_group("from a collection")
    whole.add_argument("--collection", metavar="DIR", help="what `retrieve index` built; instead of --data")
    whole.add_argument("--pairs", metavar="FILE", help='records with a "query" and its right text, "positive"')
    whole.add_argument("--queries", metavar="FILE", help="queries in BEIR layout; with --qrels")
    whole.add_argument("--qrels", metavar="FILE", help="which documents of the collection are right")
    whole.add_argument("--sources", metavar="LEG=N,…", help="negatives of each leg (two of each that there is)")
    whole.add_argument("--held-out", type=positive, metavar="N", help="queries to compare on (a tenth, at most 500)")
    whole.add_argument("--limit", type=positive, metavar="N", help="train on so many queries at most")
    whole.add_argument("--candidates", type=positive, metavar="N", help="hits that are reranked when comparing (50)")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from transformers.utils import logging as transformers_logging

    from pipelines.training.recipes.processes import is_main
    from pipelines.training.recipes.settings import TrainSettings
    from pipelines.training.recipes.train import train

    # The card and the summary say what the trainer's own lines would.
    transformers_logging.set_verbosity_error()
    logging.getLogger("pipelines.training").setLevel(logging.INFO)
    flags = dict(vars(options))
    if options.loss_option:
        flags["loss_options"] = dict(_option(text) for text in options.loss_option)
    if options.kind == "reranker" and options.collection:
        return _from_collection(options, flags)
    settings = TrainSettings.read(options.config, flags, model=_default_model())
    if settings.data is None:
        also = ", or --collection DIR with --pairs FILE" if options.kind == "reranker" else ""
        raise InputError(f"there is nothing to train on: give --data ROWS{also}")
    report = train(options.kind, settings)
    if not is_main():
        return 0
    print(report)
    model = f"{settings.output}/final"
    following = {
        "dense": f"retrieve index corpus.jsonl --to my-collection --dense {model}",
        "sparse": f"retrieve index corpus.jsonl --to my-collection --sparse {model}",
        "reranker": f'retrieve search my-collection "your question" --reranker {model}',
    }
    print(f"  next: {following[options.kind]}")
    return 0


def _from_collection(options: argparse.Namespace, flags: dict[str, Any]) -> int:
    from pipelines.commands.mine import quotas_of, read_pairs
    from pipelines.training.recipes.collection import CollectionSettings, train_for_collection
    from pipelines.training.recipes.settings import TrainSettings

    if bool(options.pairs) == bool(options.queries or options.qrels):
        raise InputError("say what is right: --pairs FILE, or --queries FILE and --qrels FILE")
    if bool(options.queries) != bool(options.qrels):
        raise InputError("--queries and --qrels go together")
    if options.data or options.eval_data:
        raise InputError("--collection makes its own rows: leave --data and --eval-data out")
    settings = TrainSettings.read(options.config, flags, model=_default_model())
    whole = CollectionSettings(
        options.collection,
        quotas=quotas_of(options.sources) if options.sources else None,
        held_out=options.held_out,
        limit=options.limit,
        **({"candidates": options.candidates} if options.candidates else {}),
    )
    if options.pairs:
        report = train_for_collection(settings, whole, pairs=read_pairs(options.pairs))
    else:
        from indexing.corpora.queries import read_qrels, read_queries

        report = train_for_collection(
            settings, whole, queries=read_queries(options.queries), qrels=read_qrels(options.qrels)
        )
    print(report)
    first = "next" if report.comparison.is_gain else "next: more queries (--limit) or epochs; to try it all the same"
    print(f'  {first}: retrieve search {options.collection} "your question" --reranker {settings.output}/final')
    weight = report.comparison.weight
    if 0 < weight < 1:
        kept = f"{{model: {settings.output}/final, weight: {weight:g}}}"
        print(f"  or, with the first stage's score: the line `reranker: {kept}` in {options.collection}/search.yaml")
    return 0


def _default_model() -> str:
    from retrieve.default_models import default_dense_model

    return default_dense_model()


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _widths(text: str) -> list[int]:
    return [positive(part.strip()) for part in text.split(",")]


def _option(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"--loss-option takes a name and a value, as in scale=30, not {text!r}")
    return name, yaml.safe_load(value)
