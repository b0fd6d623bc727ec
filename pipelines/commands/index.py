"""``retrieve index``: a corpus in, a collection out; or one that is there brought up to date."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from pipelines.commands.command import (
    command,
    dense_encoder,
    number_or_by_field,
    numbers_by_field,
    positive,
    sparse_encoder,
)
from pipelines.commands.index_options import add_index_options, index_parameters, option_of, refuse_stray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indexing.corpora.corpus import Corpus
    from pipelines.build.job import BuildReport


def add_parser(commands: Any) -> None:
    """Describe the command line."""
    parser = command(
        commands,
        "index",
        run,
        "Build a collection from a corpus: BM25 and dense legs by default, a sparse one if you name its model. "
        "A build or an update that was stopped or killed goes on when it is run again.",
        "retrieve index corpus.jsonl --to my-collection\n"
        "retrieve index scifact/ --to my-collection --dense BAAI/bge-base-en-v1.5 --dense-index hnsw\n"
        "retrieve index corpus.jsonl --to my-collection --dense-backend qdrant --hnsw-m 32\n"
        "retrieve index corpus.jsonl --to my-collection --dry-run\n"
        "retrieve index changed.jsonl --to my-collection --update\n"
        "retrieve index handbook.jsonl --to my-collection --chunk markdown\n"
        "retrieve index parquet-shards/ --to my-collection --engine ray --ray-shards /mnt/shared/encoded --workers 32",
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        help="a BEIR folder, a .jsonl, .csv, .tsv or .parquet file, a folder of Parquet files, or a `datasets` name",
    )
    parser.add_argument("--to", metavar="DIR", required=True, help="the collection's directory")
    parser.add_argument("--dense", metavar="MODEL", help="the dense encoder, a path or Hub name (all-MiniLM-L6-v2)")
    parser.add_argument("--no-dense", action="store_true", help="build no dense leg")
    parser.add_argument(
        "--dense-backend", choices=["faiss", "qdrant"], default="faiss", help="where its vectors are searched (faiss)"
    )
    parser.add_argument("--sparse", metavar="MODEL", help="a SPLADE encoder; adds a learned sparse leg")
    parser.add_argument(
        "--sparse-backend",
        choices=["impact", "qdrant"],
        default="impact",
        help="where its term weights are searched: impacts in Lucene (impact), or qdrant",
    )
    parser.add_argument("--no-bm25", action="store_true", help="build no BM25 leg")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16"], default="auto", help="of the encoders (auto)"
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="at a malformed line stop and say where (raise), or record it in DIR.skipped.jsonl and go on (skip)",
    )
    parser.add_argument(
        "--on-duplicate",
        choices=["error", "first", "last"],
        default="error",
        help="when an id stands twice: as a malformed line (error), or the first or the last document counts",
    )
    for role in ("id", "text", "title"):
        parser.add_argument(f"--{role}-field", metavar="NAME", help=f"the field that holds a document's {role}")
    parser.add_argument(
        "--filter-field",
        action="append",
        default=[],
        metavar="NAME:TYPE",
        help="a metadata field that can be filtered by, as in year:number; types: keyword, number, date, boolean",
    )
    parser.add_argument("--config", metavar="NAME", help="of a `datasets` set")
    parser.add_argument("--split", metavar="NAME", help="of a `datasets` set")
    parser.add_argument(
        "--chunk",
        choices=["tokens", "sentences", "markdown"],
        help="cut documents into chunks, which keep their place: by words, whole sentences, or Markdown headings",
    )
    parser.add_argument("--chunk-size", type=int, default=256, metavar="N", help="words and marks in a chunk (256)")
    parser.add_argument(
        "--chunk-overlap", type=int, metavar="N", help="of which so many are the previous one's (an eighth)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--overwrite", action="store_true", help="build anew and replace the collection in DIR")
    what.add_argument(
        "--update",
        action="store_true",
        help="write the documents that are new or differ to the collection in DIR, with its own encoders",
    )
    what.add_argument(
        "--dry-run", action="store_true", help="read and check the corpus, say how long and how large, write nothing"
    )
    parser.add_argument(
        "--remove-missing", action="store_true", help="with --update: delete documents that CORPUS does not have"
    )
    words = parser.add_argument_group("the BM25 leg")
    words.add_argument(
        "--bm25-fields",
        type=numbers_by_field,
        metavar="title=W,text=W",
        help="score title and text apart, with these weights (as one field)",
    )
    words.add_argument(
        "--k1",
        type=number_or_by_field,
        metavar="N",
        help="how slowly a repeated word saturates (0.9); with --bm25-fields also by field: title=0.6,text=0.9",
    )
    words.add_argument(
        "--b",
        type=number_or_by_field,
        metavar="N",
        help="how far long documents are held back (0.4); with --bm25-fields also by field",
    )
    words.add_argument(
        "--analyzer", metavar="NAME", help="how texts become words: a language's code, as in de (Anserini's English)"
    )
    add_index_options(parser)
    ray = parser.add_argument_group("where one machine is too small")
    ray.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="encode here, or as a Ray Data job over parts of CORPUS (Parquet, JSON lines); the indexes are built here",
    )
    ray.add_argument(
        "--ray-shards",
        metavar="FOLDER",
        help="where workers put what they encoded, the same on every machine (DIR.encoded); kept, so that a job that "
        "is run again encodes what is missing only; remove it when the collection is built",
    )
    ray.add_argument("--workers", type=positive, metavar="N", help="of Ray (one a GPU, or without any one a processor)")
    ray.add_argument("--ray-address", metavar="HOST:PORT", help="of a Ray cluster ($RAY_ADDRESS, else one begun here)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Run it."""
    from indexing.corpora.corpus import read_corpus
    from pipelines.build.job import build_legs
    from pipelines.build.plan import is_built, make_plan

    _check(options)
    skipped_to = Path(f"{options.to.rstrip('/')}.skipped.jsonl")
    corpus = read_corpus(
        options.corpus,
        on_error=options.on_error,
        on_duplicate=options.on_duplicate,
        skipped_to=skipped_to if options.on_error == "skip" and not options.dry_run else None,
        id_field=options.id_field,
        text_field=options.text_field,
        title_field=options.title_field,
        config=options.config,
        split=options.split,
    )
    if options.chunk:
        corpus = _chunked(corpus, options)
    how: dict[str, Any] = {"on_duplicate": options.on_duplicate, "show_progress": not options.quiet}
    if options.update:
        return _run_safely(options, skipped_to, lambda: _update(options, corpus, how))
    dense = None if options.no_dense else dense_encoder(options)
    sparse = sparse_encoder(options) if options.sparse else None
    wanted = {
        "bm25": not options.no_bm25,
        "dense": dense,
        "sparse": sparse,
        **_indexes(options),
        "fields": _fields(options.filter_field),
    }
    plan = make_plan(**wanted)
    if options.dry_run:
        from pipelines.build.estimate import estimate_build

        print(f"{options.corpus}: {estimate_build(corpus, plan, **how)}")
        return 0
    if not options.overwrite and is_built(options.to, corpus, **wanted):
        print(f"{options.to} was built from this corpus with these models already: nothing to do")
        return 0

    def build() -> "BuildReport":
        encoders = _encoded(options, corpus, plan.encoders)
        return build_legs(corpus, options.to, replace(plan, encoders=encoders), overwrite=options.overwrite, **how)

    return _run_safely(options, skipped_to, build)


