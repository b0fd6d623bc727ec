"""``retrieve train``, on tiny models and rows."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from transformers import BertForSequenceClassification

from checkpoints import write_bert
from corpus_files import write_lines
from indexing.errors import StorageError
from pipelines.cli import main
from pipelines.mining.folder import read_mined
from pipelines.model_card.markdown import number
from pipelines.training.recipes.comparison import Comparison
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.train import train
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder
from retrieve.reranking.cross_encoder import Reranker
from training_rows import SMALL, text


def test_train_dense_resumes_and_reports(
    bert: Path, triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "dense"
    command = ["train", "dense", "--model", str(bert), "--data", str(triples), "--output", str(output), *SMALL]
    command += ["--eval-data", str(triples), "--matryoshka", "32,8"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "4 steps over 24 rows" in said and "held-out_cosine_ndcg@10" in said
    assert f"next: retrieve index corpus.jsonl --to my-collection --dense {output}/final" in said
    card = (output / "final" / "README.md").read_text("utf-8")
    assert "held-out-8" in card and "before" in card
    assert DenseEncoder(output / "final", dtype="float32").dimension == 32
    assert main(command) == 0
    assert "4 steps over 24 rows" in capsys.readouterr().out
    assert main([*command, "--lr", "0.1"]) == 1
    assert "a run with another lr" in capsys.readouterr().err


def test_a_finished_run_is_lengthened_by_more_steps_or_epochs(
    bert: Path, triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["train", "dense", "--model", str(bert), "--data", str(triples), "--batch-size", "4", "--no-bf16"]
    command = [*common, "--output", str(tmp_path / "steps"), "--checkpoints", "2"]
    assert main([*command, "--max-steps", "4"]) == 0
    assert main([*command, "--max-steps", "7"]) == 0
    assert "7 steps over 24 rows" in (said := capsys.readouterr().out) and "resumed from step 4" in said
    assert main([*command, "--max-steps", "7"]) == 0
    assert "7 steps over 24 rows" in capsys.readouterr().out
    assert main([*command, "--max-steps", "5"]) == 1
    assert "max_steps 7, which can be lengthened but not shortened to 5" in capsys.readouterr().err
    command = [*common, "--output", str(tmp_path / "epochs"), "--checkpoints", "1"]
    assert main([*command, "--epochs", "0.5"]) == 0
    assert main([*command, "--epochs", "2"]) == 0
    assert "12 steps over 24 rows" in capsys.readouterr().out


def test_train_sparse_from_a_dense_encoder(
    bert: Path, triples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sparse"
    command = ["train", "sparse", "--model", str(bert), "--data", str(triples), "--output", str(output), *SMALL]
    assert main([*command, "--eval-data", str(triples)]) == 0
    said = capsys.readouterr().out
    assert "corpus_active_dims" in said and "--sparse" in said
    start = SparseEncoder(output / "start", dtype="float32")
    assert start.encode(["water heat light"]).nnz < start.dimension / 2, "it starts sparse"
    assert TheirSparseEncoder(str(output / "final"), device="cpu").encode(["water"]).shape == (1, 159)


def test_train_a_reranker_from_rows_and_resume(
    bert: Path, triples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipelines.training.trainer import RerankerTrainer

    output = tmp_path / "reranker"
    command = ["train", "reranker", "--model", str(bert), "--data", str(triples), "--output", str(output), *SMALL]
    command += ["--eval-data", str(triples)]
    step = RerankerTrainer.training_step

    def stopped(self: Any, *args: Any, **more: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return step(self, *args, **more)

    monkeypatch.setattr(RerankerTrainer, "training_step", stopped)
    assert main(command) == 130
    monkeypatch.setattr(RerankerTrainer, "training_step", step)
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "resumed from step 2" in said and "held-out_ndcg@10" in said and "--reranker" in said
    assert CrossEncoder(output / "final", dtype="float32").labels == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["dense", "--output", "o"], "no training data"),
        (["dense", "--data", "no-such-rows.jsonl", "--output", "o"], "no-such-rows.jsonl does not exist"),
        (["reranker", "--collection", "c", "--output", "o"], "needs relevant texts"),
        (["reranker", "--collection", "c", "--pairs", "p", "--data", "d", "--output", "o"], "creates its own rows"),
        (["sparse", "--data", "rows.jsonl"], "output must be given"),
    ],
)
def test_missing_and_conflicting_options_are_reported(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *options]) == 1
    assert message in capsys.readouterr().err


TRIPLE = {"query": "water", "positive": "heat", "negative": "fire"}
LISTED = {"query": "water", "documents": ["heat", "fire"], "labels": [1, 0]}
SCORED = {"query": "water", "positive": "heat", "negative": "fire", "scores": [1.0, 0.5]}


@pytest.mark.parametrize(
    ("kind", "rows", "options", "message"),
    [
        ("dense", [TRIPLE, TRIPLE | {"positive": None}], [], "line 2: column 'positive': None is not text"),
        ("sparse", [TRIPLE, TRIPLE | {"positive": 3}], [], "line 2: column 'positive': 3 is not text"),
        ("reranker", [TRIPLE, TRIPLE | {"positive": ["a"]}], [], "line 2: column 'positive' holds a list"),
        (
            "reranker",
            [TRIPLE] * 9 + [{"query": "a"}],
            [],
            "line 10: its fields are query, not query, positive, negative as",
        ),
        ("dense", [{"query": "water"}], [], "cannot infer a loss from the columns query"),
        (
            "dense",
            [SCORED] * 9 + [SCORED | {"scores": [1.0]}],
            [],
            "line 10: the label 'scores' has length 1, but in the first row",
        ),
        (
            "reranker",
            [LISTED] * 9 + [LISTED | {"labels": [1]}],
            [],
            "line 10: the label 'labels' has length 1, but there are 2 texts",
        ),
        ("reranker", [SCORED, SCORED | {"scores": None}], [], "line 2: the label 'scores' is None"),
        (
            "reranker",
            [SCORED, SCORED | {"scores": 1.0}],
            [],
            "line 2: the label 'scores' is 1.0, but in",
        ),
        ("sparse", [TRIPLE] * 2, ["--columns", "query,nothing"], "has no column 'nothing'"),
        ("dense", [TRIPLE] * 2, ["--loss", "CoSENT"], "CoSENTLoss reads 2 columns"),
        ("sparse", [TRIPLE] * 2, ["--loss", "MarginMSE"], "MarginMSELoss needs the teacher's scores"),
        ("dense", [LISTED] * 2, ["--loss", "CoSENT"], "column 'documents' holds a list"),
        ("reranker", [LISTED] * 2, ["--loss", "MultipleNegativesRanking"], "the data has lists of them"),
        ("reranker", [TRIPLE] * 2, ["--loss", "Lambda"], "LambdaLoss reads 2 columns"),
    ],
)
def test_invalid_rows_are_reported_before_the_first_step(
    kind: str, rows: list[dict[str, Any]], options: list[str], message: str, bert: Path, tmp_path: Path, capsys: Any
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", rows)
    command = ["train", kind, "--model", str(bert), "--data", str(data), "--output", str(tmp_path / "run"), *SMALL]
    assert main([*command, *options]) == 1
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_report_to_is_passed_on(
    bert: Path, triples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    told: list[dict[str, float]] = []

    class Recorder(TrainerCallback):
        def on_log(self, *arguments: Any, logs: dict[str, float], **more: Any) -> None:
            told.append(logs)

    (tmp_path / "train.yaml").write_text("arguments: {report_to: [dvclive]}\n")
    command = [
        "train",
        "dense",
        "--model",
        str(bert),
        "--data",
        str(triples),
        "--output",
        str(tmp_path / "run"),
        *SMALL,
    ]
    command += [*SMALL, "--config", str(tmp_path / "train.yaml")]
    assert main(command) == 1
    assert "report_to names 'dvclive', which is not installed" in capsys.readouterr().err
    # As if it were installed.
    monkeypatch.setattr("pipelines.training.arguments.get_available_reporting_integrations", lambda: ["dvclive"])
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "dvclive", Recorder)
    assert main(command) == 0
    assert [logs["loss"] > 0 for logs in told if "loss" in logs] == [True] * 4


def test_a_folder_with_other_files_is_not_touched(bert: Path, triples: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        train("dense", TrainSettings(str(bert), str(tmp_path), data=str(triples)))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_corrected_settings_may_use_the_same_folder(bert: Path, triples: Path, tmp_path: Path, capsys: Any) -> None:
    command = ["train", "reranker", "--data", str(triples), "--output", str(tmp_path / "run"), *SMALL, "--model"]
    assert main([*command, str(tmp_path / "none")]) == 1
    assert main([*command, str(bert), "--loss", "Nothing"]) == 1
    assert "no loss 'Nothing'" in capsys.readouterr().err
    assert main([*command, str(bert)]) == 0


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Build a collection whose queries are the first words of its documents."""
    folder, draw = tmp_path_factory.mktemp("collection"), random.Random(3)
    documents = [{"_id": f"d{at}", "title": text(draw, 4), "text": f"{text(draw)} number{at}"} for at in range(60)]
    write_lines(folder / "corpus.jsonl", documents)
    pairs = [{"query": f"{one['title']} {at % 7}", "positive": one["text"]} for at, one in enumerate(documents)]
    write_lines(folder / "pairs.jsonl", pairs)
    dense = write_bert(folder / "bert")
    index = ["index", str(folder / "corpus.jsonl"), "--to", str(folder / "c"), "--dense", str(dense), "--quiet"]
    assert main(index) == 0
    return folder / "c", folder / "pairs.jsonl"


