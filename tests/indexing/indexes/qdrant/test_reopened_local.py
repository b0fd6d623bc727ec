"""Vectors that are read back from the client's local mode after it was closed."""

import numpy as np

from indexing.indexes.qdrant.engine import point_id
from indexing.indexes.qdrant.index import QdrantIndex


def test_vectors_of_a_reopened_local_index_are_normalised_as_before(tmp_path):
    vectors = 3 * np.random.default_rng(0).standard_normal((5, 4), dtype=np.float32)
    vectors[4] = 0
    ids = [f"d{number}" for number in range(5)]
    with QdrantIndex.create(tmp_path / "index", 4, engine="local") as index:
        index.upsert(ids, vectors)
        before = index.vectors(ids)
    with QdrantIndex.open(tmp_path / "index") as index:
        np.testing.assert_allclose(index.vectors(ids), before, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(index.vectors(ids), axis=1), [1, 1, 1, 1, 0], atol=1e-6)
        assert [point.id for point in index._engine.retrieve([point_id("d4")], ["dense"])] == [point_id("d4")]
