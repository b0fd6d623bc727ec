import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexing.errors import InputError, ModelError
from retrieve.encoders import DenseEncoder, quantize, value_ranges
from retrieve.encoders.modules.router import Router


def load(path, **options):
    return DenseEncoder(path, dtype="float32", **options)


def test_vectors_are_float32_rows_of_length_one(dense, texts):
    encoder = load(dense)

    vectors = encoder.encode(texts)

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), encoder.dimension) == (len(texts), 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_order_and_batches_change_nothing_but_rounding(dense, texts):
    encoder = load(dense)
    vectors = encoder.encode(texts)
    order = np.random.default_rng(1).permutation(len(texts))

    np.testing.assert_allclose(encoder.encode([texts[at] for at in order]), vectors[order], atol=1e-5)
    for budget in (1, 30, 100_000):
        np.testing.assert_allclose(encoder.encode(texts, token_budget=budget), vectors, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(encoder.encode(text), vector, atol=1e-5)


def test_equal_texts_get_equal_vectors(dense):
    vectors = load(dense).encode(["energy", "water", "energy", "energy"])

    assert (vectors[0] == vectors[2]).all() and (vectors[0] == vectors[3]).all()
    assert not np.allclose(vectors[0], vectors[1])


def test_one_text_gives_one_vector_and_no_text_none(dense):
    encoder = load(dense)

    assert encoder.encode("water").shape == (32,)
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.encode(iter([])).shape == (0, 32)
    assert np.isfinite(encoder.encode("")).all()


def test_a_generator_is_read_chunk_by_chunk(dense, texts):
    encoder = load(dense)
    read = []

    def generate():
        for at, text in enumerate(texts):
            read.append(at)
            yield text

    stream = encoder.encode_stream(generate(), chunk=4)
    first = next(stream)

    assert len(read) == 4
    vectors = np.concatenate([first, *stream])
    np.testing.assert_allclose(vectors, encoder.encode(texts), atol=1e-5)
    np.testing.assert_array_equal(encoder.encode(iter(texts)), encoder.encode(texts))


def test_vectors_go_into_a_given_array(dense, texts, tmp_path):
    encoder = load(dense)
    out = np.lib.format.open_memmap(tmp_path / "v.npy", "w+", np.float32, (len(texts), 32))

    filled = encoder.encode(texts, out=out)

    np.testing.assert_array_equal(filled, encoder.encode(texts))
    assert np.shares_memory(filled, out)
    roomy = np.full((len(texts) + 2, 32), 7, np.float32)
    assert len(encoder.encode(iter(texts), out=roomy)) == len(texts)
    assert (roomy[-2:] == 7).all()


@pytest.mark.parametrize("shape", [(3, 32), (2, 31), (64,)])
def test_an_array_that_does_not_fit_is_refused(dense, shape):
    with pytest.raises(InputError, match="out must have the shape"):
        load(dense).encode(["a", "b"], out=np.empty(shape, np.float32))


def test_too_small_an_array_for_a_generator_is_refused(dense):
    with pytest.raises(InputError, match="more texts"):
        load(dense).encode(iter(["a", "b", "c"]), out=np.empty((2, 32), np.float32))


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["nested"], float("nan")])
def test_the_error_for_an_item_that_is_not_a_text_has_its_position(dense, bad):
    with pytest.raises(InputError, match="text number 2 "):
        load(dense).encode(["a", "b", bad, "c"])
    with pytest.raises(InputError, match="text number 3 "):
        list(load(dense).encode_stream(["a", "b", "c", bad], chunk=2))


def test_half_a_surrogate_pair_is_named_by_its_position(dense):
    with pytest.raises(InputError, match=r"text number 2 .*surrogate"):
        load(dense).encode(["a", "a", "\ud83d"])


def test_normalize_makes_unit_vectors_where_the_checkpoint_does_not(make_dense, texts):
    encoder = load(make_dense(normalize=False))
    vectors = encoder.encode(texts)

    assert abs(np.linalg.norm(vectors, axis=1) - 1).max() > 0.1
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(texts, normalize=True), unit, atol=1e-6)


