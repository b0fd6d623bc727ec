"""What tests of the harness share: a small collection, systems over it, and one way to run them."""

from functools import partial

from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.harness import run_benchmark
from pipelines.evaluation.systems import Plan, System
from pipelines.evaluation.task import Settings
from pipelines.search import SearchConfig

QUERIES = {"q1": "oven recipe", "q2": "lost packets", "q3": "eigenvalues of a matrix", "udp": "User datagram protocol"}
QRELS = {"q1": {"cake": 2, "bread": 1}, "q2": {"udp": 1}, "q3": {"eig": 1, "svd": 1}, "udp": {"tcp": 1}}
SETTINGS = Settings(k=6, measures=("nDCG@5", "R@5"), timing=False, show_progress=False)


def system(name, *used, **options):
    """A system of these legs; options as in ``search.yaml``."""
    return System(name, SearchConfig.load({"legs": list(used), "depth": SETTINGS.k, **options}))


def bench(folder, legs, models, output, *systems, settings=SETTINGS, **options):
    said = []
    results = run_benchmark(
        [partial(load_evaluation_set, folder, check_corpus=False)],
        Plan(legs, systems),
        output,
        models=models,
        settings=settings,
        say=said.append,
        **options,
    )
    return results, said


def bytes_below(folder, *names):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in names
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }


ALL = (
    system("words", "bm25"),
    system("meaning", "dense"),
    system("learned", "sparse"),
    system("near", "graph"),
    system("sum", "bm25", "dense", "sparse", fusion={"weights": [1.0, 2.0, 0.5]}),
    system("shallow", "bm25", "dense", depth=2),
    system("two-models", "dense", "other", fusion={"method": "rrf", "k": 10.0}),
    system("reranked", "bm25", "dense", reranker={"model": "late-interaction", "candidates": 4}),
)
