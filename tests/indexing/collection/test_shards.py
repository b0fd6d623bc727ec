import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix, random

from indexing.collection import shards as module
from indexing.collection.shards import DenseRows, Shards, SparseRows
from indexing.errors import StorageError


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


@pytest.fixture
def shards(tmp_path) -> Shards:
    return Shards(tmp_path / "c" / "shards" / "dense", DenseRows(3))


def fill(shards: Shards, *sizes: int, first: int = 1) -> np.ndarray:
    rows = vectors(sum(sizes))
    start = 0
    for size in sizes:
        numbers = np.arange(first + start, first + start + size)
        shards.accept(shards.append(numbers, rows[start : start + size]))
        start += size
    return rows


def test_gives_the_rows_of_the_documents_asked_for(shards):
    rows = fill(shards, 4, 1, 5)
    for wanted in ([1], [2, 4, 5, 6, 10], [5], list(range(1, 11)), []):
        np.testing.assert_array_equal(shards.read(np.array(wanted, np.int64)), rows[np.array(wanted, int) - 1])


@pytest.mark.parametrize("number", [0, 11, 99])
def test_a_document_without_a_row_is_an_error(shards, number):
    fill(shards, 4, 6)
    with pytest.raises(StorageError, match=f"has no row for document number {number}"):
        shards.read(np.array([number]))


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.2, 1.0]))
@settings(max_examples=25, deadline=None)
def test_sparse_rows_come_back_as_they_were(seed, density):
    matrix = csr_matrix(random(7, 11, density=density, random_state=np.random.default_rng(seed), dtype=np.float32))
    codec = SparseRows(11)
    back = codec.unpack(codec.pack(matrix), 7)
    np.testing.assert_array_equal(back.toarray(), matrix.toarray())
    assert back.has_canonical_format
    assert codec.stack([]).shape == (0, 11)


def test_half_precision_is_kept_as_it_is(tmp_path):
    codec = DenseRows(3, "float16")
    rows = vectors(5).astype(np.float16)
    back = codec.unpack(codec.pack(rows), 5)
    assert back.dtype == np.float16
    np.testing.assert_array_equal(back, rows)


def test_a_shard_ends_when_it_is_long(shards, monkeypatch):
    monkeypatch.setattr(module, "SHARD_BYTES", 100)
    rows = fill(shards, 4, 5, 6, 1)
    assert sorted(file.name for file in shards.folder.iterdir()) == ["000000.shard", "000001.shard"]
    np.testing.assert_array_equal(shards.read(np.arange(1, 17)), rows)


def test_what_was_written_and_not_accepted_is_written_over(shards):
    fill(shards, 4)
    shards.append(np.arange(5, 9), vectors(4, seed=1))
    piece = shards.append(np.arange(5, 6), vectors(1, seed=2))
    shards.accept(piece)
    assert (shards.folder / piece.shard).stat().st_size == piece.end == 5 * 12
    np.testing.assert_array_equal(shards.read(np.array([5])), vectors(1, seed=2))


def test_rewriting_keeps_living_rows_in_new_files_until_they_replace_the_old(shards):
    rows = fill(shards, 4, 3, 5)
    alive = np.array([2, 3, 9, 12])
    fresh = shards.rewrite(alive)
    assert not {piece.shard for piece in fresh} & {piece.shard for piece in shards.pieces}
    np.testing.assert_array_equal(shards.read(np.arange(1, 13)), rows)

    shards.replace(fresh)
    assert [file.name for file in shards.folder.iterdir()] == ["000001.shard"]
    np.testing.assert_array_equal(shards.read(alive), rows[alive - 1])
    assert not shards.needs_rewrite(4)


@pytest.mark.parametrize("place", [0, 30, 59])
def test_a_flipped_byte_is_found_by_every_reader(shards, place):
    fill(shards, 5)
    file = shards.folder / "000000.shard"
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(StorageError, match=r"000000\.shard is damaged between bytes 0 and 60: .*--repair"):
        shards.read(np.array([3]))
    assert not shards.is_intact(shards.pieces[0])
