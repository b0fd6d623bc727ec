"""Mutated files of every kind that is read: only errors of this project come out, and memory stays bounded."""

import contextlib
import json
import random
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crash.cheap import documents, plan

from checkpoints import write_bert, write_json
from indexing.collection.legs import codec, open_index
from indexing.collection.manifest import manifest_bytes, read_manifest
from indexing.collection.shards import Shards
from indexing.collection.store import DocumentStore
from indexing.collection.verify import verify
from indexing.corpora.corpus import read_corpus
from indexing.corpora.queries import read_qrels, read_queries
from indexing.errors import RetrieveError
from indexing.runs import read_trec_run
from indexing.settings_files import read_yaml
from pipelines.build.job import build_legs
from pipelines.search.config import SearchConfig
from retrieve.encoders import DenseEncoder
from retrieve.encoders.checkpoint import Checkpoint, Source

MOST_MEGABYTES = 1500
FAST, SLOW = 25, 10_000
HOSTILE: list[Any] = [
    None, True, -1, 0, 1, 2.5, 10**9, 10**30, -(10**9), 1e308, float("inf"), float("nan"), "", "x", "../../x", "a\0b",
    "\ud800", "é😀", "x" * 5000, "os.system", "owner/name", [], {}, [[]], {"": {}}, [None], {"a": [1, {"b": None}]},
]  # fmt: skip
TOKENS = [
    b"-1",
    b"1e999",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"9" * 400,
    b"NaN",
    b"\0",
    b"\xff\xfe",
    b"\r",
    b"\n\n",
    b"[" * 3000,
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change one to three places of some bytes."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(changed) + 1)
        stop = min(len(changed), start + chance.choice((1, 1, 2, 8, 100)))
        how = chance.randrange(7)
        if how == 0 and start < len(changed):
            changed[start] ^= 1 << chance.randrange(8)
        elif how == 1:
            changed[start:stop] = chance.randbytes(stop - start)
        elif how == 2:
            del changed[start:stop]
        elif how == 3:
            changed[start:start] = changed[start:stop]
        elif how == 4:
            changed[start:stop] = chance.choice(TOKENS)
        elif how == 5:
            changed[start:stop] = bytes(stop - start)
        else:
            del changed[start:]
    return bytes(changed)


def mutated_json(data: bytes, chance: random.Random) -> bytes:
    """Replace, remove or add a value somewhere in a JSON text; of other texts and now and then, change bytes."""
    if chance.random() < 0.3:
        return mutated(data, chance)
    content = json.loads(data)
    places = list(containers(content))
    if not places:
        return mutated(data, chance)
    place = chance.choice(places)
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if isinstance(place, dict) and (not keys or chance.random() < 0.1):
        place[chance.choice(["extra", "", "type", "path", "../x"])] = chance.choice(HOSTILE)
    elif keys and chance.random() < 0.1:
        del place[chance.choice(keys)]
    elif keys:
        place[chance.choice(keys)] = chance.choice(HOSTILE)
    return json.dumps(content).encode()


def containers(content: Any) -> Iterator[Any]:
    if isinstance(content, dict | list) and len(content) < 200:
        yield content
        for part in content.values() if isinstance(content, dict) else content:
            yield from containers(part)


def fuzz(file: Path, use: Callable[[], object], count: int, *, seed: str, structured: bool = False) -> None:
    """Use a file `count` times, each time changed in another way; anything but an error of this project fails."""
    original = file.read_bytes()
    for number in range(count):
        changed = (mutated_json if structured else mutated)(original, random.Random(f"{seed} {number}"))
        file.write_bytes(changed)
        try:
            with contextlib.suppress(RetrieveError):
                use()
        except Exception as error:
            raise AssertionError(f"mutation {number} of {seed}: {type(error).__name__}: {error}"[:500]) from error
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        assert peak < before() + MOST_MEGABYTES, f"mutation {number} of {seed} took {peak} MB"
    file.write_bytes(original)


_BEFORE: list[int] = []


def before() -> int:
    """Return the most megabytes that this process had before the first mutation."""
    if not _BEFORE:
        _BEFORE.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    return _BEFORE[0]


TEXTS: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "corpus.jsonl": (
        "corpus.jsonl",
        b'{"_id": "1", "title": "t", "text": "one two", "metadata": {"a": [1]}}\n{"_id": "2", "text": "three"}\n' * 3,
        lambda path: list(read_corpus(path)),
    ),
    "corpus.csv": (
        "corpus.csv",
        b'_id,title,text\n1,"a ""b""",one\n2,c,"two\nlines"\n',
        lambda p: list(read_corpus(p)),
    ),
    "corpus.tsv": ("corpus.tsv", b"_id\ttitle\ttext\n1\ta\tone\n2\tc\ttwo\n", lambda path: list(read_corpus(path))),
    "queries": ("queries.jsonl", b'{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n', read_queries),
    "qrels": ("test.tsv", b"query-id\tcorpus-id\tscore\nq1\t1\t1\nq2\t2\t0\n", read_qrels),
    "trec qrels": ("qrels.txt", b"q1 0 d1 1\nq2 0 d2 2\n", read_qrels),
    "run": ("run.trec", b"q1 Q0 d1 1 2.5 tag\nq1 Q0 d2 2 1.5 tag\n", read_trec_run),
    "yaml": ("a.yaml", b"a: &x {b: [1, 2]}\nc: *x\nd: 2e-5\ne: 2020-01-01\n", read_yaml),
    "search.yaml": (
        "search.yaml",
        b"legs:\n  bm25: {depth: 10}\n  dense: {}\nfusion: {name: rrf, k: 60}\nreranker: {model: late-interaction}\n",
        SearchConfig.load,
    ),
}


