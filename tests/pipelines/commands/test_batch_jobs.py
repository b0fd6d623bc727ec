"""What a batch job meets: encodings, line ends, logs, summaries for programs, updates that encode only new texts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from indexing.collection.reader import Collection
from indexing.collection.verify import verify
from indexing.collection.writer import CollectionWriter
from indexing.documents import Document
from indexing.progress import progress
from pipelines.cli import main

CORPUS = [
    {"_id": "v1", "title": "Vaccines", "text": "Vaccines train the immune system.", "year": 2020},
    {"_id": "b1", "title": "Bread", "text": "Bread bakes in a hot oven.", "year": 1999},
    {"_id": "数字", "title": "数字", "text": "rockets 🚀 fly — high", "year": 2024},
]


def write(path: Path, records: list) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


@pytest.fixture
def corpus(tmp_path) -> Path:
    return write(tmp_path / "corpus.jsonl", CORPUS)


@pytest.fixture
def directory(corpus, tmp_path) -> Path:
    build = ["index", str(corpus), "--to", str(tmp_path / "c"), "--no-dense", "--filter-field", "year:number"]
    assert main([*build, "--quiet"]) == 0
    return tmp_path / "c"


def retrieve(*arguments: object, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False, env=kept | environment)


class TestLines:
    @pytest.mark.parametrize("lines", [b"v1\r\nb1\r\n", b"v1\rb1\r", b"v1\nb1", b"\xef\xbb\xbfv1\r\n\r\nb1\r\n"])
    def test_ids_on_standard_input_may_have_any_line_ends(self, directory, lines):
        done = retrieve("delete", directory, "--ids", "-", stdin=lines)
        assert b"2 documents deleted, 1 left\n" in done.stdout, done

    @pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii", ""])
    def test_a_line_that_is_not_utf8_is_named_and_the_queries_before_are_answered(self, directory, encoding):
        extra = {"PYTHONIOENCODING": encoding} if encoding else {}
        lines = b"vaccines\n\xff\xfe\nbread\n"
        done = retrieve("search", directory, "-", "-k", "1", "--json", stdin=lines, **extra)
        assert done.returncode == 1
        assert b"error: standard input, line 2: not UTF-8: byte 0xff at byte 1" in done.stderr
        assert b"Traceback" not in done.stderr
        assert [json.loads(line)["query"] for line in done.stdout.splitlines()] == ["vaccines"]

    def test_queries_are_utf8_in_every_locale(self, directory):
        for environment in ({"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}, {}):
            done = retrieve("search", directory, "-", "-k", "1", "--json", stdin="数字\n".encode(), **environment)
            answer = json.loads(done.stdout)
            assert (answer["query"], answer["hits"][0]["doc_id"]) == ("数字", "数字")


class TestOutput:
    @pytest.mark.parametrize(
        "encoding", ["ascii", *(pytest.param(name, marks=pytest.mark.slow) for name in ("latin-1", "cp1252"))]
    )
    def test_characters_that_the_output_cannot_encode_are_escaped(self, directory, encoding):
        table = retrieve("search", directory, "rockets", "-k", "1", PYTHONIOENCODING=encoding)
        assert table.returncode == 0, table.stderr
        assert b"\\u6570\\u5b57" in table.stdout
        found = retrieve("search", directory, "rockets", "-k", "1", "--json", PYTHONIOENCODING=encoding)
        assert json.loads(found.stdout.decode(encoding))["hits"][0]["text"] == "rockets 🚀 fly — high"
        assert retrieve("--help", PYTHONIOENCODING=encoding).returncode == 0
        assert retrieve("info", directory, "--json", PYTHONIOENCODING=encoding).returncode == 0

    def test_a_query_that_is_not_utf8_is_refused(self, directory):
        command = [sys.executable, "-m", "pipelines.cli", "search", str(directory), b"\xff\xfe"]
        done = subprocess.run(command, capture_output=True, timeout=120, check=False)
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        assert b"not UTF-8" in done.stderr

    def test_a_path_that_is_not_ascii_works_in_the_c_locale(self, corpus, tmp_path):
        target = tmp_path / "dér 数"
        for environment in ({"LC_ALL": "C"}, {"LANG": "POSIX"}):
            done = retrieve("index", corpus, "--to", target, "--no-dense", "--overwrite", "--quiet", **environment)
            assert done.returncode == 0, done.stderr
            found = retrieve("search", target, "bread", "-k", "1", "--json", **environment)
            assert json.loads(found.stdout)["hits"][0]["doc_id"] == "b1"
        assert verify(target) == []

    def test_matched_words_are_marked_unlike_markdown(self, tmp_path, capsys):
        file = write(tmp_path / "m.jsonl", [{"_id": "1", "text": "**Bold** claims about bread."}])
        assert main(["index", str(file), "--to", str(tmp_path / "m"), "--no-dense", "--quiet"]) == 0
        assert main(["search", str(tmp_path / "m"), "bread"]) == 0
        assert "**Bold** claims about >>bread<<." in capsys.readouterr().out

    def test_the_version(self, capsys):
        from importlib.metadata import version

        with pytest.raises(SystemExit) as stopped:
            main(["--version"])
        assert stopped.value.code == 0
        assert capsys.readouterr().out == f"retrieve {version('retrieve-rerank')}\n"

    @pytest.mark.parametrize("query", ["-vaccines", "--vaccines", "-x=1"])
    def test_a_query_that_begins_with_a_dash_is_explained(self, directory, capsys, query):
        with pytest.raises(SystemExit):
            main(["search", str(directory), query])
        assert f"-- '{query}'" in capsys.readouterr().err
        assert main(["search", str(directory), "-k", "1", "--", query]) == 0

    def test_an_unknown_option_value_gets_no_such_advice(self, directory, capsys):
        with pytest.raises(SystemExit):
            main(["search", str(directory), "bread", "-k", "0"])
        assert "dash" not in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["search", "DIR", "bread", "--k", "3"], "search: error: unrecognized arguments: --k 3; did you mean -k?"),
            (["index", "a", "--to", "b", "--chunk-tokens", "5"], "did you mean --chunk-size?"),
            (["train", "dense", "--batchsize", "5"], "dense: error: unrecognized arguments: --batchsize 5; did you"),
            (["search", "DIR", "bread", "-z"], "-- '-z'"),
        ],
    )  # fmt: skip
    def test_an_unknown_option_is_named_by_its_command_with_a_similar_one(self, capsys, arguments, says):
        """Options that are known are never taken for the value that begins with a dash."""
        with pytest.raises(SystemExit):
            main(arguments)
        assert says in capsys.readouterr().err


class TestSummaries:
    def test_as_json_for_programs(self, corpus, directory, tmp_path, capsys):
        def answer(*arguments):
            capsys.readouterr()
            assert main([*map(str, arguments), "--json"]) in (0, 1)
            printed = capsys.readouterr()
            assert printed.err == ""
            return json.loads(printed.out)

        assert answer("index", corpus, "--to", tmp_path / "d", "--no-dense")["documents"] == 3
        assert answer("index", corpus, "--to", tmp_path / "d", "--no-dense")["already_built"] is True
        assert answer("index", corpus, "--to", tmp_path / "e", "--no-dense", "--dry-run")["documents"] == 3
        changed = [CORPUS[0], CORPUS[1] | {"text": "Rye."}, {"_id": "new", "text": "x", "year": 1}]
        file = write(tmp_path / "changed.jsonl", [*changed, {"_id": "bad"}])
        report = answer("index", file, "--to", directory, "--update", "--on-error", "skip")
        assert [report[name] for name in ("new", "changed", "unchanged", "skipped")] == [1, 1, 1, 1]
        assert report["skipped_to"] == f"{directory}.skipped.jsonl"
        assert answer("delete", directory, "--ids", "new", "nowhere") == {
            "path": str(directory),
            "deleted": 1,
            "documents": 3,
            "not_found": 1,
        }
        assert answer("delete", directory, "--where", '{"year": 2024}')["deleted"] == 1
        assert answer("compact", directory) == {"path": str(directory), "documents": 2, "removed": 3}
        assert answer("reindex", directory, "--leg", "bm25", "--k1", "1.2")["count"] == 2
        assert answer("verify", directory) == {"path": str(directory), "damaged": False, "problems": []}
        assert answer("info", directory)["documents"] == 2
        store = directory / "legs" / json.loads((directory / "manifest.json").read_text())["legs"]["bm25"]["folder"]
        next(store.glob("_*")).write_bytes(b"damage")
        broken = answer("verify", directory)
        assert broken["damaged"] is True
        assert broken["problems"][0]["what"] == "leg"
        mended = answer("verify", directory, "--repair")
        assert mended["damaged"] is False
        assert mended["repaired"][0]["leg"] == "bm25"

    def test_one_is_not_counted_in_the_plural(self, tmp_path, capsys):
        file = write(tmp_path / "one.jsonl", CORPUS[:1])
        assert main(["index", str(file), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]) == 0
        assert f"{tmp_path / 'c'}: 1 document\n" in capsys.readouterr().out
        assert main(["info", str(tmp_path / "c")]) == 0
        assert "1 documents" not in capsys.readouterr().out
        assert main(["delete", str(tmp_path / "c"), "--ids", "v1", "nothing"]) == 0
        assert "1 document deleted, 0 left; 1 id not found" in capsys.readouterr().out

    def test_an_update_says_what_is_new_changed_and_unchanged(self, directory, tmp_path, capsys):
        file = write(tmp_path / "n.jsonl", [CORPUS[0], CORPUS[1] | {"year": 5}, {"_id": "n", "text": "new"}])
        capsys.readouterr()
        assert main(["index", str(file), "--to", str(directory), "--update", "--quiet"]) == 0
        assert "4 documents, 1 new, 1 changed, 1 unchanged" in capsys.readouterr().out
        assert main(["index", str(file), "--to", str(directory), "--update", "--quiet"]) == 0
        assert "4 documents, 0 new, 0 changed, 3 unchanged" in capsys.readouterr().out


class TestLogs:
    def test_a_log_gets_lines_with_times_and_no_carriage_returns(self, corpus, tmp_path):
        done = retrieve("index", corpus, "--to", tmp_path / "d", "--no-dense")
        assert b"\r" not in done.stderr
        assert re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d indexing: 3 docs in [\d.]+ s\n", done.stderr)
        assert retrieve("index", corpus, "--to", tmp_path / "e", "--no-dense", "--json").stderr == b""

    def test_a_line_each_tenth_and_each_half_minute(self, monkeypatch, capsys):
        now = [0.0]
        monkeypatch.setattr("indexing.progress.time.monotonic", lambda: now[0])
        with progress(total=1000, desc="working", unit="doc") as bar:
            for _ in range(1000):
                now[0] += 2
                bar.update()
        lines = capsys.readouterr().err.splitlines()
        shares = [int(match[1]) for line in lines if (match := re.search(r"working: (\d+)%", line))]
        assert {10, 20, 50, 100} <= set(shares)
        assert 2000 // 30 <= len(shares) <= 2000 // 30 + 10
        assert lines[-1].endswith("working: 1,000 docs in 2000.0 s")

    def test_short_work_and_an_unknown_total_do_not_fill_a_log(self, capsys):
        for _ in progress(iter(range(5000)), desc="quick"):
            pass
        assert len(capsys.readouterr().err.splitlines()) == 1
        for _ in progress(range(5000), desc="none", disable=True):
            pass
        assert capsys.readouterr().err == ""


class Vectors:
    """Encoder of a text's letters, which records what it encodes."""

    identity = {"name": "letters", "dimension": 26}  # noqa: RUF012

    def __init__(self):
        self.texts = []

    def encode_document(self, texts):
        import numpy as np

        self.texts += texts
        rows = [[1.0 + text.lower().count(chr(97 + letter)) for letter in range(26)] for text in texts]
        return np.array(rows, np.float32)