def test_max_length_cuts_texts(dense):
    encoder = load(dense, max_length=5)
    words = "water fire heat light wave energy"

    assert encoder.max_length == 5
    np.testing.assert_allclose(encoder.encode(words), encoder.encode("water fire heat"), atol=1e-6)


def test_max_length_stays_below_the_positions_there_are(dense):
    encoder = load(dense, max_length=1000)

    assert encoder.max_length == 40
    assert np.isfinite(encoder.encode("water " * 1000)).all()


def test_token_vectors_are_those_that_pooling_averages(make_dense, texts):
    encoder = load(make_dense(normalize=False))
    short = [text for text in texts if len(text) < 40]

    offsets, vectors = encoder.encode_tokens(short)

    assert vectors.dtype == np.float32 and offsets.dtype == np.int64
    assert len(offsets) == len(short) + 1 and offsets[-1] == len(vectors)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for at, text in enumerate(short):
        alone = encoder.encode_tokens(text)
        np.testing.assert_allclose(vectors[offsets[at] : offsets[at + 1]], alone.vectors, atol=1e-5)


def test_token_vectors_of_nothing(dense):
    offsets, vectors = load(dense).encode_tokens([])

    assert offsets.tolist() == [0] and vectors.shape == (0, 32)


def test_queries_and_documents_get_their_prompts(make_dense):
    encoder = load(make_dense(prompts={"query": "the price of ", "passage": "it is "}, default_prompt_name="passage"))

    np.testing.assert_array_equal(encoder.encode_query("water"), encoder.encode("the price of water", prompt=""))
    np.testing.assert_array_equal(encoder.encode("water"), encoder.encode("it is water", prompt=""))
    np.testing.assert_array_equal(encoder.encode("water", prompt="a "), encoder.encode("a water", prompt=""))
    # As in sentence-transformers, the prompt "document" always exists, empty, and takes precedence over "passage".
    np.testing.assert_array_equal(encoder.encode_document("water"), encoder.encode("water", prompt=""))


def test_a_default_prompt_that_does_not_exist_is_an_error(make_dense):
    with pytest.raises(ModelError, match="default_prompt_name 'passage'"):
        load(make_dense(prompts={"query": "q: "}, default_prompt_name="passage"))


def test_a_prompt_can_be_left_out_of_the_pooling(make_dense):
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    whole = load(make_dense(pooling, normalize=False)).encode("water", prompt="the price of ")
    without = load(make_dense(pooling | {"include_prompt": False}, normalize=False))

    # [CLS] the price of water [SEP]: the first four are the prompt.
    features = without.engine.forward(without.input.tokenize(["the price of water"]), np.array([0]))
    expected = features["token_embeddings"][0, 4:].mean(dim=0).cpu().numpy()

    np.testing.assert_allclose(without.encode("water", prompt="the price of "), expected, atol=1e-6)
    assert not np.allclose(whole, expected, atol=1e-2)


def test_identity_distinguishes_models_but_not_folders_or_precisions(make_dense, tmp_path):
    path = make_dense(prompts={"query": "the "})
    encoder = load(path)
    identity = encoder.identity
    apart = {"name", "revision", "dtype"}

    moved = path.rename(tmp_path / "elsewhere")
    again = DenseEncoder(moved, dtype="bfloat16").identity
    shorter = load(moved, max_length=7).identity

    assert identity["name"] == str(path) and again["name"] == str(moved)
    assert again["dtype"] == "bfloat16"
    assert {k: v for k, v in identity.items() if k not in apart} == {k: v for k, v in again.items() if k not in apart}
    assert {key for key in identity if identity[key] != shorter[key]} - apart == {"max_length"}
    assert identity["dimension"] == 32 and len(identity["weights_sha256"]) == 64


def test_progress_counts_texts_even_equal_ones(dense, texts, capsys):
    load(dense).encode([*texts, *texts], show_progress=True)

    assert f"encoding: {2 * len(texts)} texts in" in capsys.readouterr().err


