"""Queries and qrels in the formats of BEIR and TREC."""

import gzip
import json

import pytest

from indexing.corpora.queries import qrels_of, queries_of, read_qrels, read_queries
from indexing.corpora.sources import HubTable
from indexing.errors import InputError


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


class TestQueries:
    def test_a_beir_folder(self, tmp_path):
        write(tmp_path / "corpus.jsonl", '{"_id": "d", "text": "no query"}\n')
        write(
            tmp_path / "queries.jsonl", '{"_id": "1", "text": "one", "metadata": {}}\n\n{"_id": 2, "text": "zwei ü"}\n'
        )

        assert read_queries(tmp_path) == {"1": "one", "2": "zwei ü"}

    def test_a_table(self, tmp_path):
        assert read_queries(write(tmp_path / "q.tsv", "qid\tquery\n1\twhat is it\n")) == {"1": "what is it"}

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "not JSON"),
            ('{"_id": "2"}', "the field 'text' or 'query' is missing"),
            ('{"text": "x"}', "'_id' .* is missing"),
            ('{"_id": "2", "text": " "}', "the query '2' is empty"),
            ('{"_id": "1", "text": "again"}', "the query id '1' already occurs above"),
        ],
    )
    def test_the_error_names_file_line_and_field(self, tmp_path, line, message):
        path = write(tmp_path / "q.jsonl", f'{{"_id": "1", "text": "x"}}\n{line}\n')

        with pytest.raises(InputError, match=rf"q\.jsonl, line 2: .*{message}"):
            read_queries(path)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_queries(tmp_path / "queries.jsonl")


class TestQrels:
    def test_beirs_three_columns_under_their_header(self, tmp_path):
        path = write(tmp_path / "test.tsv", "query-id\tcorpus-id\tscore\nq 1\td 1\t1\r\nq 1\td2\t0\nq2\td1\t-1\n")

        assert read_qrels(path) == {"q 1": {"d 1": 1, "d2": 0}, "q2": {"d1": -1}}

    def test_three_columns_without_a_header(self, tmp_path):
        assert read_qrels(write(tmp_path / "test.tsv", "q1\td1\t2\n")) == {"q1": {"d1": 2}}

    @pytest.mark.parametrize("gap", [" ", "\t", "  \t"])
    def test_trecs_four_columns(self, tmp_path, gap):
        path = write(tmp_path / "qrels.txt", "".join(gap.join(row.split()) + "\n" for row in ("1 0 d1 3", "2 Q0 d2 0")))

        assert read_qrels(path) == {"1": {"d1": 3}, "2": {"d2": 0}}

    def test_a_compressed_file_behind_a_byte_order_mark(self, tmp_path):
        path = tmp_path / "test.tsv.gz"
        path.write_bytes(gzip.compress("\ufeffquery-id\tcorpus-id\tscore\nü\td\t1\n".encode()))

        assert read_qrels(path) == {"ü": {"d": 1}}

    def test_the_same_judgement_twice_is_one(self, tmp_path):
        assert read_qrels(write(tmp_path / "t.tsv", "q\td\t1\nq\td\t1\n")) == {"q": {"d": 1}}

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("q\td", "2 columns where 3"),
            ("q\td\t1\tx", "4 columns where 3"),
            ("q\td\t0.5", "the grade must be an integer, not '0.5'"),
            ("q\td\thigh", "the grade must be an integer, not 'high'"),
            ("\td\t1", "the query id is empty"),
            ("q\t\t1", "the document id is empty"),
            ("q0\td0\t2", "document 'd0' has grade 2 for query 'q0', but 1 above"),
        ],
    )
    def test_the_error_names_file_and_line(self, tmp_path, line, message):
        path = write(tmp_path / "t.tsv", f"query-id\tcorpus-id\tscore\nq0\td0\t1\n\n{line}\n")

        with pytest.raises(InputError, match=rf"t\.tsv, line 4: {message}"):
            read_qrels(path)

    def test_a_first_line_with_a_bad_grade_is_no_header(self, tmp_path):
        with pytest.raises(InputError, match=r"line 1: the grade must be an integer, not '1\.0'"):
            read_qrels(write(tmp_path / "t.tsv", "q\td\t1.0\n"))

    def test_a_line_that_is_not_utf8(self, tmp_path):
        (tmp_path / "t.tsv").write_bytes(b"q\td\t1\nq\t\xe9\t1\n")

        with pytest.raises(InputError, match="line 2: not UTF-8"):
            read_qrels(tmp_path / "t.tsv")

    def test_nothing_to_read(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            read_qrels(tmp_path / "none.tsv")
        with pytest.raises(InputError, match="holds no judgements"):
            read_qrels(write(tmp_path / "t.tsv", "query-id\tcorpus-id\tscore\n"))


class TestDatasets:
    @pytest.fixture
    def saved(self, tmp_path):
        import datasets

        def save(**columns):
            datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
            return HubTable(str(tmp_path / "saved"))

        return save

    def test_queries(self, saved):
        assert queries_of(saved(_id=["1", "2"], title=["", ""], text=["a", "b"])) == {"1": "a", "2": "b"}

    def test_qrels_with_integers_for_ids(self, saved):
        table = saved(**json.loads('{"query-id": [1, 1, 2], "corpus-id": [10, 11, 10], "score": [1, 0, 2]}'))

        assert qrels_of(table) == {"1": {"10": 1, "11": 0}, "2": {"10": 2}}

    def test_a_qrels_row_without_a_grade(self, saved):
        table = saved(**{"query-id": ["1", "1"], "corpus-id": ["a", "b"], "score": [1, None]})

        with pytest.raises(InputError, match="row 2: the grade must be an integer, not 'None'"):
            qrels_of(table)


def test_a_tsv_file_of_topics_needs_no_line_of_names(tmp_path):
    topics = tmp_path / "topics.tsv"
    topics.write_bytes(b"\xef\xbb\xbf1\tsort a list\r\n\r\n2\tread a\tfile\r\n")
    assert read_queries(topics) == {"1": "sort a list", "2": "read a\tfile"}
    topics.write_text("qid\tquery\n1\tsort a list\n")
    assert read_queries(topics) == {"1": "sort a list"}
    for wrong, says in (
        ("1\tx\n2\n", "line 2: a query is an id, a tab and its text"),
        ("1\tx\n1\ty\n", "already occurs"),
    ):
        topics.write_text(wrong)
        with pytest.raises(InputError, match=says):
            read_queries(topics)
