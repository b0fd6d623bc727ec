"""Files of encoded texts: looked up by text, checked, and written atomically."""

import numpy as np
import pytest
from scipy.sparse import random as random_sparse

from indexing.errors import StorageError
from indexing.token_vectors import TokenVectors
from pipelines.build.encoded import EncodedTexts, file_name, is_intact, text_digests, write_encoded

TEXTS = [f"text {number}" for number in range(1000)]
IDENTITY = {"name": "here", "dtype": "float32", "weights_sha256": "7"}


def kept(folder, rows):
    files = []
    for start in range(0, len(TEXTS), 300):
        digests = text_digests(TEXTS[start : start + 300])
        files.append(folder / file_name(IDENTITY, digests))
        write_encoded(files[-1], digests, rows[start : start + 300])
    return files


@pytest.mark.parametrize(
    "rows",
    [
        np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32),
        random_sparse(1000, 50, 0.1, format="csr", dtype=np.float32, rng=np.random.default_rng(1)),
    ],
    ids=["vectors", "weights"],
)
def test_texts_get_the_rows_that_were_written_for_them_in_any_order(tmp_path, rows):
    texts = EncodedTexts(IDENTITY, kept(tmp_path, rows))
    order = np.random.default_rng(2).integers(0, 1000, 700)
    found = texts.encode_document([TEXTS[number] for number in order])
    assert found.shape == (700, rows.shape[1])
    assert not (found != rows[order]).sum()


def test_token_vectors_are_written_and_found_too(tmp_path):
    rng = np.random.default_rng(3)
    rows = TokenVectors.of([rng.standard_normal((int(count), 4), np.float32) for count in rng.integers(0, 6, 1000)])
    files = []
    for start in range(0, 1000, 300):
        digests = text_digests(TEXTS[start : start + 300])
        files.append(tmp_path / file_name(IDENTITY, digests))
        write_encoded(files[-1], digests, rows.slice(start, min(start + 300, 1000)))
    order = rng.integers(0, 1000, 700)
    found = EncodedTexts(IDENTITY, files).encode_document([TEXTS[number] for number in order])
    expected = rows.take(order)
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def test_a_text_that_was_never_encoded_is_named(tmp_path):
    texts = EncodedTexts(IDENTITY, kept(tmp_path, np.zeros((1000, 2), np.float32)))
    with pytest.raises(StorageError, match="begins 'another one'"):
        texts.encode_document(["text 3", "another one"])


def test_a_damaged_file_is_found_and_named(tmp_path):
    file = kept(tmp_path, np.ones((1000, 2), np.float32))[1]
    assert is_intact(file)
    data = bytearray(file.read_bytes())
    data[data.index(np.ones(4, np.float32).tobytes()) + 1] ^= 1
    file.write_bytes(data)
    assert not is_intact(file)
    with pytest.raises(StorageError, match=file.name):
        EncodedTexts(IDENTITY, [file]).encode_document(["text 300"])


def test_what_a_killed_worker_left_is_removed_by_the_next_that_writes_the_file(tmp_path):
    digests = text_digests(TEXTS[:300])
    name = file_name(IDENTITY, digests)
    (tmp_path / f".{name}.dead.partial").write_bytes(b"half")
    kept(tmp_path, np.zeros((1000, 2), np.float32))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(("field", "same"), [("name", True), ("dtype", False), ("weights_sha256", False)])
def test_a_file_is_named_for_the_encoder_and_its_precision_wherever_it_lies(field, same):
    digests = text_digests(TEXTS)
    assert (file_name(IDENTITY, digests) == file_name(IDENTITY | {field: "other"}, digests)) == same