def test_loading_and_encoding_print_nothing(dense, texts, capfd):
    load(dense).encode(texts)

    assert capfd.readouterr() == ("", "")


def test_threads_may_encode_at_once(dense, texts):
    encoder = load(dense)
    alone = encoder.encode(texts)

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: encoder.encode(texts), range(8)))

    for result in results:
        np.testing.assert_allclose(result, alone, atol=1e-5)


def test_bfloat16_is_close_and_still_gives_float32(dense, texts):
    vectors = DenseEncoder(dense, dtype="bfloat16").encode(texts)

    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (vectors * load(dense).encode(texts)).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("option", [{"dtype": "float8"}, {"device": "abacus"}, {"max_length": 0}])
def test_an_unknown_option_is_named(dense, option):
    with pytest.raises(InputError, match=str(*option.values())):
        DenseEncoder(dense, **option)


def test_importing_the_encoders_loads_no_model_library():
    code = "import sys, retrieve.encoders; print([m for m in ('torch', 'transformers', 'faiss') if m in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_fewer_bits_block_by_block_are_those_of_all_at_once(dense, texts):
    encoder = load(dense)
    vectors = encoder.encode(texts)
    ranges = value_ranges(vectors)

    for precision in ("int8", "uint8", "binary", "ubinary"):
        expected = quantize(vectors, precision, ranges=ranges)
        filled = np.zeros_like(expected)
        assert encoder.encode(iter(texts), precision=precision, ranges=ranges, out=filled).base is filled
        np.testing.assert_array_equal(filled, expected)
        np.testing.assert_array_equal(encoder.encode(iter(texts), precision=precision), expected)
    with pytest.raises(InputError, match="int8"):
        encoder.encode(texts, precision="int8", ranges=ranges, out=np.zeros((len(texts), 32), np.float32))
    with pytest.raises(InputError, match="sample"):
        encoder.encode("water", precision="int8")


def test_an_encoder_of_shortened_vectors(dense, make_dense, texts):
    short, whole = load(dense, truncate_dim=5), load(dense)

    assert short.dimension == short.identity["dimension"] == 5
    np.testing.assert_array_equal(short.encode(texts), whole.encode(texts)[:, :5])
    assert short.encode(texts, truncate_dim=9).shape == (len(texts), 9)
    assert short.encode_tokens([]).vectors.shape == (0, 32)
    with pytest.raises(InputError, match="truncate_dim"):
        whole.encode(texts, truncate_dim=0)
    with pytest.raises(InputError, match="convert_to"):
        whole.encode(texts, convert_to="jax")


def test_a_width_that_is_set_later_takes_effect(dense, texts, tmp_path):
    encoder, full = load(dense), load(dense).encode(texts)
    encoder.truncate_dim = 8
    assert encoder.dimension == 8
    np.testing.assert_array_equal(encoder.encode(texts), full[:, :8])
    encoder.save(tmp_path / "saved")
    assert load(tmp_path / "saved").truncate_dim == 8
    with pytest.raises(InputError, match="truncate_dim"):
        encoder.truncate_dim = 0
    encoder.truncate_dim = None
    np.testing.assert_array_equal(encoder.encode(texts), full)


def test_a_task_is_a_route_of_the_model_or_is_refused(dense, texts, tmp_path):
    encoder = load(dense)
    with pytest.raises(InputError, match="has no routes: task must be 'query' or 'document', not 'classification'"):
        encoder.encode(texts, task="classification")
    encoder.modules = [Router({"query": encoder.modules, "topics": encoder.modules})]
    encoder.save(tmp_path / "routes")
    routed = load(tmp_path / "routes")
    np.testing.assert_allclose(routed.encode(texts, task="topics"), load(dense).encode(texts), atol=1e-6)
    for call in (routed.encode, routed.encode_tokens):
        with pytest.raises(InputError, match=r"no route for the task 'classification', only query, topics"):
            call(texts, task="classification")
        with pytest.raises(InputError, match="name of a task"):
            call(texts, task=["query"])
