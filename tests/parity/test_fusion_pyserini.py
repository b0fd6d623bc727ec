"""like="pyserini" against `pyserini.fusion`, and against the combination in its `HybridSearcher`."""

import ast
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from fusing import random_pairs, run
from indexing.runs import write_trec_run
from retrieve.fusion import Preset

LEFT, RIGHT = random_pairs()
QUERIES = [str(1000 + query) for query in range(len(LEFT))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return our legs as Pyserini's run files of distinct float32 scores, and as the equal `Hits`."""
    from indexing.hits import Hits
    from indexing.runs import read_trec_run

    trectools = pytest.importorskip("pyserini.trectools")
    folder = tmp_path_factory.mktemp("runs")
    theirs, ours = [], []
    for name, leg in (("left", LEFT), ("right", RIGHT)):
        write_trec_run(folder / name, leg, QUERIES)
        theirs.append(trectools.TrecRun(filepath=str(folder / name)))
        ours.append(Hits.from_run(read_trec_run(folder / name), QUERIES))
    return theirs, ours


@pytest.mark.parametrize(
    ("method", "options", "function", "theirs_options"),
    [
        ("rrf", {}, "reciprocal_rank_fusion", {}),
        ("rrf", {"k": 10}, "reciprocal_rank_fusion", {"rrf_k": 10}),
        ("interpolation", {"alpha": 0.3}, "interpolation", {"alpha": 0.3}),
        ("average", {}, "average", {}),
        ("normalize", {}, "normalize", {}),
    ],
)
def test_runs(runs, method, options, function, theirs_options):
    fusion = pytest.importorskip("pyserini.fusion")
    theirs, ours = runs
    expected: dict[str, dict[str, float]] = {query: {} for query in QUERIES}
    data = getattr(fusion, function)(theirs, **theirs_options).run_data
    for query, doc_id, score in zip(data["topic"], data["docid"], data["score"], strict=True):
        expected[str(query)][doc_id] = score
    fused = run(Preset(like="pyserini", method=method, options=options)(ours))
    assert fused == [pytest.approx(expected[query], abs=1e-9) for query in QUERIES]


@pytest.fixture(scope="module")
def hybrid_results():
    """Return `HybridSearcher._hybrid_results`, read from its file because importing the module needs much more."""
    spec = find_spec("pyserini")
    assert spec is not None and spec.submodule_search_locations is not None
    file = Path(spec.submodule_search_locations[0]) / "search" / "hybrid" / "_searcher.py"
    tree = ast.parse(file.read_text())
    function = next(node for node in ast.walk(tree) if getattr(node, "name", "") == "_hybrid_results")
    function.decorator_list = []
    names = {"DenseSearchResult": lambda docid, score: SimpleNamespace(docid=docid, score=score)}
    exec(compile(ast.Module([function], []), str(file), "exec"), names)
    return names["_hybrid_results"]


@pytest.mark.parametrize("normalization", [False, True])
def test_hybrid_searcher(hybrid_results, normalization):
    fused = run(
        Preset(like="pyserini", method="hybrid", options={"alpha": 0.4, "normalization": normalization})([LEFT, RIGHT])
    )
    compared = 0
    for query in range(len(LEFT)):
        sparse, dense = (
            [SimpleNamespace(docid=hit.doc_id, score=hit.score) for hit in leg[query]] for leg in (LEFT, RIGHT)
        )
        # It divides by max - min, and by 1 for a leg without hits.
        if normalization and any(len({hit.score for hit in leg}) < 2 for leg in (sparse, dense)):
            continue
        theirs = {hit.docid: hit.score for hit in hybrid_results(dense, sparse, 0.4, 1000, normalization)}
        assert fused[query] == pytest.approx(theirs, abs=1e-9)
        compared += 1
    assert compared > (50 if normalization else 190)
