import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder as TheirCrossEncoder
from sentence_transformers import SparseEncoder as TheirSparseEncoder
from transformers import AutoModelForMaskedLM

from checkpoints import write_bert
from indexing.errors import InputError, ModelError
from pipelines.mining.relevant_documents import Positive
from pipelines.near_duplicates import near_duplicate_pairs, nearest_overlaps
from pipelines.training.losses import CSRLoss, MarginMSELoss, MatryoshkaLoss, SpladeLoss
from pipelines.training.recipes.classification_head import is_cross_encoder, write_cross_encoder
from pipelines.training.recipes.collection import row_format
from pipelines.training.recipes.initial_model import has_sparse_head
from pipelines.training.recipes.losses import batch_size_of, default_loss, loss_names, make_loss
from pipelines.training.recipes.mlm_head import write_mlm_encoder
from pipelines.training.recipes.rows import read_rows
from pipelines.training.recipes.settings import TrainSettings
from pipelines.training.recipes.splits import Split, like_queries, nearness, split_queries
from retrieve.encoders import CrossEncoder, DenseEncoder, SparseEncoder

# -- settings ---------------------------------------------------------------------------------------------------------


def test_flags_override_settings_of_a_file(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text("model: m\noutput: o\nlr: 2e-5\nbatch-size: 4\nloss_options: {scale: 30}\nmatryoshka: [8, 4]\n")
    settings = TrainSettings.read(config, {"batch_size": 8, "seed": None})
    assert (settings.lr, settings.batch_size, settings.seed) == (2e-5, 8, 42)
    assert settings.loss_options == {"scale": 30} and settings.matryoshka == (8, 4)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("model: m\noutput: o\nrate: 1\nepoch: 2\n", "unknown settings 'rate', 'epoch'; there are model, output"),
        ("output: o\n", "model must be given"),
        ("model: m\noutput: o\nlr: fast\n", "lr must be a number above 0, not 'fast'"),
        ("model: m\noutput: o\nbatch_size: 0\n", "batch_size must be a whole number of at least 1, not 0"),
        ("model: m\noutput: o\nbf16: 1\n", "bf16 must be true or false, not 1"),
        ("model: [\n", "is not YAML"),
        ("- a\n", "name: value"),
    ],
)
def test_an_invalid_file_of_settings_is_refused(tmp_path: Path, lines: str, message: str) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(lines)
    with pytest.raises(InputError, match=message):
        TrainSettings.read(config, {})


# -- rows and losses --------------------------------------------------------------------------------------------------


def test_ids_are_dropped_and_labels_of_text_files_are_numbers(tmp_path: Path, triples: Path) -> None:
    assert read_rows(triples).column_names == ["query", "positive", "negative"]
    table = tmp_path / "pairs.csv"
    table.write_text("query,document,label\na,b,0.5\nc,d,1\n")
    assert read_rows(table)["label"] == [0.5, 1.0]
    assert read_rows(table, columns=["document", "query"]).column_names == ["document", "query"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"query": "a", "positive": "b"}', "{"], "line 2"),
        (['{"query": "a", "positive": "b"}', '{"query": "a"}'], "line 2.*its fields are query"),
        (['{"query": "a", "document": "b", "label": "high"}'], "line 1.*'high' is not a number"),
        ([], "no rows"),
        (
            ['{"query": "a", "positive": "b"}', '{"query": "c", "positive": ""}'],
            "line 2.*'positive' holds an empty text",
        ),
        (['{"query": "a", "documents": ["b", " "], "labels": [1, 0]}'], "line 1.*'documents' holds an empty text"),
    ],
)
def test_an_invalid_row_is_reported(tmp_path: Path, lines: list[str], message: str) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path / "rows.jsonl")


def rows_of(**columns: Any) -> Dataset:
    return Dataset.from_dict({name: [value] * 2 for name, value in columns.items()})


