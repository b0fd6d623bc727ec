"""``retrieve train``: fine-tune a model on rows, or a reranker on a collection and pairs."""

import argparse
import logging
import shlex
from typing import Any

from indexing.errors import InputError
from pipelines.commands.command import command, positive

_EXAMPLES = {
    "dense": "retrieve train dense --data negatives --eval-data held-out.jsonl --output my-encoder\n"
    "retrieve train dense --config train.yaml --lr 3e-5 --matryoshka 384,256,128",
    "sparse": "retrieve train sparse --data negatives --eval-data my-beir-folder --output my-splade\n"
    "retrieve train sparse --config train.yaml --document-weight 3e-3",
    "multi-vector": "retrieve train multi-vector --data pairs.jsonl --eval-data held-out.jsonl --output my-colbert\n"
    "retrieve train multi-vector --model my-colbert/final --data scored --loss DistillKLDiv --output my-distilled",
    "reranker": "retrieve train reranker --collection my-collection --pairs pairs.jsonl --output my-reranker\n"
    "retrieve train reranker --model cross-encoder/ms-marco-MiniLM-L6-v2 --data negatives --output my-reranker",
}
_SUMMARIES = {
    "dense": "Fine-tune a dense encoder on rows of texts, with or without labels.",
    "sparse": "Fine-tune a SPLADE encoder; a dense encoder gets a masked-language-model head first.",
    "multi-vector": "Fine-tune a late-interaction encoder (ColBERT); a dense encoder gets a projection of its token "
    "vectors first.",
    "reranker": "Fine-tune a cross-encoder on rows, or on a collection and pairs of queries with relevant texts: this "
    "mines hard negatives, and compares the model with the first stage on held-out queries.",
}


def add_parser(commands: Any) -> None:
    """Add the subcommand ``train`` with one subcommand per kind of model."""
    summary = (
        "Fine-tune a dense, SPLADE or late-interaction encoder, or a reranker; a stopped run resumes where it stopped."
    )
    parser = command(commands, "train", run, summary, "\n".join(text.split("\n")[0] for text in _EXAMPLES.values()))
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    for kind in _SUMMARIES:
        kind_parser = command(kinds, kind, run, _SUMMARIES[kind], _EXAMPLES[kind], keeps_in="output")
        kind_parser.set_defaults(kind=kind)
        _add_settings(kind_parser, kind)
        if kind == "reranker":
            _add_collection(kind_parser)