class TestUpdates:
    def build(self, path, documents):
        from indexing.collection.manifest import Leg
        from pipelines.build.job import build_legs
        from pipelines.build.plan import Plan

        encoder = Vectors()
        legs = {"bm25": Leg("bm25"), "dense": Leg("faiss", encoder.identity, {"dimension": 26})}
        build_legs(documents, path, Plan(legs, {"dense": encoder}, {}, {"year": "number"}), show_progress=False)

    def update(self, path, documents, **options):
        from pipelines.build.job import update_collection

        encoder = Vectors()
        report = update_collection(documents, path, encoders={"dense": encoder}, show_progress=False, **options)
        return report, encoder.texts

    def rows(self, path):
        import numpy as np

        with Collection.open(path) as collection:
            ids = [document.doc_id for document in collection.documents]
            contents = [document.contents for document in collection.get(ids)]
            wanted = Vectors().encode_document(contents)
            wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
            scores = collection.index("dense").score(wanted, [[doc_id] for doc_id in ids])
            np.testing.assert_allclose(scores, 1, atol=1e-5)

    def test_new_metadata_alone_are_written_without_encoding(self, tmp_path):
        texts = [f"document {chr(97 + number % 26) * 5} number {number}" for number in range(1200)]
        self.build(tmp_path / "c", [Document(str(n), text, "", {"year": n}) for n, text in enumerate(texts)])

        changed = [Document(str(n), text, "", {"year": n + 1}) for n, text in enumerate(texts)]
        changed[7] = Document("7", "another text", "", {"year": 8})
        report, encoded = self.update(tmp_path / "c", [*changed, Document("new", "a new one")])

        assert encoded == ["another text", "a new one"]
        assert (report.new, report.changed, report.not_encoded, report.documents) == (1, 1200, 1199, 1201)
        with Collection.open(tmp_path / "c") as collection:
            assert collection.matching({"year": 1200}) == ["1199"]
        self.rows(tmp_path / "c")
        with CollectionWriter.open(tmp_path / "c") as writer:
            writer.compact()
        assert verify(tmp_path / "c") == []
        self.rows(tmp_path / "c")
        assert self.update(tmp_path / "c", changed)[1] == []

    def test_a_chunk_that_moves_within_its_document_is_not_encoded_again(self, tmp_path):
        from indexing.corpora.chunked import ChunkedCorpus
        from indexing.corpora.chunking import Chunking
        from indexing.corpora.corpus import read_corpus

        def chunks(text):
            file = write(tmp_path / "d.jsonl", [{"_id": "a", "text": text}, {"_id": "b", "text": "Other words here."}])
            return ChunkedCorpus(read_corpus(file), Chunking(size=5, overlap=0))

        text = "One cat sat here. Two dogs ran away. Three birds flew off."
        self.build(tmp_path / "c", chunks(text))
        _, encoded = self.update(tmp_path / "c", chunks("Zero fish swam by. " + text), remove=True)
        assert encoded == ["Zero fish swam by."]
        _, encoded = self.update(tmp_path / "c", chunks("Two dogs ran away. Three birds flew off."), remove=True)
        assert encoded == []
        self.rows(tmp_path / "c")
        assert verify(tmp_path / "c") == []

    def test_damaged_rows_are_not_kept(self, tmp_path):
        self.build(tmp_path / "c", [Document("1", "one", "", {"year": 1})])
        shard = tmp_path / "c" / "shards" / "dense" / "000000.shard"
        shard.write_bytes(b"\0" * shard.stat().st_size)

        report, encoded = self.update(tmp_path / "c", [Document("1", "one", "", {"year": 2})])

        assert (encoded, report.not_encoded) == (["one"], 0)
        self.rows(tmp_path / "c")

    def test_a_writer_needs_no_encoder_for_new_metadata(self, tmp_path):
        self.build(tmp_path / "c", [Document("1", "one", "", {"year": 1})])
        with CollectionWriter.open(tmp_path / "c") as writer:
            writer.upsert([Document("1", "one", "", {"year": 2})])
        with Collection.open(tmp_path / "c") as collection:
            assert collection.matching({"year": 2}) == ["1"]
        self.rows(tmp_path / "c")

    def test_an_update_that_was_killed_goes_on_and_encodes_only_what_is_new(self, tmp_path):
        self.build(tmp_path / "c", [Document(str(n), f"text {n}", "", {"year": 1}) for n in range(1500)])

        def stopping():
            for n in range(1500):
                if n == 1100:
                    raise KeyboardInterrupt
                yield Document(str(n), f"text {n}", "", {"year": 2})

        with pytest.raises(KeyboardInterrupt):
            self.update(tmp_path / "c", stopping())
        report, encoded = self.update(
            tmp_path / "c", [Document(str(n), f"text {n}", "", {"year": 2}) for n in range(1500)]
        )
        assert (report.unchanged, report.changed, encoded) == (1024, 476, [])
        self.rows(tmp_path / "c")
        assert verify(tmp_path / "c") == []