def _check(options: argparse.Namespace) -> None:
    if options.remove_missing and not options.update:
        raise InputError("--remove-missing goes with --update")
    if options.update:
        building = {
            "--dense-backend": options.dense_backend != "faiss",
            "--sparse-backend": options.sparse_backend != "impact",
            "--filter-field": bool(options.filter_field),
            "--bm25-fields": options.bm25_fields is not None,
            "--analyzer": options.analyzer is not None,
            **{option_of(name): True for name in index_parameters(options)},
        }
        wrong = next((option for option, given in building.items() if given), None)
        if wrong is not None:
            raise InputError(
                f"{wrong} says how a collection is built, and --update keeps the one that is there: leave it out, "
                "change an index with `retrieve reindex`, or build anew with --overwrite"
            )
    given = [name for name in ("ray_shards", "workers", "ray_address") if getattr(options, name) is not None]
    if given and options.engine != "ray":
        raise InputError(f"--{given[0].replace('_', '-')} goes with --engine ray")
    if options.engine == "ray" and options.chunk:
        raise InputError("--engine ray encodes whole documents: leave --chunk out, or encode here (--engine local)")


def _indexes(options: argparse.Namespace) -> dict[str, Any]:
    """Give the indexes that the options ask for, as `make_plan` takes them."""
    from pipelines.build.plan import IndexChoice

    given = index_parameters(options)
    words: dict[str, Any] = {name: given.pop(name) for name in ("k1", "b") if name in given}
    if options.analyzer is not None:
        words["analyzer"] = options.analyzer
    shared = {"server", "on_disk"} if options.sparse and options.sparse_backend == "qdrant" else set()
    sparse = {name: _for_leg(name, value, "sparse") for name, value in given.items() if name in shared}
    if options.no_dense or options.dense_backend != "qdrant":
        given = {name: value for name, value in given.items() if name not in shared}
    if options.no_dense and given:
        raise InputError(f"{option_of(next(iter(given)))} goes with a dense leg, and --no-dense builds none")
    dense = {name: _for_leg(name, value, "dense") for name, value in given.items()}
    refuse_stray("dense", options.dense_backend, "vectors", dense.get("kind", "flat"), dense)
    return {
        "dense_index": IndexChoice(options.dense_backend, dense),
        "sparse_index": IndexChoice(options.sparse_backend, sparse),
        "bm25_fields": options.bm25_fields,
        "bm25_parameters": words,
    }