@pytest.mark.parametrize(
    ("columns", "dense", "sparse", "reranker"),
    [
        ({"q": "a", "p": "b"}, "MultipleNegativesRanking", "MultipleNegativesRanking", "MultipleNegativesRanking"),
        ({"q": "a", "d": "b", "score": 0.5}, "CoSENT", "CosineSimilarity", "BinaryCrossEntropy"),
        ({"q": "a", "p": "b", "n": "c", "score": 0.5}, "MarginMSE", "MarginMSE", "MarginMSE"),
        ({"q": "a", "p": "b", "n": "c", "scores": [1.0, 2.0]}, "MarginMSE", "MarginMSE", "MarginMSE"),
        ({"q": "a", "documents": ["b", "c"], "labels": [1, 0]}, None, None, "Lambda"),
    ],
)
def test_the_columns_choose_the_loss(
    columns: dict[str, Any], dense: str | None, sparse: str | None, reranker: str
) -> None:
    rows = rows_of(**columns)
    assert default_loss("reranker", rows) == f"{reranker}Loss"
    if dense:
        assert default_loss("dense", rows) == f"{dense}Loss" and default_loss("sparse", rows) == f"{sparse}Loss"


@pytest.mark.parametrize(
    ("count", "options", "size", "loss"),
    [
        (2560, {}, 128, "CachedMultipleNegativesRankingLoss"),
        (2559, {}, 32, "MultipleNegativesRankingLoss"),
        (2560, {"batch_size": 16}, 16, "MultipleNegativesRankingLoss"),
        (100, {"batch_size": 64}, 64, "CachedMultipleNegativesRankingLoss"),
        (2560, {"loss": "triplet"}, 32, "TripletLoss"),
    ],
)
def test_many_rows_of_texts_train_a_dense_encoder_in_large_batches(
    bert: Path, count: int, options: dict[str, Any], size: int, loss: str
) -> None:
    rows = Dataset.from_dict({name: [name] * count for name in ("q", "p", "n")})
    settings = TrainSettings(model="m", output="o", **options)

    assert batch_size_of("dense", settings, rows) == size
    assert type(make_loss("dense", settings, DenseEncoder(bert, dtype="float32"), rows)).__name__ == loss
    assert batch_size_of("sparse", TrainSettings("m", "o"), rows) == 32


def test_losses_by_name_with_options_and_wrappers(bert: Path) -> None:
    encoder, rows = DenseEncoder(bert, dtype="float32"), rows_of(q="a", p="b", n="c")
    base = TrainSettings("m", "o")
    loss: Any = make_loss("dense", replace(base, loss="margin-mse", matryoshka=(32, 8)), encoder, rows)
    assert isinstance(loss, MatryoshkaLoss) and isinstance(loss.loss, MarginMSELoss)
    loss = make_loss("sparse", replace(base, loss_options={"scale": 2}, document_weight=1e-3), encoder, rows)
    assert isinstance(loss, SpladeLoss) and loss.document_regularizer_weight == 1e-3
    assert (loss.loss.settings["similarity"], loss.loss.settings["scale"]) == ("dot", 2)
    cached: Any = make_loss("sparse", replace(base, loss="CachedMultipleNegativesRankingLoss"), encoder, rows)
    assert cached.loss.loss.settings["similarity"] == "dot"
    with pytest.raises(InputError, match=r"no loss 'nothing'.*MultipleNegativesRankingLoss"):
        make_loss("dense", replace(base, loss="nothing"), encoder, rows)
    with pytest.raises(InputError, match=r"no option 'heat'.*scale"):
        make_loss("dense", replace(base, loss_options={"heat": 2}), encoder, rows)
    with pytest.raises(InputError, match="cannot infer a loss"):
        default_loss("dense", rows_of(q="a"))


def test_settings_of_a_wrapper_include_those_of_the_inner_loss() -> None:
    settings = CSRLoss(torch.nn.Identity(), gamma=0.5).settings

    assert settings["gamma"] == 0.5
    assert settings["loss"] == "MultipleNegativesRankingLoss" and settings["loss.similarity"] == "dot"


