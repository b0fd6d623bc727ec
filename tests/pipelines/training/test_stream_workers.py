"""Worker processes that read and tokenize streamed training data: the batches are those of one process."""

import itertools
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict

from indexing.errors import InputError
from pipelines.training.arguments import DenseTrainingArguments
from pipelines.training.losses.multiple_negatives_ranking import MultipleNegativesRankingLoss
from pipelines.training.model import trained
from pipelines.training.streams import StreamedRows
from pipelines.training.trainer import DenseTrainer
from pipelines.training.workers import Workers, in_workers
from training_runs import ARGUMENTS, dense, losses_of, triples


class Rows:
    """A stream of rows; `error` is raised at row 20."""

    def __init__(self, rows: Dataset, error: Exception | None = None) -> None:
        self.rows, self.error = rows, error

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(self.rows):
            if number == 20 and self.error is not None:
                raise self.error
            yield row


class ShuffledRows(Rows):
    """A stream of rows in an order that each process would draw anew."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.rows[row] for row in torch.randperm(len(self.rows)).tolist())


def batches_of(stream: Any, bert: Path, workers: int) -> Iterator[Any]:
    return iter(StreamedRows(stream, trained(dense(bert)), 8, workers=Workers(workers) if workers else None))


def training(stream: Any, bert: Path, folder: Path, held_out: Any = None, **options: Any) -> DenseTrainer:
    encoder = dense(bert)
    arguments = DenseTrainingArguments(str(folder), **ARGUMENTS | {"dropout": 0.0} | options)
    return DenseTrainer(encoder, arguments, stream, held_out, loss=MultipleNegativesRankingLoss(encoder))


def children(process: int) -> set[int]:
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text()
    except FileNotFoundError:
        return set()
    return {int(number) for number in found.split()}


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_and_their_order_are_those_of_one_process(workers: int, bert: Path) -> None:
    before = children(os.getpid())
    stream = triples(43).to_iterable_dataset(num_shards=4)
    alone, shared = (list(batches_of(stream, bert, count)) for count in (0, workers))
    assert [len(batch["columns"][0]["texts"]) for batch in alone] == [8] * 5 + [3]
    for mine, theirs in zip(alone, shared, strict=True):
        assert (mine["labels"], mine["dataset"]) == (theirs["labels"], theirs["dataset"])
        for one, other in zip(mine["columns"], theirs["columns"], strict=True):
            assert one.keys() == other.keys() and one["texts"] == other["texts"]
            assert torch.equal(one["input_ids"], other["input_ids"])
            assert torch.equal(one["attention_mask"], other["attention_mask"])
    assert children(os.getpid()) <= before, "the workers end with the epoch"


def test_a_source_in_random_order_is_read_once(bert: Path) -> None:
    rows = triples(40)
    found = [text for batch in batches_of(ShuffledRows(rows), bert, 3) for text in batch["columns"][0]["texts"]]
    assert sorted(found) == sorted(rows["query"]) and found != rows["query"]


@pytest.mark.slow
def test_a_run_with_workers_resumes_in_the_middle_of_a_shuffled_stream(bert: Path, tmp_path: Path) -> None:
    def stream() -> Any:
        return triples(40).to_iterable_dataset(num_shards=4).shuffle(seed=3, buffer_size=16)

    def run(name: str, workers: int, resumed: Path | None = None) -> tuple[list[float], float]:
        held_out = {"a": triples(12).to_iterable_dataset()}
        trainer = training(
            stream(),
            bert,
            tmp_path / name,
            held_out,
            dataloader_num_workers=workers,
            gradient_accumulation_steps=2,
            max_steps=5,  # of two batches; the stream has five
            save_strategy="steps",
            save_steps=3,
            eval_strategy="steps",
            eval_steps=5,
        )
        trainer.train(resume_from_checkpoint=resumed and str(resumed))
        (evaluated,) = (entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry)
        return losses_of(trainer), evaluated

    alone = run("alone", 0)
    assert run("workers", 2) == alone
    assert run("resumed", 2, tmp_path / "workers" / "checkpoint-3") == alone


def test_a_run_resumes_in_the_pass_over_a_stream_in_which_it_stopped(bert: Path, tmp_path: Path) -> None:
    def run(folder: Path, steps: int, resumed: Path | None = None) -> list[float]:
        stream = triples(24).to_iterable_dataset().shuffle(seed=3)
        options = {"save_strategy": "steps", "save_steps": 5, "lr_scheduler_type": "constant"}
        trainer = training(stream, bert, folder, max_steps=steps, **options)
        trainer.train(resume_from_checkpoint=resumed and str(resumed))
        return losses_of(trainer)

    whole = run(tmp_path / "whole", 7)
    run(tmp_path / "shorter", 5)
    assert run(tmp_path / "longer", 7, tmp_path / "shorter" / "checkpoint-5") == whole


def test_each_epoch_shuffles_a_stream_anew(bert: Path) -> None:
    rows = StreamedRows(triples(40).to_iterable_dataset().shuffle(seed=3), trained(dense(bert)), 8)
    orders = []
    for epoch in (0, 1, 0):
        rows.set_epoch(epoch)
        orders.append([text for batch in rows for text in batch["columns"][0]["texts"]])
    assert orders[0] == orders[2] != orders[1] and sorted(orders[0]) == sorted(orders[1])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_comes_after_the_batches_before_it_and_names_the_row(workers: int, bert: Path) -> None:
    rows = triples(40).to_list()
    rows[20] = rows[20] | {"positive": " "}
    failing = [
        (Rows(triples(40), InputError("rows.jsonl:21: no JSON")), InputError, r"^rows\.jsonl:21: no JSON$"),
        (Rows(triples(40), OSError(5, "read error")), OSError, "read error"),
        (Rows(rows), InputError, r"^the training data, row 20 \(from 0\), column 'positive'"),
    ]
    for stream, kind, message in failing:
        batches = batches_of(stream, bert, workers)
        assert len(list(itertools.islice(batches, 2))) == 2
        with pytest.raises(kind, match=message) as raised:
            next(batches)
        assert "\n" not in str(raised.value)


def test_a_killed_worker_is_named_in_one_line(bert: Path) -> None:
    before = children(os.getpid())
    batches = batches_of(Rows(triples(400)), bert, 2)
    next(batches)
    os.kill(max(children(os.getpid()) - before), signal.SIGKILL)
    with pytest.raises(InputError, match=r"read by 2 workers, and one has ended.*dataloader_num_workers"):
        list(batches)
    assert children(os.getpid()) <= before


def test_workers_end_with_a_killed_training_process() -> None:
    def endless() -> Iterator[str]:
        return itertools.repeat("x" * 1_000_000)  # more than a pipe holds

    process = os.fork()
    if not process:
        for _ in in_workers(endless, str.upper, Workers(3)):
            time.sleep(60)
    deadline = time.monotonic() + 60
    try:
        while len(workers := children(process)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert len(workers) >= 3
    while any(alive(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [worker for worker in workers if alive(worker)]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_rows_in_memory_need_no_workers(bert: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"dataloader_num_workers": 2, "max_steps": 1}
    training(triples(16).to_iterable_dataset(), bert, tmp_path / "streamed", **options)
    assert "dataloader_num_workers" not in caplog.text
    sets = DatasetDict({"a": triples(8), "b": triples(8)})
    encoder = dense(bert)
    arguments = DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | options)
    trainer = DenseTrainer(encoder, arguments, sets, loss=MultipleNegativesRankingLoss(encoder))
    assert "dataloader_num_workers=2 has no effect: " in caplog.text
    trainer.train()
    with pytest.raises(InputError, match="dataloader_num_workers must be"):
        DenseTrainingArguments(str(tmp_path / "run"), **ARGUMENTS | {"dataloader_num_workers": -1})