def _add_settings(parser: argparse.ArgumentParser, kind: str) -> None:
    add, flag = parser.add_argument, argparse.BooleanOptionalAction
    model = "cross-encoder, or encoder that gets a head" if kind == "reranker" else "model to train"
    add("--config", metavar="FILE", help="settings as YAML, with the names of these options as keys")
    add("--model", metavar="MODEL", help=f"folder or Hub name of the {model} (all-MiniLM-L6-v2)")
    add("--output", metavar="FOLDER", help="folder for checkpoints and, in `final`, the trained model")
    add("--data", metavar="ROWS", help="folder written by `retrieve mine`, JSONL, CSV, TSV, Parquet or `datasets` name")
    add("--split", metavar="NAME", help="split of a `datasets` name")
    add(
        "--columns",
        type=_names,
        metavar="A,B",
        help="columns to read, in order; a label is named label, score or scores (all except ids)",
    )
    add("--eval-data", metavar="ROWS", help="held-out rows, or a BEIR folder (not for rerankers)")
    add("--loss", metavar="NAME", help="class of the loss, such as MarginMSE (chosen by the columns)")
    add("--loss-option", action="append", metavar="NAME=VALUE", help="option of the loss, such as scale=30; repeatable")
    add("--epochs", type=float, metavar="N", help="passes over the rows (1)")
    add("--max-steps", type=positive, metavar="N", help="number of steps; overrides --epochs")
    add(
        "--batch-size",
        type=positive,
        metavar="N",
        help="rows per step (32; 8 for a reranker's rows of several documents; 128 for a dense or multi-vector encoder "
        "with many rows)",
    )
    add(
        "--lr",
        type=float,
        metavar="RATE",
        help="learning rate (2e-5; 5e-5 for multi-vector; 2e-4 for LoRA or a new head)",
    )
    add("--warmup", type=float, metavar="SHARE", help="share of the steps over which the learning rate rises (0.1)")
    add("--max-length", type=positive, metavar="N", help="maximum tokens of a text or pair (the model's)")
    add("--dropout", type=float, metavar="P", help="dropout of all layers (0 on a CPU, else the model's)")
    add(
        "--lora",
        metavar="r=16,alpha=32,…",
        help="train an adapter and save it alone; also target=query+value, dropout=0.1",
    )
    add("--seed", type=int, metavar="N", help="seed of the order, of new weights and of held-out queries (42)")
    add("--bf16", action=flag, help="compute in bfloat16 (if the hardware supports it)")
    add("--checkpoints", type=positive, metavar="N", help="number of checkpoints during the run (4)")
    add("--resume", action=flag, help="resume a run of the same settings in --output (yes)")
    if kind == "dense":
        add("--corpus", metavar="FILE", help="learn from documents alone, instead of --data; says whether it helped")
        add(
            "--objective",
            choices=["pairs", "tsdae"],
            help="with --corpus: find texts by their titles and headings (pairs), or reconstruct damaged texts (tsdae)",
        )
        add("--matryoshka", type=_widths, metavar="W,W", help="widths of truncated vectors to train too")
    if kind == "sparse":
        add("--document-weight", type=float, metavar="W", help="regularizer of documents' terms (3e-5)")
        add("--query-weight", type=float, metavar="W", help="regularizer of queries' terms (5e-5)")
        add(
            "--inference-free",
            action="store_true",
            default=None,
            help="encode queries by one learned weight per term, without a transformer",
        )

    if kind == "multi-vector":
        add("--dimension", type=positive, metavar="N", help="width of the vectors, made from a dense encoder (128)")
        add("--query-length", type=positive, metavar="N", help="maximum tokens of a query (the model's, or 32)")
        add("--document-length", type=positive, metavar="N", help="maximum tokens of a document (the model's, or 180)")
        add(
            "--query-expansion",
            action="store_true",
            default=None,
            help="fill up queries with mask tokens to --query-length, made from a dense encoder",
        )


