"""Arguments of mining, evaluators and training runs: anything else is refused by one line that names the argument."""

import math
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from indexing.errors import InputError
from pipelines.evaluation.evaluators import InformationRetrievalEvaluator
from pipelines.mining.from_collection import MiningSettings
from pipelines.mining.mine_hard_negatives import mine_hard_negatives
from pipelines.training.arguments import DenseTrainingArguments
from retrieve import DenseEncoder

NAN = math.nan
NOT_WHOLE = ["2", b"2", NAN, 2.0, 2.5, True, [2], {2}, {"k": 2}, -1]
NOT_NUMBER = ["0.5", b"1", NAN, [0.5], {0.5}, {"a": 1}, True]
NOT_MAPPING = ["ab", b"ab", None, 5, NAN, {"a"}, ["a"]]
ROWS = Dataset.from_dict({"q": ["a b", "c d", "e f"], "p": ["b a", "d c", "f e"]})


def refused(argument: str, call) -> None:
    with pytest.raises(InputError, match=argument) as raised:
        call()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", NOT_WHOLE, ids=repr)
def test_what_is_no_whole_number_is_refused(tiny_dense: DenseEncoder, tmp_path: Path, value) -> None:
    refused("num_negatives", lambda: mine_hard_negatives(ROWS, tiny_dense, num_negatives=value, verbose=False))
    refused("range_min", lambda: mine_hard_negatives(ROWS, tiny_dense, range_min=value, verbose=False))
    refused("range_max", lambda: mine_hard_negatives(ROWS, tiny_dense, range_max=value, verbose=False))
    refused("the quota of 'bm25'", lambda: MiningSettings({"bm25": value}))
    refused("depth", lambda: MiningSettings({"bm25": 1}, depth=value))
    refused("range_min", lambda: MiningSettings({"bm25": 1}, range_min=value))
    refused("per_device_train_batch_size", lambda: _arguments(tmp_path, per_device_train_batch_size=value))
    if value != -1:
        refused("max_steps", lambda: _arguments(tmp_path, max_steps=value))


@pytest.mark.parametrize("value", NOT_NUMBER, ids=repr)
def test_what_is_no_number_is_refused(tiny_dense: DenseEncoder, tmp_path: Path, value) -> None:
    for name in ("absolute_margin", "relative_margin", "max_score", "min_score"):
        refused(name, lambda name=name: MiningSettings({"bm25": 1}, **{name: value}))
        refused(name, lambda name=name: mine_hard_negatives(ROWS, tiny_dense, verbose=False, **{name: value}))
    for name in ("learning_rate", "num_train_epochs", "dropout"):
        refused(name, lambda name=name: _arguments(tmp_path, **{name: value}))


@pytest.mark.parametrize("value", NOT_MAPPING, ids=repr)
def test_what_is_no_mapping_is_refused(tmp_path: Path, value) -> None:
    refused("queries", lambda: InformationRetrievalEvaluator(value, {"d": "a"}, {"q": {"d"}}))
    refused("corpus", lambda: InformationRetrievalEvaluator({"q": "a"}, value, {"q": {"d"}}))
    refused("relevant_docs", lambda: InformationRetrievalEvaluator({"q": "a"}, {"d": "a"}, value))
    refused("quotas", lambda: MiningSettings(value))
    if value is not None:
        refused("router_mapping", lambda: _arguments(tmp_path, router_mapping=value))
        refused("learning_rate_mapping", lambda: _arguments(tmp_path, learning_rate_mapping=value))
    if value is not None and not isinstance(value, str):
        refused("prompts", lambda: _arguments(tmp_path, prompts=value))


def test_numpys_numbers_are_taken(tiny_dense: DenseEncoder, tmp_path: Path) -> None:
    found = mine_hard_negatives(ROWS, tiny_dense, num_negatives=np.int64(1), max_score=np.float32(2), verbose=False)
    assert len(found) == 3
    assert MiningSettings({"bm25": np.int64(1)}, depth=np.int32(5)).depth == 5
    assert _arguments(tmp_path, learning_rate=np.float64(0.1)).learning_rate == 0.1


def _arguments(folder: Path, **options) -> DenseTrainingArguments:
    return DenseTrainingArguments(str(folder / "run"), report_to=[], **options)
