"""Mutated files that evaluations, mining, training, the service and checkpoints read, as in `test_fuzz.py`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from crash.test_fuzz import FAST, fuzz, sizes

from checkpoints import write_bert, write_json
from indexing.errors import ModelError
from pipelines.evaluation.closing_report import add_significance
from pipelines.evaluation.result_cache import kept
from pipelines.evaluation.results import read_results
from pipelines.evaluation.systems import LegSpec
from pipelines.evaluation.systems_file import read_systems
from pipelines.evaluation.task import _remove_others
from pipelines.mining.folder import claim
from pipelines.service.config import ServeConfig
from pipelines.service.judging import Judgements
from pipelines.service.keys import load_keys
from pipelines.training.recipes.run import claim_folder, load_report
from pipelines.training.recipes.settings import TrainSettings
from retrieve.encoders import DenseEncoder

SETTINGS = TrainSettings("a model", "the output", data="rows.jsonl")
REPORT = {
    "folder": "f", "steps": 2, "rows": 3, "seconds": 1.5, "loss": "L", "last_loss": 0.5, "resumed_from": 0,
    "primary": None, "before": {}, "after": {"x": 0.5},
}  # fmt: skip
KEY = "00" * 32


def recorded(kind: str = "dense") -> bytes:
    return json.dumps({"kind": kind, "model": "a model", "data": "rows.jsonl", "epochs": 1.0, "max_steps": -1}).encode()


def compared(path: Path) -> None:
    other = path.with_name("other.json")
    write_json(other, {"query_ids": ["q1", "q2"], "measures": {"nDCG@10": [0.5, 0.1]}})
    rows = {"a": {"per_query": path.name}, "b": {"per_query": other.name}}
    add_significance({"set": {"systems": rows}}, path.parent, "a")


def claimed(path: Path) -> None:
    (path.parent / "other").touch()  # so that it is a run that has begun
    claim_folder(path.parent, SETTINGS, "dense")


JSON: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "results": (
        "results.json",
        json.dumps(
            {
                "format": 6,
                "datasets": {"d": {"systems": {"s": {"run": "runs/s.trec", "per_query": "q/s.json", "measures": {}}}}},
            }
        ).encode(),
        read_results,
    ),
    "results of before": (
        "results.json",
        b'{"datasets": {"d": {"systems": {"s": {"run": "runs/s.trec", "per_query": "q/s.json"}}}}}',
        lambda path: _remove_others(path.parent, "d", {}, []),
    ),
    "values per query": (
        "values.json",
        b'{"query_ids": ["q1", "q2"], "measures": {"nDCG@10": [0.5, 0.25]}}',
        compared,
    ),
    "kept results": ("kept.json", b'{"key": "k", "record": {"a": [1, 2]}}', lambda path: kept(path, "k")),
    "mining": ("mining.json", b'{"depth": 3, "collection": "x"}', lambda path: claim(path.parent, {"depth": 3})),
    "settings of a run": ("recipe.json", recorded(), claimed),
    "report of a run": ("summary.json", json.dumps(REPORT).encode(), lambda path: load_report(path.parent)),
}
YAML: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "serve.yaml": (
        "serve.yaml",
        b"collections: {docs: c}\nport: 8080\nlimits: {k: 100}\nmodels: {e: {path: m, kind: dense}}\n",
        ServeConfig.load,
    ),
    "keys": (
        "keys.yaml",
        f"keys:\n- {{sha256: '{KEY}', scope: read, note: me, created: 2026-01-01, expires: 2027-01-01}}\n".encode(),
        load_keys,
    ),
    "systems": (
        "systems.yaml",
        b"legs: {bm25: {kind: bm25}}\nsystems:\n- {name: a, legs: [bm25]}\n- {name: b, legs: [bm25], depth: 20}\n",
        lambda path: read_systems(path, {"bm25": LegSpec("bm25", "bm25")}),
    ),
    "judgements": (
        "judged.tsv",
        b"query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t0\n",
        lambda path: Judgements(path).add("bread", "d1", 1),
    ),
    "judged queries": (
        "judged.queries.jsonl",
        b'{"_id": "q1", "text": "bread"}\n',
        lambda path: Judgements(path.with_name("judged.tsv")).add("steel", "d1", 1),
    ),
}


@sizes
@pytest.mark.parametrize("kind", JSON)
def test_json_files(tmp_path, kind, count):
    name, content, use = JSON[kind]
    (tmp_path / name).write_bytes(content)
    fuzz(
        tmp_path / name, lambda: use(tmp_path / name), 8 * count if count == FAST else count, seed=kind, structured=True
    )


@sizes
@pytest.mark.parametrize("kind", YAML)
def test_other_files(tmp_path, kind, count):
    name, content, use = YAML[kind]
    (tmp_path / name).write_bytes(content)

    def run() -> None:
        (tmp_path / "judged.tsv").unlink(missing_ok=True) if name == "judged.queries.jsonl" else None
        use(tmp_path / name)

    fuzz(tmp_path / name, run, 4 * count if count == FAST else count, seed=kind)


def test_results_of_a_stranger_remove_nothing_outside_their_folder(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    output = tmp_path / "output"
    output.mkdir()
    (output / "old.trec").write_text("of an earlier run")
    row = {"run": "../mine.txt", "per_query": "old.trec"}
    write_json(output / "results.json", {"datasets": {"d": {"systems": {"s": row}}}})
    _remove_others(output, "d", {}, [])
    assert (tmp_path / "mine.txt").exists()
    assert not (output / "old.trec").exists()


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("routed")
    write_bert(folder / "0_Transformer")
    router = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    write_json(folder / "modules.json", [router])
    types = {
        "0_Transformer": "sentence_transformers.models.Transformer",
        "1_Pooling": "sentence_transformers.models.Pooling",
    }
    structure = {"query": list(types), "document": list(types)}
    write_json(
        folder / "router_config.json",
        {"types": types, "structure": structure, "parameters": {"default_route": "query"}},
    )
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    write_json(folder / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 20})
    DenseEncoder(folder, dtype="float32").encode(["light"])
    return folder


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A model whose weights are in two files that an index names."""
    from safetensors.torch import load_file, save_file

    folder = write_bert(tmp_path_factory.mktemp("split") / "model")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in files.items():
        save_file({name: weights[name] for name in held}, folder / file, metadata={"format": "pt"})
    placed = {name: file for file, held in files.items() for name in held}
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": placed})
    DenseEncoder(folder, dtype="float32").encode(["light"])
    return folder


@sizes
@pytest.mark.parametrize(
    ("checkpoint", "name"), [("routed", "router_config.json"), ("split", "model.safetensors.index.json")]
)
def test_files_of_checkpoints(request, checkpoint, name, count):
    folder = request.getfixturevalue(checkpoint)
    fuzz(folder / name, lambda: DenseEncoder(folder, dtype="float32"), count, seed=name, structured=True)


def test_a_checkpoint_without_a_readable_index_names_it(split):
    file = split / "model.safetensors.index.json"
    before = file.read_bytes()
    file.write_bytes(b"[" * 5000)
    try:
        with pytest.raises(ModelError, match="index"):
            DenseEncoder(split, dtype="float32")
    finally:
        file.write_bytes(before)
