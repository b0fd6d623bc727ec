"""``retrieve index``: build a collection from a corpus, or update one."""

import argparse
import shlex
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError
from indexing.indexes.registry import backends_of
from indexing.plurals import counted
from pipelines.commands.command import (
    add_json_option,
    command,
    dense_encoder,
    json_text,
    number_or_by_field,
    positive,
    remote_model,
    sparse_encoder,
    stored_encoders,
    token_encoder,
)
from pipelines.commands.index_files import (
    add_files_options,
    are_files,
    check_files_options,
    check_same_collection,
    files_corpus,
    filter_fields,
    finish_files,
    sync,
)
from pipelines.commands.index_options import (
    add_bm25_options,
    add_index_options,
    add_text_options,
    index_choices,
    index_parameters,
    option_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indexing.corpora.corpus import Corpus
    from pipelines.build.report import BuildReport


def add_parser(commands: Any) -> None:
    """Add the subcommand and its options."""
    parser = command(
        commands,
        "index",
        run,
        "Build a collection from a corpus, with a BM25 and a dense leg, and a sparse one with --sparse; or update it. "
        "Run the same command again to resume a build or an update that was stopped or killed.",
        "retrieve index ./handbook --to handbook.index\n"
        "retrieve index ./handbook --to handbook.index --remove-missing --watch\n"
        "retrieve index corpus.jsonl --to my-collection\n"
        "retrieve index scifact/ --to my-collection --dense BAAI/bge-base-en-v1.5 --dense-index hnsw\n"
        "retrieve index corpus.jsonl --to my-collection --dense-backend qdrant --hnsw-m 32\n"
        "retrieve index corpus.jsonl --to my-collection --dry-run\n"
        "retrieve index changed.jsonl --to my-collection --update\n"
        "retrieve index handbook.jsonl --to my-collection --chunk markdown\n"
        "retrieve index parquet-shards/ --to my-collection --engine ray --ray-shards /mnt/shared/encoded --workers 32",
        keeps_in="to",
    )
    parser.add_argument(
        "corpus",
        metavar="CORPUS",
        nargs="+",
        help="a folder, files or globs of documents (Markdown, PDF, Word, HTML, …); or a corpus of records: a BEIR "
        "folder, a .jsonl, .csv, .tsv or .parquet file, a folder of Parquet files, or a `datasets` name",
    )
    parser.add_argument("--to", metavar="DIR", required=True, help="the collection's directory")
    parser.add_argument("--dense", metavar="MODEL", help="dense encoder: a path, Hub name or URL (all-MiniLM-L6-v2)")
    parser.add_argument("--dense-model", metavar="NAME", help="with --dense URL: the model's name at that server")
    parser.add_argument(
        "--dense-dim",
        type=positive,
        metavar="N",
        help="keep only the first N dimensions, of a model trained for that (all)",
    )
    parser.add_argument("--no-dense", action="store_true", help="build no dense leg")
    parser.add_argument(
        "--dense-backend",
        choices=backends_of("vectors"),
        help="the index of the dense leg (faiss)",
    )
    parser.add_argument("--sparse", metavar="MODEL", help="SPLADE encoder, likewise; adds a learned sparse leg")
    parser.add_argument(
        "--sparse-backend",
        choices=backends_of("weights"),
        help="the index of the sparse leg: impacts in Lucene, exact postings without Java, or Qdrant (impact)",
    )
    parser.add_argument(
        "--late-interaction",
        nargs="?",
        const="",
        metavar="MODEL",
        help="store token vectors, which --reranker late-interaction then reads: of this late-interaction (ColBERT) "
        "model, which is also searched, or without MODEL of the dense encoder",
    )
    parser.add_argument(
        "--late-interaction-backend",
        choices=backends_of("tokens"),
        help="the index of the token vectors: the project's own, or multivectors in Qdrant (tokens)",
    )
    parser.add_argument(
        "--late-interaction-dim",
        type=positive,
        metavar="N",
        help="store token vectors of the dense encoder in N dimensions, their principal axes (all)",
    )
    parser.add_argument(
        "--late-interaction-pool-factor",
        type=float,
        metavar="F",
        help="keep about one of F token vectors of a document, the means of similar ones (all)",
    )
    parser.add_argument("--no-bm25", action="store_true", help="build no BM25 leg")
    parser.add_argument(
        "--bm25-backend",
        choices=backends_of("text"),
        help="the index of the BM25 leg: Lucene, or Qdrant with equal scores (bm25)",
    )
    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "int8"],
        default="auto",
        help="number format of the encoders (auto)",
    )
    parser.add_argument(
        "--on-error",
        choices=["raise", "skip"],
        default="raise",
        help="at a malformed line: stop and report its place, or write it to DIR.skipped.jsonl and continue (raise)",
    )
    parser.add_argument(
        "--on-duplicate",
        choices=["error", "first", "last"],
        default="error",
        help="if an id occurs twice: treat it as a malformed line, or keep the first or the last document (error)",
    )
    for role in ("id", "text", "title"):
        parser.add_argument(f"--{role}-field", metavar="NAME", help=f"the field with a document's {role}")
    parser.add_argument(
        "--filter-field",
        action="append",
        default=[],
        metavar="NAME:TYPE",
        help="a metadata field for filters, as in year:number; types: keyword, number, date, boolean; may be repeated",
    )
    parser.add_argument("--config", metavar="NAME", help="the configuration of a `datasets` corpus")
    parser.add_argument("--split", metavar="NAME", help="the split of a `datasets` corpus")
    parser.add_argument(
        "--chunk",
        choices=["tokens", "sentences", "markdown", "pages"],
        help="split documents into chunks: by tokens, whole sentences, Markdown headings (files: markdown), or pages",
    )
    parser.add_argument("--chunk-size", type=int, default=256, metavar="N", help="words and marks per chunk (256)")
    parser.add_argument(
        "--chunk-overlap", type=int, metavar="N", help="words and marks shared with the previous chunk (an eighth)"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--overwrite", action="store_true", help="build a new collection and replace the one in DIR")
    mode.add_argument(
        "--update",
        action="store_true",
        help="add new and changed documents to the collection in DIR, with its own encoders",
    )
    mode.add_argument("--dry-run", action="store_true", help="check the corpus, estimate time and size, write nothing")
    parser.add_argument(
        "--remove-missing",
        action="store_true",
        help="with --update, and for files: delete documents that CORPUS does not contain",
    )
    bm25 = parser.add_argument_group("BM25 leg")
    bm25.add_argument(
        "--k1",
        type=number_or_by_field,
        metavar="N",
        help="term frequency saturation (0.9); with --bm25-fields also by field: title=0.6,text=0.9",
    )
    bm25.add_argument(
        "--b",
        type=number_or_by_field,
        metavar="N",
        help="length normalization, 0 to 1 (0.4); with --bm25-fields also by field",
    )
    add_text_options(bm25)
    add_bm25_options(bm25)
    add_files_options(parser)
    add_index_options(parser)
    ray = parser.add_argument_group("encoding on several machines")
    ray.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="encode in this process, or as a Ray Data job over parts of CORPUS (Parquet, JSON lines); the indexes are "
        "built in this process (local)",
    )
    ray.add_argument(
        "--ray-shards",
        metavar="FOLDER",
        help="folder for encoded documents, at the same path on every machine; a repeated job encodes only what is "
        "missing there; delete it after the build (DIR.encoded)",
    )
    ray.add_argument("--workers", type=positive, metavar="N", help="Ray workers (one per GPU, or else per processor)")
    ray.add_argument(
        "--ray-address", metavar="HOST:PORT", help="a Ray cluster ($RAY_ADDRESS, else one started on this machine)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json_option(parser)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand and return its exit status."""
    from indexing.collection.staging import check_free
    from indexing.corpora import FilesCorpus
    from indexing.filters import check_fields
    from pipelines.build.job import build_legs
    from pipelines.build.plan import fits, make_plan, may_be_built
    from pipelines.build.sync import is_of_files

    options.dense = remote_model(options)
    of_files = are_files(options.corpus)
    check_files_options(options, files=of_files)
    _check(options, of_files)
    skipped_to = Path(f"{options.to.rstrip('/')}.skipped.jsonl")
    skipped = skipped_to if options.on_error == "skip" and not options.dry_run else None
    corpus = files_corpus(options, skipped) if of_files else _corpus(options, skipped)
    build_options: dict[str, Any] = {"on_duplicate": options.on_duplicate, "show_progress": not _quiet(options)}
    legs = {
        "bm25": not options.no_bm25,
        "dense": not options.no_dense,
        "sparse": bool(options.sparse),
        "tokens": options.late_interaction is not None,
    }
    if isinstance(corpus, FilesCorpus) and not options.overwrite and (options.update or is_of_files(options.to)):
        encoders = cache(lambda: _encoded(options, corpus, stored_encoders(options)))
        return sync(options, corpus, legs, encoders, _quiet(options))
    if options.update:
        return _finish(options, skipped, _update(options, corpus, legs, build_options))
    fields, indexes = check_fields(filter_fields(options.filter_field, files=of_files)), index_choices(options)
    # What needs no model is checked before one is loaded.
    named = [name for name, chosen in legs.items() if chosen]
    may_exist = not options.dry_run and may_be_built(options.to, corpus, named, fields)
    if not (options.dry_run or may_exist):
        check_free(Path(options.to).resolve(), options.overwrite)
    dense = dense_encoder(options) if legs["dense"] else None
    wanted = {
        "bm25": legs["bm25"],
        "dense": dense,
        "sparse": sparse_encoder(options) if legs["sparse"] else None,
        "multi_vector": token_encoder(options, dense, corpus) if legs["tokens"] else None,
        **indexes,
        "fields": fields,
    }
    plan = make_plan(**wanted)
    if options.dry_run:
        from pipelines.build.estimate import estimate_build

        estimate = estimate_build(corpus, plan, **build_options)
        print(json_text(asdict(estimate)) if options.json else f"{corpus.description}: {estimate}")
        return 0
    if not options.overwrite and may_exist and fits(options.to, plan):
        line = f"{options.to} is already built from this corpus with these models: nothing to do"
        print(json_text({"path": options.to, "already_built": True}) if options.json else line)
        return 0

    encoded_plan = replace(plan, encoders=_encoded(options, corpus, plan.encoders))
    report = build_legs(corpus, options.to, encoded_plan, overwrite=options.overwrite, **build_options)
    status = _finish(options, skipped, report)
    if isinstance(corpus, FilesCorpus):
        return finish_files(options, corpus, plan.encoders, _quiet(options))
    return status


def _corpus(options: argparse.Namespace, skipped_to: Path | None) -> "Corpus":
    from indexing.corpora.corpus import read_corpus

    corpus = read_corpus(
        options.corpus[0],
        on_error=options.on_error,
        on_duplicate=options.on_duplicate,
        skipped_to=skipped_to,
        id_field=options.id_field,
        text_field=options.text_field,
        title_field=options.title_field,
        config=options.config,
        split=options.split,
    )
    return _chunked(corpus, options) if options.chunk else corpus


def _quiet(options: argparse.Namespace) -> bool:
    return bool(options.quiet or options.json)


def _check(options: argparse.Namespace, of_files: bool) -> None:
    if options.remove_missing and not (options.update or of_files):
        raise InputError("--remove-missing requires --update")
    if options.update:
        building = {
            "--dense-backend": options.dense_backend is not None,
            "--dense-dim": options.dense_dim is not None,
            "--sparse-backend": options.sparse_backend is not None,
            "--bm25-backend": options.bm25_backend is not None,
            "--late-interaction-backend": options.late_interaction_backend is not None,
            "--late-interaction without a model": options.late_interaction == "",
            "--late-interaction-dim": options.late_interaction_dim is not None,
            "--late-interaction-pool-factor": options.late_interaction_pool_factor is not None,
            "--filter-field": bool(options.filter_field),
            "--bm25-fields": options.bm25_fields is not None,
            **{option_of(name): True for name in index_parameters(options)},
        }
        wrong = next((option for option, given in building.items() if given), None)
        if wrong is not None:
            raise InputError(
                f"{wrong} does not apply to --update, which keeps the existing indexes: leave it out, change an index "
                "with `retrieve reindex`, or build a new collection with --overwrite"
            )
    for name in ("backend", "dim", "pool_factor"):
        if options.late_interaction is None and getattr(options, f"late_interaction_{name}") is not None:
            raise InputError(f"--late-interaction-{name.replace('_', '-')} requires --late-interaction")
    if options.dense_dim is not None and options.no_dense:
        raise InputError("--dense-dim requires a dense leg, and --no-dense builds none")
    given = [name for name in ("ray_shards", "workers", "ray_address") if getattr(options, name) is not None]
    if given and options.engine != "ray":
        raise InputError(f"--{given[0].replace('_', '-')} requires --engine ray")


def _encoded(options: argparse.Namespace, corpus: "Corpus", encoders: "Mapping[str, Any]") -> "Mapping[str, Any]":
    """Return the encoders, or with Ray lookups of what they encoded on other machines."""
    if options.engine == "local" or not encoders:
        return encoders
    from pipelines.build.ray_engine import Cluster, encode_with_ray

    encoded = encode_with_ray(
        corpus,
        encoders,
        options.ray_shards or f"{options.to.rstrip('/')}.encoded",
        cluster=Cluster(options.ray_address, options.workers),
        show_progress=not _quiet(options),
    )
    if not options.json:
        print(encoded)
    return encoded.encoders


def _chunked(corpus: "Corpus", options: argparse.Namespace) -> "Corpus":
    from indexing.corpora.chunked import ChunkedCorpus
    from indexing.corpora.chunking import Chunking

    if options.update and not options.remove_missing:
        # Otherwise the last chunks of a document that became shorter would remain.
        raise InputError("--update of chunks needs the whole corpus and --remove-missing")
    return ChunkedCorpus(corpus, Chunking(options.chunk, options.chunk_size, options.chunk_overlap))


def _update(
    options: argparse.Namespace, corpus: "Corpus", legs: "Mapping[str, bool]", build_options: dict[str, Any]
) -> "BuildReport":
    from pipelines.build.job import update_collection

    check_same_collection(options, legs)
    encoders = _encoded(options, corpus, stored_encoders(options))
    return update_collection(corpus, options.to, encoders=encoders, remove=options.remove_missing, **build_options)


def _finish(options: argparse.Namespace, skipped: Path | None, report: "BuildReport") -> int:
    """Print the report, and where the skipped records are listed, if they are."""
    if options.json:
        listed = {"skipped_to": str(skipped)} if report.skipped and skipped else {}
        print(json_text({**report.as_dict(), **listed}))
        return 0
    print(report)
    if report.skipped and skipped:
        print(f"  {counted(report.skipped, 'record')} skipped; {skipped} lists them with the reasons")
    print(f'  next: retrieve search {shlex.quote(options.to)} "your question"')
    return 0