@pytest.mark.parametrize("start", ["encoder", "cross-encoder"])
def test_a_reranker_from_a_collection_and_pairs(
    start: str, bert: Path, collection: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = bert
    if start == "cross-encoder":
        model = write_bert(tmp_path / "cross", BertForSequenceClassification, num_labels=1)
    output = tmp_path / "reranker"
    command = ["train", "reranker", "--collection", str(collection[0]), "--pairs", str(collection[1])]
    command += ["--model", str(model), "--output", str(output), "--held-out", "12", "--candidates", "20", *SMALL]
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "on 12 held-out queries" in said and "95% interval" in said
    assert "the interval holds for this collection and queries like these" in said
    assert "the median held-out query has a word overlap of" in said
    assert f"retrieve search {collection[0]}" in said and f"--reranker {output}/final" in said
    found = json.loads((output / "comparison.json").read_text())
    systems = {"first stage", "after", "after, with the first stage"} | ({"before"} if start != "encoder" else set())
    assert set(found["figures"]["nDCG@10"]) == systems
    split = json.loads((output / "split.json").read_text())
    mined = read_rows(output / "negatives")
    held_out_texts = {json.loads(line)["query"] for line in collection[1].read_text().splitlines()} - set(
        mined["query"]
    )
    assert len(held_out_texts) == len(split["held_out"]) + len(split["tuning"])
    card = (output / "final" / "README.md").read_text("utf-8")
    assert number(found["figures"]["nDCG@10"]["first stage"]) in card and "95% bootstrap interval" in card

    # Recompute the figures of the saved model in another way.
    if start == "encoder":
        from pipelines.measures.measures import Measure
        from pipelines.measures.qrels import Qrels
        from pipelines.search import SearchPipeline

        pairs = [json.loads(line) for line in collection[1].read_text().splitlines()]
        held = [int(query_id[1:]) for query_id in split["held_out"]]
        trained = CrossEncoder(output / "final", dtype="float32")
        uses = {
            "after": Reranker(trained, weight=0),
            "after, with the first stage": Reranker(trained, weight=found["weight"]),
        }
        assert Reranker(trained).weight == Comparison(**found).carried, "the model carries its weight"
        for name, reranker in uses.items():
            with SearchPipeline.open(collection[0], reranker=reranker, candidates=20) as pipeline:
                hits = pipeline.retrieve([pairs[at]["query"] for at in held], 20)
            judged = Qrels.from_dict({str(at): {f"d{at}": 1} for at in held}).judge(hits, [str(at) for at in held])
            mean = Measure.parse("nDCG@10")(judged).mean()
            assert mean == pytest.approx(found["figures"]["nDCG@10"][name], abs=1e-9)
        assert "is stored with the model" in card.replace("\n", " ")
    for lost in ("", "comparison.json", "summary.json"):
        (output / lost).unlink() if lost else None
        assert main(command) == 0, "existing results are reused, missing ones are recomputed"
        assert json.loads((output / "comparison.json").read_text()) == found


def test_a_reranker_is_checked_on_other_collections(
    bert: Path, collection: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each --check says what searches there gain or lose, and may be named after the training, too."""
    draw = random.Random(9)
    for name in ("one", "two"):
        (tmp_path / name / "qrels").mkdir(parents=True)
        documents = [{"_id": f"{name}{at}", "text": f"{text(draw)} other{at}"} for at in range(30)]
        write_lines(tmp_path / name / "corpus.jsonl", documents)
        queries = [{"_id": f"q{at}", "text": f"{documents[at]['text'].split()[0]} other{at}"} for at in range(8)]
        write_lines(tmp_path / name / "queries.jsonl", queries)
        lines = "".join(f"q{at}\t{name}{at}\t1\n" for at in range(8))
        (tmp_path / name / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    output = tmp_path / "reranker"
    command = ["train", "reranker", "--collection", str(collection[0]), "--pairs", str(collection[1])]
    command += ["--model", str(bert), "--output", str(output), "--held-out", "12", "--candidates", "10", *SMALL]
    assert main([*command, "--check", f"one={tmp_path / 'nowhere'}"]) == 1
    assert "no collection" in capsys.readouterr().err and not output.exists(), "before any other work"
    assert main([*command, "--check", f"one={tmp_path / 'one'}"]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("    one, 8 queries: first stage "))
    (found,) = json.loads((output / "checks.json").read_text())
    carried = json.loads((output / "final" / "reranking.json").read_text())
    assert found["weight"] == carried["elsewhere"] and f"with weight {found['weight']:g} " in line
    assert number(found["figures"]["first stage"]) in (output / "final" / "README.md").read_text("utf-8")

    from pipelines.evaluation.datasets import load_evaluation_set
    from pipelines.measures.evaluate import evaluate
    from pipelines.search import SearchPipeline

    judged = load_evaluation_set(tmp_path / "one")
    trained = Reranker(CrossEncoder(output / "final", dtype="float32"))
    with SearchPipeline.open(output / "checks" / "one", reranker=trained, candidates=10) as pipeline:
        hits = pipeline.retrieve(list(judged.queries.values()), 10)
    scores = evaluate(hits, judged.qrels, ["nDCG@10"], queries=list(judged.queries))
    after = found["figures"]["after, with the first stage"]
    assert scores.means["nDCG@10"] == pytest.approx(after, abs=1e-6), "what a search there does"

    assert main([*command, "--check", f"one={tmp_path / 'one'}", "--check", f"two={tmp_path / 'two'}"]) == 0
    assert "    two, 8 queries: first stage " in capsys.readouterr().out
    assert json.loads((output / "checks.json").read_text())[0] == found, "nothing is measured twice"

    (output / "checks.json").write_text("[{}]")
    assert main([*command, "--check", f"one={tmp_path / 'one'}"]) == 1
    assert "checks.json is damaged" in capsys.readouterr().err


def test_a_reranker_from_judged_documents_of_a_chunked_collection(
    bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Judgements name documents; a positive is the chunk that fits the query, and each document is judged once."""
    draw = random.Random(5)
    documents = [
        {"_id": f"d{at}", "text": f"{text(draw, 12)}. The answer is word{at} here. {text(draw, 12)}."}
        for at in range(40)
    ]
    write_lines(tmp_path / "corpus.jsonl", documents)
    write_lines(tmp_path / "queries.jsonl", [{"_id": f"q{at}", "text": f"answer word{at}"} for at in range(40)])
    (tmp_path / "qrels.tsv").write_text("".join(f"q{at}\td{at}\t1\n" for at in range(40)))
    index = ["index", str(tmp_path / "corpus.jsonl"), "--to", str(tmp_path / "c"), "--no-dense", "--quiet"]
    assert main([*index, "--chunk", "sentences", "--chunk-size", "8"]) == 0
    judged = ["--queries", str(tmp_path / "queries.jsonl"), "--qrels", str(tmp_path / "qrels.tsv")]
    assert main(["mine", str(tmp_path / "c"), *judged, "--output", str(tmp_path / "mined"), "--quiet"]) == 0
    mined = read_mined(tmp_path / "mined")
    assert len(mined) == 40
    for row in mined:
        at = row["query"].rpartition("word")[2]
        assert f"word{at}" in row["positive"]
        assert row["positive_id"].partition("#")[0] == f"d{at}"
        others = [row[name] for name in row if name.startswith("negative") and name.endswith("_id")]
        assert others and all(other.partition("#")[0] != f"d{at}" for other in others)
    output = tmp_path / "reranker"
    command = ["train", "reranker", "--collection", str(tmp_path / "c"), *judged, "--model", str(bert)]
    assert main([*command, "--output", str(output), "--held-out", "8", "--candidates", "10", *SMALL]) == 0
    figures = json.loads((output / "comparison.json").read_text())["figures"]
    assert figures["nDCG@10"]["first stage"] > 0.9, "judged by documents"


@pytest.mark.slow
def test_minilm_becomes_a_reranker_within_a_few_steps(tmp_path: Path) -> None:
    """With a new head, the initial ranking is random."""
    draw = random.Random(0)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    rows = [{"query": f"which is {words[at]}?", "documents": [f"it is {word}" for word in words]} for at in range(10)]
    lists = [row | {"labels": [float(at % 10 == place) for place in range(10)]} for at, row in enumerate(rows * 12)]
    draw.shuffle(lists)
    data = write_lines(tmp_path / "rows.jsonl", lists)
    command = ["train", "reranker", "--data", str(data), "--output", str(tmp_path / "run"), "--batch-size", "4"]
    assert main([*command, "--loss", "ListNet", "--lr", "2e-4", "--dropout", "0", "--checkpoints", "1"]) == 0
    model = CrossEncoder(tmp_path / "run" / "final")
    for at, row in enumerate(rows):
        assert model.rank(row["query"], row["documents"])[0]["corpus_id"] == at