def _for_leg(name: str, value: Any, leg: str) -> Any:
    """Give each leg a collection of its own on a server."""
    if name != "server" or "collection" not in value:
        return value
    return {**value, "collection": f"{value['collection']}-{leg}"}


def _encoded(options: argparse.Namespace, corpus: "Corpus", encoders: "Mapping[str, Any]") -> "Mapping[str, Any]":
    """Give what encodes documents in a build: the encoders, or with Ray what they said on other machines."""
    if options.engine == "local" or not encoders:
        return encoders
    from pipelines.build.ray_engine import Cluster, encode_with_ray

    encoded = encode_with_ray(
        corpus,
        encoders,
        options.ray_shards or f"{options.to.rstrip('/')}.encoded",
        cluster=Cluster(options.ray_address, options.workers),
        show_progress=not options.quiet,
    )
    print(encoded)
    return encoded.encoders


def _chunked(corpus: "Corpus", options: argparse.Namespace) -> "Corpus":
    from indexing.corpora.chunked import ChunkedCorpus
    from indexing.corpora.chunking import Chunking

    if options.update and not options.remove_missing:
        # Of a document that has become shorter, the last chunks would stay.
        raise InputError("--update of chunks needs the whole corpus and --remove-missing")
    return ChunkedCorpus(corpus, Chunking(options.chunk, options.chunk_size, options.chunk_overlap))


def _fields(declared: "Sequence[str]") -> dict[str, str]:
    fields = {}
    for field in declared:
        name, colon, kind = field.rpartition(":")
        if not colon:
            raise InputError(f"--filter-field takes NAME:TYPE, as in year:number, not {field!r}")
        fields[name] = kind
    return fields


def _update(options: argparse.Namespace, corpus: "Corpus", how: dict[str, Any]) -> "BuildReport":
    from pipelines.build.job import update_collection
    from pipelines.models import collection_encoders

    encoders: Mapping[str, Any] = collection_encoders(
        options.to, dense=options.dense, sparse=options.sparse, dtype=options.dtype
    )
    encoders = _encoded(options, corpus, encoders)
    return update_collection(corpus, options.to, encoders=encoders, remove=options.remove_missing, **how)


def _run_safely(options: argparse.Namespace, skipped_to: Path, job: Any) -> int:
    try:
        report = job()
    except KeyboardInterrupt:
        print("\nwhat is done is kept: the same command goes on from there", file=sys.stderr)
        raise
    print(report)
    if report.skipped:
        print(f"  {report.skipped:,} malformed lines were left out; they are in {skipped_to}")
    print(f'  next: retrieve search {options.to} "your question"')
    return 0
