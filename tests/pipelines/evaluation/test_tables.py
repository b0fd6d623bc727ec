"""Datasets in the Hub's layout, read from a copy and from the Hub's cache, without a network."""

import gzip
import json
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import InputError
from pipelines.evaluation.datasets import load_evaluation_set
from pipelines.evaluation.tables import Tables

DOCUMENTS = [{"_id": f"d{number}", "title": "", "text": f"document {number}"} for number in range(5)]
QUERIES = [{"_id": "q0", "title": "", "text": "query 0"}, {"_id": "q1", "title": "", "text": "query 1"}]
QRELS = {"q0": {"d0": 1}, "q1": {"d1": 2, "d4": 1}}
TEXTS = {"q0": "query 0", "q1": "query 1"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def judgements():
    return [
        {"query-id": query_id, "corpus-id": doc_id, "score": grade}
        for query_id, grades in QRELS.items()
        for doc_id, grade in grades.items()
    ]


def tsv(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{row['query-id']}\t{row['corpus-id']}\t{row['score']}" for row in judgements()]
    path.write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")


def copy_of_beir(data, name="scifact"):
    """Write BEIR's layout: one Parquet file per table, judgements in a second repository."""
    parquet(data / "BeIR" / name / "corpus" / f"{name}-corpus.parquet", DOCUMENTS)
    parquet(data / "BeIR" / name / "queries" / f"{name}-queries.parquet", QUERIES)
    tsv(data / "BeIR" / f"{name}-qrels" / "test.tsv")
    return data


def copy_of_mteb(folder):
    """Write MTEB's layout: configurations in the card, shards, judgements as the default configuration."""
    parquet(folder / "corpus" / "corpus-00000-of-00002.parquet", DOCUMENTS[:3])
    parquet(folder / "corpus" / "corpus-00001-of-00002.parquet", DOCUMENTS[3:])
    parquet(folder / "queries" / "queries-00000-of-00001.parquet", QUERIES)
    parquet(folder / "data" / "test-00000-of-00001.parquet", judgements())
    card = {"corpus": ("corpus", "corpus/corpus-*"), "queries": ("queries", "queries/queries-*")}
    configs = ["- config_name: default\n  data_files:\n  - split: test\n    path: data/test-*\n"]
    configs += [
        f"- config_name: {name}\n  data_files:\n  - split: {split}\n    path: {path}\n"
        for name, (split, path) in card.items()
    ]
    (folder / "README.md").write_text(f"---\nlanguage: en\nconfigs:\n{''.join(configs)}---\n# A card\n")
    return folder


def copy_of_nanobeir(folder):
    """Write NanoBEIR's layout: each set is a split of every table, judgements have no grades."""
    for sample, documents in (("NanoOne", DOCUMENTS), ("NanoTwo", DOCUMENTS[:2])):
        parquet(folder / "corpus" / f"{sample}-00000-of-00001.parquet", documents)
        parquet(folder / "queries" / f"{sample}-00000-of-00001.parquet", QUERIES)
        parquet(
            folder / "qrels" / f"{sample}-00000-of-00001.parquet",
            [{"query-id": "q0", "corpus-id": ["d0", "d1"]}, {"query-id": "q1", "corpus-id": ["d1"]}],
        )
    return folder


def test_a_copy_of_beirs_repositories_is_read_by_its_short_name(tmp_path):
    found = load_evaluation_set("scifact", data_dir=copy_of_beir(tmp_path))

    assert (found.name, found.queries, found.qrels) == ("scifact", TEXTS, QRELS)
    assert [document.doc_id for document in found.corpus] == ["d0", "d1", "d2", "d3", "d4"]


def test_a_copy_is_read_by_its_path_too(tmp_path):
    found = load_evaluation_set(copy_of_beir(tmp_path) / "BeIR" / "scifact")

    assert (found.name, found.qrels) == ("scifact", QRELS)


def test_the_card_says_where_the_tables_are_and_shards_are_joined(tmp_path):
    found = load_evaluation_set("mteb/mine", data_dir=copy_of_mteb(tmp_path / "mteb" / "mine").parents[1])

    assert (found.name, found.queries, found.qrels) == ("mine", TEXTS, QRELS)
    assert [document.doc_id for document in found.corpus] == ["d0", "d1", "d2", "d3", "d4"]
    assert found.corpus.count() == 5
    assert len(found.corpus.fingerprint()) == 64


def test_cqadupstacks_forums_are_found_as_mteb_has_them(tmp_path):
    copy_of_mteb(tmp_path / "mteb" / "cqadupstack-android")

    assert load_evaluation_set("cqadupstack-android", data_dir=tmp_path).name == "cqadupstack-android"


def test_a_sample_of_nanobeir_is_a_split_of_every_table(tmp_path):
    folder = copy_of_nanobeir(tmp_path / "NanoBEIR-en")

    one, two = load_evaluation_set(folder, "NanoOne"), load_evaluation_set(folder, "NanoTwo")

    assert (one.name, one.qrels) == ("NanoOne", {"q0": {"d0": 1, "d1": 1}, "q1": {"d1": 1}})
    assert (len(list(one.corpus)), len(list(two.corpus))) == (5, 2)
    with pytest.raises(InputError, match=r"cannot choose a split of 'corpus' for 'NanoThree'.*NanoOne, NanoTwo"):
        load_evaluation_set(folder, "NanoThree")


def test_the_first_layout_of_the_hub_is_read_as_well(tmp_path):
    folder = tmp_path / "BeIR" / "nfcorpus"
    folder.mkdir(parents=True)
    for name, rows in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    tsv(tmp_path / "BeIR" / "nfcorpus-qrels" / "validation.tsv")

    assert load_evaluation_set("nfcorpus", "dev", data_dir=tmp_path).qrels == QRELS


def test_a_table_that_stands_twice_in_different_formats_is_read_once(tmp_path):
    tables = Tables(copy_of_beir(tmp_path) / "BeIR" / "scifact")
    (tables.root / "corpus" / "scifact-corpus.jsonl").write_text(json.dumps(DOCUMENTS[0]) + "\n")

    assert [file.suffix for file in tables.splits("corpus")["scifact-corpus"]] == [".parquet"]


def test_what_lies_in_the_hubs_cache_is_read_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    copy_of_beir(tmp_path / "made")
    for name in ("scifact", "scifact-qrels"):
        cached, revision = tmp_path / "hub" / f"datasets--BeIR--{name}", "0123456789abcdef0123456789abcdef01234567"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(revision)
        (cached / "snapshots").mkdir()
        (tmp_path / "made" / "BeIR" / name).rename(cached / "snapshots" / revision)

    found = load_evaluation_set("scifact")

    assert (found.name, found.queries, found.qrels) == ("scifact", TEXTS, QRELS)
    assert len(list(found.corpus)) == 5


def test_a_corpus_whose_split_is_called_test_keeps_the_sets_name(tmp_path):
    folder = copy_of_mteb(tmp_path / "mine")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("split: corpus", "split: test"))

    assert load_evaluation_set(folder).name == "mine"


def test_a_card_that_is_no_yaml_is_named(tmp_path):
    folder = copy_of_mteb(tmp_path / "mine")
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")

    with pytest.raises(InputError, match=r"README\.md: the front matter between --- lines is not YAML"):
        load_evaluation_set(folder)