@pytest.mark.parametrize(
    ("loss", "shape"),
    [(None, "labeled-list"), ("bce", None), ("BinaryCrossEntropy", "labeled-pair"), ("margin-mse", "n-tuple")],
)
def test_rows_are_mined_in_the_format_that_the_loss_reads(loss: str | None, shape: str | None) -> None:
    if shape is None:
        with pytest.raises(InputError, match="no loss 'bce'"):
            row_format(loss)
    else:
        assert row_format(loss) == shape
    assert set(loss_names("reranker")) & {"LambdaLoss", "BinaryCrossEntropyLoss"}


# -- heads ------------------------------------------------------------------------------------------------------------


def test_a_head_for_splade_changes_only_the_bias(bert: Path, tmp_path: Path) -> None:
    encoder = DenseEncoder(bert, dtype="float32", device="cpu")
    texts = ["water heat", "the stock market", "light energy wave"]
    folder = write_mlm_encoder(encoder, texts, tmp_path / "start", active_terms=12)
    headed = AutoModelForMaskedLM.from_pretrained(folder).eval()
    first: Any = encoder.modules[0]
    tokens = first.tokenizer("water heat", return_tensors="pt")
    with torch.no_grad():
        hidden = first.model(**tokens).last_hidden_state
        words = first.model.embeddings.word_embeddings.weight
        expected = torch.nn.functional.layer_norm(hidden, hidden.shape[-1:], eps=first.model.config.layer_norm_eps)
        expected = expected @ words.T + headed.cls.predictions.bias
        torch.testing.assert_close(headed(**tokens).logits, expected, atol=5e-3, rtol=1e-3)
    assert headed.get_output_embeddings().weight is headed.get_input_embeddings().weight
    mine, theirs = SparseEncoder(folder, dtype="float32"), TheirSparseEncoder(str(folder), device="cpu")
    weights = mine.encode(texts)
    assert 8 <= weights.count_nonzero() / 3 <= 16
    np.testing.assert_allclose(weights.toarray(), theirs.encode(texts).to_dense().numpy(), atol=1e-4)
    assert has_sparse_head(folder) and not has_sparse_head(bert)


def test_minilm_begins_as_a_splade_encoder_that_names_related_words(minilm: DenseEncoder, tmp_path: Path) -> None:
    texts = ["How do vaccines work?", "A reliable stream of bytes between two hosts.", "Baking bread with yeast."]
    start = SparseEncoder(write_mlm_encoder(minilm, texts, tmp_path / "start", active_terms=50), dtype="float32")
    terms = [[term for term, _ in row] for row in start.decode(start.encode(texts), top_k=20)]
    assert "vaccine" in terms[0] and "vaccines" in terms[0]
    assert "bytes" in terms[1] and "bread" in terms[2]


def test_a_head_for_a_reranker(bert: Path, tmp_path: Path) -> None:
    assert not is_cross_encoder(bert)
    folder = write_cross_encoder(bert, tmp_path / "start", seed=3, max_length=20)
    assert is_cross_encoder(folder)
    mine = CrossEncoder(folder, dtype="float32", device="cpu")
    pairs = [("water", "heat"), ("light", "the stock market")]
    np.testing.assert_allclose(
        mine.predict(pairs), TheirCrossEncoder(str(folder), device="cpu").predict(pairs), atol=1e-5
    )
    again = CrossEncoder(write_cross_encoder(bert, tmp_path / "again", seed=3, max_length=20), dtype="float32")
    assert again.identity["weights_sha256"] == mine.identity["weights_sha256"] and mine.max_length == 20
    first: Any = DenseEncoder(bert, dtype="float32", device="cpu").modules[0]
    kept: Any = mine.modules[0]
    for name, value in first.model.embeddings.state_dict().items():
        torch.testing.assert_close(kept.model.bert.embeddings.state_dict()[name], value)


