"""Long documents made of those of a BEIR folder, judged by their parts."""

import json

from benchmarks.join_documents import main


def test_documents_are_joined_in_groups_and_have_the_highest_grade_of_their_parts(tmp_path):
    source, output = tmp_path / "short", tmp_path / "long"
    (source / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{at}", "title": f"title {at}", "text": f"text {at}"} for at in range(5)]
    (source / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (source / "queries.jsonl").write_text('{"_id": "q", "text": "a question"}\n')
    (source / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\nq\td1\t2\nq\td4\t1\n")
    assert main([str(source), "--size", "2", "--output", str(output)]) == 0
    joined = [json.loads(line) for line in (output / "corpus.jsonl").read_text().splitlines()]
    assert [row["_id"] for row in joined] == ["joined0", "joined1", "joined2"]
    assert joined[0]["text"] == "title 0 text 0\n\ntitle 1 text 1"
    assert joined[2]["text"] == "title 4 text 4"
    assert json.loads((output / "queries.jsonl").read_text()) == {"_id": "q", "text": "a question"}
    rows = (output / "qrels" / "test.tsv").read_text().splitlines()
    assert rows == ["query-id\tcorpus-id\tscore", "q\tjoined0\t2", "q\tjoined2\t1"]