def test_an_existing_target_is_refused_before_a_model_is_loaded(directory, tmp_path, capsys):
    other = write(tmp_path / "other.jsonl", CORPUS[:1])
    no_model = ["--dense", str(tmp_path / "no-such-model"), "--quiet"]
    assert main(["index", str(other), "--to", str(directory), *no_model]) == 1
    assert "already holds a collection" in capsys.readouterr().err
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("years of work")
    assert main(["index", str(other), "--to", str(tmp_path / "papers"), *no_model]) == 1
    assert "no-such-model" not in capsys.readouterr().err
    assert main(["index", str(other), "--to", str(tmp_path / "n"), *no_model, "--filter-field", "year:int"]) == 1
    assert "unknown type 'int'" in capsys.readouterr().err


def test_missing_permissions_are_named_as_such():
    script = """
import os, sys
import faiss, portalocker
from indexing.errors import StorageError
from indexing.collection.reader import Collection
from indexing.collection.writer import CollectionWriter
import indexing.indexes.faiss.index, indexing.indexes.faiss.leg_kind, indexing.indexes.lucene.leg_kinds
if os.geteuid() == 0:
    os.setuid(65534)  # root may read and write everything
for job in (lambda: CollectionWriter.open(sys.argv[1]), lambda: Collection.open(sys.argv[1]).index("dense")):
    try:
        job()
    except StorageError as error:
        print(error)
"""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="retrieve-permissions-"))
    try:
        TestUpdates().build(folder / "c", [Document("1", "one")])
        for file in [*folder.rglob("*"), folder]:
            file.chmod(0o555 if file.is_dir() else 0o444)
        folder.chmod(0o777)  # the lock of a writer stands beside the collection
        next((folder / "c").rglob("*.faiss")).chmod(0)
        done = subprocess.run([sys.executable, "-c", script, folder / "c"], capture_output=True, text=True, check=False)
        first, second = done.stdout.splitlines() or [done.stderr, ""]
        assert first.startswith(f"no permission to change {folder / 'c'}"), done
        assert re.match(rf"no permission to read {folder / 'c'}/legs/dense/vectors-\d+\.faiss: ", second)
    finally:
        for file in [folder, *folder.rglob("*")]:
            file.chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("legs", "needless"),
    [
        (["--no-dense"], {"torch", "transformers", "faiss", "scipy", "tqdm", "yaml", "qdrant_client", "datasets"}),
        (["--no-bm25"], {"jnius", "qdrant_client", "datasets", "pandas", "pyarrow", "sklearn"}),
    ],
)
def test_a_search_from_the_shell_imports_only_what_its_legs_need(corpus, tmp_path, legs, needless):
    assert main(["index", str(corpus), "--to", str(tmp_path / "d"), *legs, "--quiet"]) == 0
    probe = (
        "import sys\nfrom pipelines.cli import main\n"
        f"assert main(['search', {str(tmp_path / 'd')!r}, 'bread', '--json']) == 0\n"
        f"print(sorted({needless!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=True)
    hits, imported = done.stdout.splitlines()
    assert json.loads(hits)["hits"][0]["doc_id"] == "b1"
    assert imported == "[]"