def test_a_head_for_other_architectures_is_refused(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    bert = write_bert(tmp_path / "other")
    DistilBertModel(
        DistilBertConfig(vocab_size=200, dim=32, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=40)
    ).save_pretrained(bert)
    with pytest.raises(ModelError, match="BERT encoders only"):
        write_mlm_encoder(DenseEncoder(bert, dtype="float32"), ["water"], tmp_path / "start")


# -- splits -----------------------------------------------------------------------------------------------------------


def test_held_out_queries_are_not_trained_on() -> None:
    ids = [f"q{at}" for at in range(100)]
    split = split_queries(ids, ids[:60], held_out=10, limit=30, seed=1)
    sides = [set(split.train), set(split.tuning), set(split.held_out)]
    assert [len(side) for side in sides] == [30, 5, 10]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert sides[1] | sides[2] <= set(ids[:60])
    assert split == split_queries(ids, ids[:60], held_out=10, limit=30, seed=1)
    assert split != split_queries(ids, ids[:60], held_out=10, limit=30, seed=2)
    with pytest.raises(InputError, match="too few"):
        split_queries(ids, ids[:3], held_out=10, limit=None, seed=1)


def test_near_duplicates_and_queries_of_one_relevant_document_stand_on_one_side() -> None:
    draw = random.Random(4)
    texts: dict[str, str] = {}
    positives: dict[str, list[Positive]] = {}
    for at in range(120):
        words = [f"word{draw.randrange(5000)}" for _ in range(8)]
        texts[f"q{at}"], positives[f"q{at}"] = " ".join(words), [Positive(f"text {at}", f"d{at}")]
        if at % 3 == 0:  # the same words in another order, with another relevant document
            texts[f"n{at}"], positives[f"n{at}"] = " ".join(words[::-1]).title(), [Positive(f"other {at}", f"e{at}")]
        if at % 4 == 0:  # other words, the same relevant document
            texts[f"s{at}"] = " ".join(f"else{draw.randrange(5000)}" for _ in range(8))
            positives[f"s{at}"] = [Positive(f"text {at}", f"d{at}" if at % 8 else None)]
            if not at % 8:
                positives[f"q{at}"] = [Positive(f" text  {at}")]
    groups = like_queries(texts, positives)
    split = split_queries(list(texts), list(texts), held_out=20, limit=None, seed=3, groups=groups)
    sides = {query_id: side for side in ("train", "tuning", "held_out") for query_id in getattr(split, side)}
    assert split.is_separated and len(split.held_out) == 20 and sides.keys() == texts.keys()
    for query_id, side in sides.items():
        number = query_id[1:]
        assert all(sides.get(f"{kind}{number}", side) == side for kind in "qns")
    assert any(f"n{query_id[1:]}" in split.held_out for query_id in split.held_out if query_id[0] == "q")
    assert nearness(split, texts) < 0.2
    apart = Split(["q0"], [], ["n0", "q1"])
    assert nearness(apart, texts) == pytest.approx(0.5, abs=0.1)


def test_queries_of_a_held_out_group_that_cannot_be_judged_are_left_out() -> None:
    ids = [f"q{at}" for at in range(60)]
    groups = {query_id: f"q{int(query_id[1:]) // 2}" for query_id in ids}
    split = split_queries(ids, ids[::2], held_out=6, limit=None, seed=1, groups=groups)
    reserved = {*split.held_out, *split.tuning}
    assert set(split.left_out) == {f"q{int(query_id[1:]) + 1}" for query_id in reserved}
    assert len(split.train) == 60 - 2 * len(reserved)


def test_queries_that_are_all_alike_are_split_and_that_is_said() -> None:
    ids = [f"q{at}" for at in range(40)]
    split = split_queries(ids, ids, held_out=6, limit=None, seed=1, groups=dict.fromkeys(ids, "q0"))
    assert not split.is_separated and len(split.held_out) == 6 and len(split.train) == 32


def test_the_overlaps_of_word_sets_are_jaccards() -> None:
    draw = random.Random(1)
    sets = [frozenset(draw.choices("abcdefgh", k=draw.randrange(1, 6))) for _ in range(150)]
    jaccard = np.array([[len(one & other) / len(one | other) for other in sets] for one in sets])
    np.testing.assert_allclose(nearest_overlaps(sets[:100], sets[100:]), jaccard[:100, 100:].max(axis=1))
    pairs = {(one, other) for one in range(150) for other in range(one + 1, 150) if jaccard[one, other] >= 0.8}
    assert set(near_duplicate_pairs(sets, 0.8)) == pairs
    assert nearest_overlaps(sets[:3], []).tolist() == [0, 0, 0]