def _add_collection(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("from a collection").add_argument
    add("--collection", metavar="DIR", help="collection built by `retrieve index`; instead of --data")
    add("--pairs", metavar="FILE", help='records with a "query" and its relevant text, "positive"')
    add("--queries", metavar="FILE", help="queries in BEIR layout; with --qrels")
    add("--qrels", metavar="FILE", help="relevance judgements of documents of the collection")
    add("--sources", metavar="LEG=N,…", help="number of negatives of each leg (two of each leg)")
    add("--held-out", type=positive, metavar="N", help="queries to compare on (a tenth, at most 500)")
    add("--limit", type=positive, metavar="N", help="maximum number of training queries")
    add("--candidates", type=positive, metavar="N", help="hits to rerank in the comparison (50)")
    add(
        "--check",
        action="append",
        metavar="NAME=FOLDER[:SPLIT]",
        help="BEIR folder of another collection: also measure what the reranker does to searches there; repeatable",
    )


def run(options: argparse.Namespace) -> int:
    """Train the model and print the report and the next command."""
    from transformers.utils import logging as transformers_logging

    from pipelines.training.recipes.processes import is_main
    from pipelines.training.recipes.settings import TrainSettings
    from pipelines.training.recipes.train import train

    # The report and the model card replace the trainer's own messages.
    transformers_logging.set_verbosity_error()
    logging.getLogger("pipelines.training").setLevel(logging.INFO)
    flags = dict(vars(options))
    if options.loss_option:
        flags["loss_options"] = dict(_option(text) for text in options.loss_option)
    if options.kind == "reranker" and options.collection:
        return _from_collection(options, flags)
    settings = TrainSettings.read(options.config, flags, model=_default_model())
    if options.kind == "reranker" and options.check:
        raise InputError("--check goes with --collection, whose legs are the first stage")
    if getattr(options, "corpus", None):
        return _from_corpus(options, settings)
    if getattr(options, "objective", None):
        raise InputError("--objective goes with --corpus")
    if settings.data is None:
        alternative = ", or --collection DIR with --pairs FILE" if options.kind == "reranker" else ""
        raise InputError(f"there is no training data: add --data ROWS{alternative}")
    report = train(options.kind, settings)
    if not is_main():
        return 0
    print(report)
    model = shlex.quote(f"{settings.output}/final")
    next_command = {
        "dense": f"retrieve index corpus.jsonl --to my-collection --dense {model}",
        "sparse": f"retrieve index corpus.jsonl --to my-collection --sparse {model}",
        "multi-vector": f"retrieve index corpus.jsonl --to my-collection --late-interaction {model}",
        "reranker": f'retrieve search my-collection "your question" --reranker {model}',
    }
    print(f"  next: {next_command[options.kind]}")
    return 0


def _from_corpus(options: argparse.Namespace, settings: Any) -> int:
    from indexing.corpora.corpus import read_corpus
    from pipelines.training.recipes.corpus_only import train_on_corpus

    if settings.data is not None or settings.eval_data is not None:
        raise InputError("--corpus creates its own rows: omit --data and --eval-data")
    report = train_on_corpus(settings, read_corpus(options.corpus), objective=options.objective)
    print(report)
    if report.is_gain:
        model = shlex.quote(f"{settings.output}/final")
        print(f"  next: retrieve index {shlex.quote(options.corpus)} --to my-collection --dense {model}")
    return 0


def _from_collection(options: argparse.Namespace, flags: dict[str, Any]) -> int:
    from pipelines.commands.mine import quotas_of, read_pairs
    from pipelines.training.recipes.collection import CollectionSettings, train_for_collection
    from pipelines.training.recipes.settings import TrainSettings

    if bool(options.pairs) == bool(options.queries or options.qrels):
        raise InputError("--collection needs relevant texts: --pairs FILE, or --queries FILE and --qrels FILE")
    if bool(options.queries) != bool(options.qrels):
        raise InputError("--queries and --qrels must be used together")
    if options.data or options.eval_data:
        raise InputError("--collection creates its own rows: omit --data and --eval-data")
    settings = TrainSettings.read(options.config, flags, model=_default_model())
    collection_settings = CollectionSettings(
        options.collection,
        quotas=quotas_of(options.sources) if options.sources else None,
        held_out=options.held_out,
        limit=options.limit,
        checks=_checks(options.check or []),
        **({"candidates": options.candidates} if options.candidates else {}),
    )
    if options.pairs:
        report = train_for_collection(settings, collection_settings, pairs=read_pairs(options.pairs))
    else:
        from indexing.corpora.queries import read_qrels, read_queries

        queries, qrels = read_queries(options.queries), read_qrels(options.qrels)
        report = train_for_collection(settings, collection_settings, queries=queries, qrels=qrels)
    print(report)
    advice = "next" if report.comparison.is_gain else "next: use more queries (--limit) or epochs; or try it anyway"
    collection, model = shlex.quote(options.collection), shlex.quote(f"{settings.output}/final")
    print(f'  {advice}: retrieve search {collection} "your question" --reranker {model}')
    print(
        f"  the model carries the weight {report.comparison.carried:g} of the first stage's score, measured on queries "
        f"of {options.collection} only; for another collection: retrieve tune DIR … --reranker {model}"
    )
    return 0


def _checks(given: list[str]) -> dict[str, str]:
    checks: dict[str, str] = {}
    for text in given:
        name, _, folder = text.partition("=")
        if not name or not folder or name in checks:
            raise InputError(f"--check takes a new name and a BEIR folder, as in fiqa=data/fiqa, not {text!r}")
        checks[name] = folder
    return checks


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
        raise InputError(f"--loss-option needs NAME=VALUE, such as scale=30, not {text!r}")
    return name, yaml.safe_load(value)