def sizes(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with few mutations, and under the marker `slow` with many."""
    slow = pytest.param(SLOW, marks=[pytest.mark.slow, pytest.mark.timeout(3600)], id="many")
    return pytest.mark.parametrize("count", [pytest.param(FAST, id="few"), slow])(test)


@sizes
@pytest.mark.parametrize("kind", TEXTS)
def test_text_files(tmp_path, kind, count):
    name, content, use = TEXTS[kind]
    (tmp_path / name).write_bytes(content)

    fuzz(tmp_path / name, lambda: use(tmp_path / name), 20 * count if count == FAST else count, seed=kind)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "built"
    build_legs(documents(60, 0, 3), path, plan(), show_progress=False)
    return path


@pytest.fixture
def collection(built, tmp_path):
    return Path(shutil.copytree(built, tmp_path / "c"))


@sizes
def test_a_manifest_with_and_without_a_right_checksum(collection, count):
    file = collection / "manifest.json"
    fuzz(file, lambda: read_manifest(collection), 4 * count if count == FAST else count, seed="manifest")

    content = json.loads(file.read_bytes())
    del content["crc32"]
    file.write_bytes(json.dumps(content).encode())

    def use() -> None:
        data = file.read_bytes()
        with contextlib.suppress(ValueError, RecursionError):
            file.write_bytes(manifest_bytes(json.loads(data)))
        manifest = read_manifest(collection)
        with DocumentStore.open(collection / "documents.sqlite") as store:
            for name, leg in manifest.legs.items():
                open_index(leg, collection / "legs" / leg.folder, read_only=True).close()
                rows = codec(leg)
                if rows is not None:
                    shards = Shards(collection / "shards" / name, rows, store.pieces(name))
                    for piece in shards.pieces:
                        shards.load(piece)

    fuzz(file, use, count, seed="manifest's values", structured=True)


@sizes
@pytest.mark.parametrize("name", ["documents.sqlite", "shards/dense/000000.shard", "shards/sparse/000000.shard"])
def test_documents_and_shards(collection, name, count):
    def use() -> None:
        with DocumentStore.open(collection / "documents.sqlite") as store:
            for leg, entry in read_manifest(collection).legs.items():
                if (rows := codec(entry)) is not None:
                    shards = Shards(collection / "shards" / leg, rows, store.pieces(leg))
                    for piece in shards.pieces:
                        with contextlib.suppress(RetrieveError):
                            shards.load(piece)
            assert len(store) >= 0
            list(store)
            list(store.changes(0))

    fuzz(collection / name, use, count, seed=name)


@sizes
def test_whatever_is_damaged_can_be_verified(collection, count):
    files = sorted(file for file in collection.rglob("*") if file.is_file() and file.suffix != ".lock")
    for file in files:
        fuzz(file, lambda: verify(collection), max(1, count // len(files)), seed=f"verify {file.name}")


@pytest.fixture
def checkpoint(tmp_path):
    folder = write_bert(tmp_path / "dense")
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")]
    write_json(
        folder / "modules.json",
        [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{name}"}
            for at, (path, name) in enumerate(modules)
        ],
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "q: "}, "truncate_dim": 8})
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True})
    write_json(folder / "2_Dense" / "config.json", {"in_features": 32, "out_features": 8, "bias": True})
    from safetensors.torch import save_file
    from torch import zeros

    save_file({"linear.weight": zeros(8, 32), "linear.bias": zeros(8)}, folder / "2_Dense" / "model.safetensors")
    return folder


@sizes
@pytest.mark.parametrize("name", ["modules.json", "config.json", "config_sentence_transformers.json"])
def test_the_description_of_a_model(checkpoint, name, count):
    DenseEncoder(checkpoint, dtype="float32").encode(["a"])

    def use() -> None:
        Checkpoint.open(checkpoint, Source(local_files_only=True), organisation="sentence-transformers")

    fuzz(checkpoint / name, use, 4 * count if count == FAST else count, seed=name, structured=True)


@sizes
@pytest.mark.parametrize(
    "name",
    [
        "modules.json",
        "config.json",
        "config_sentence_transformers.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ],
)
def test_the_loading_of_a_model(checkpoint, name, count):
    def use() -> None:
        DenseEncoder(checkpoint, dtype="float32", local_files_only=True)

    fuzz(checkpoint / name, use, count, seed=f"load {name}", structured=True)


@sizes
@pytest.mark.parametrize("name", ["model.safetensors", "2_Dense/model.safetensors"])
def test_the_weights_of_a_model(checkpoint, name, count):
    def use() -> None:
        DenseEncoder(checkpoint, dtype="float32", local_files_only=True)

    fuzz(checkpoint / name, use, count, seed=name)
