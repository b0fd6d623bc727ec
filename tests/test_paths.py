"""Arguments that are paths: what no path can be is refused by one line that names the argument, everywhere."""

import math

import pytest
from wrong_arguments import cases, refused

from indexing.collection.backup import backup, restore
from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.corpora.corpus import read_corpus
from indexing.corpora.queries import read_qrels, read_queries
from indexing.documents import Document
from indexing.indexes.faiss.index import FaissIndex
from indexing.query_syntax.synonyms import Synonyms
from indexing.runs import read_trec_run, write_trec_run
from indexing.settings_files import read_yaml, write_yaml
from pipelines import SearchPipeline, build_collection
from pipelines.deploy.job import deploy
from pipelines.evaluation.results import read_results
from pipelines.mining.folder import read_mined
from pipelines.search import SearchConfig
from pipelines.service.config import ServeConfig
from pipelines.service.judging import Judgements
from pipelines.service.keys import add_key, load_keys
from retrieve import CrossEncoder, DenseEncoder

NO_PATHS = [5, None, b"x", {1}, math.nan, ["x"], "a\0b", "", "x" * 300, "x/" * 2500, "é" * 130, "\ud800"]
READ = {
    "SearchPipeline.open": SearchPipeline.open,
    "Collection.open": Collection.open,
    "CollectionWriter.open": CollectionWriter.open,
    "verify": verify,
    "backup": lambda value: backup(value, "copy"),
    "restore": lambda value: restore(value, "copy"),
    "deploy": lambda value: deploy(value, "deployed"),
    "read_corpus": lambda value: list(read_corpus(value)),
    "read_qrels": read_qrels,
    "read_queries": read_queries,
    "read_trec_run": read_trec_run,
    "read_yaml": read_yaml,
    "read_results": read_results,
    "read_mined": read_mined,
    "Synonyms.load": Synonyms.load,
    "SearchConfig.load": SearchConfig.load,
    "SearchConfig.of_collection": SearchConfig.of_collection,
    "ServeConfig.load": ServeConfig.load,
    "load_keys": load_keys,
    "FaissIndex.open": FaissIndex.open,
    "DenseEncoder": DenseEncoder,
    "CrossEncoder": CrossEncoder,
}
WRITTEN = {
    "build_collection": lambda value: build_collection([Document("a", "b")], value, show_progress=False),
    "write_trec_run": lambda value: write_trec_run(value, {}),
    "write_yaml": lambda value: write_yaml(value, {}),
    "SearchConfig.save": lambda value: SearchConfig().save(value),
    "Judgements": Judgements,
    "add_key": lambda value: add_key(value, "read"),
    "FaissIndex.create": lambda value: FaissIndex.create(value, 4),
}
"""Calls that would write."""


@pytest.mark.parametrize(("call", "value"), cases(READ | WRITTEN, NO_PATHS))
def test_what_is_no_path(call, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(lambda: call(value), "path", "must be")
    assert not list(tmp_path.iterdir())
