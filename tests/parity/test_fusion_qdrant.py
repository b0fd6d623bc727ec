"""like="qdrant" against Qdrant: the client's local mode, and Edge, the in-process engine (float32)."""

import pytest

from fusing import random_pairs, run
from indexing.hits import Hits
from retrieve.fusion import Preset

LEFT, RIGHT = random_pairs()
OPTIONS = [{}, {"k": 60}, {"weights": [1, 2]}, {"k": 5, "weights": [0.25, 0.75]}, {"k": 3, "weights": [0, 1]}]


class TestLocalMode:
    """The local mode calls `qdrant_client.hybrid.fusion`."""

    @staticmethod
    def responses(query: int):
        models = pytest.importorskip("qdrant_client.http.models")
        return [
            [models.ScoredPoint(id=int(hit.doc_id[1:]), version=0, score=hit.score) for hit in leg[query]]
            for leg in (LEFT, RIGHT)
        ]

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_rrf(self, options):
        fusion = pytest.importorskip("qdrant_client.hybrid.fusion")
        ours = run(Preset(like="qdrant", options=options)([LEFT, RIGHT]))
        for query in range(len(LEFT)):
            theirs = fusion.reciprocal_rank_fusion(
                self.responses(query), 1000, ranking_constant_k=options.get("k"), weights=options.get("weights")
            )
            assert ours[query] == pytest.approx({f"d{point.id:02}": point.score for point in theirs}, abs=1e-9)

    def test_dbsf(self):
        fusion = pytest.importorskip("qdrant_client.hybrid.fusion")
        ours = run(Preset(like="qdrant", method="dbsf")([LEFT, RIGHT]))
        for query in range(len(LEFT)):
            theirs = fusion.distribution_based_score_fusion(self.responses(query), 1000)
            assert ours[query] == pytest.approx({f"d{point.id:02}": point.score for point in theirs}, abs=1e-9)


class TestEdge:
    """Legs are sparse vectors with one weight per query, which is the document's score."""

    @pytest.fixture(scope="class")
    @staticmethod
    def shard(tmp_path_factory):
        edge = pytest.importorskip("qdrant_edge")
        config = edge.EdgeConfig(sparse_vectors={name: edge.EdgeSparseVectorParams() for name in ("left", "right")})
        shard = edge.EdgeShard.create(str(tmp_path_factory.mktemp("edge")), config)
        vectors: dict[int, dict[str, dict[int, float]]] = {}
        for name, leg in (("left", LEFT), ("right", RIGHT)):
            for query, ranking in enumerate(leg):
                for hit in ranking:
                    vectors.setdefault(int(hit.doc_id[1:]), {}).setdefault(name, {})[query] = hit.score
        points = [
            edge.Point(
                number,
                {name: edge.SparseVector(list(scores), list(scores.values())) for name, scores in named.items()},
                {},
            )
            for number, named in vectors.items()
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))
        yield shard
        shard.close()

    @staticmethod
    def legs(shard, *, ranks: bool) -> list[Hits]:
        """Return each leg's hits as Edge orders them, by score or by rank, because its order of ties differs."""
        edge = pytest.importorskip("qdrant_edge")
        answers = []
        for name in ("left", "right"):
            found = {}
            for query in range(len(LEFT)):
                nearest = edge.Query.Nearest(edge.SparseVector([query], [1.0]), using=name)
                points = shard.query(edge.QueryRequest(limit=100, query=nearest))
                found[str(query)] = {
                    f"d{point.id:02}": -rank if ranks else point.score for rank, point in enumerate(points)
                }
            answers.append(Hits.from_run(found, list(found)))
        return answers

    @staticmethod
    def fused(shard, fusion) -> list[dict[str, float]]:
        edge = pytest.importorskip("qdrant_edge")
        answers = []
        for query in range(len(LEFT)):
            prefetches = [
                edge.Prefetch(limit=100, query=edge.Query.Nearest(edge.SparseVector([query], [1.0]), using=name))
                for name in ("left", "right")
            ]
            points = shard.query(edge.QueryRequest(limit=200, prefetches=prefetches, query=fusion))
            answers.append({f"d{point.id:02}": point.score for point in points})
        return answers

    def test_it_finds_what_the_legs_hold_but_scores_of_0(self, shard):
        for leg, theirs in zip((LEFT, RIGHT), self.legs(shard, ranks=False), strict=True):
            assert run(theirs) == [
                pytest.approx({doc_id: score for doc_id, score in found.items() if score}) for found in run(leg)
            ]

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    def test_rrf(self, shard, options):
        edge = pytest.importorskip("qdrant_edge")
        theirs = self.fused(shard, edge.Fusion.Rrf(k=options.get("k", 2), weights=options.get("weights")))
        ours = run(Preset(like="qdrant", options=options)(self.legs(shard, ranks=True)))
        assert theirs == [pytest.approx(found, abs=1e-6) for found in ours]

    def test_dbsf(self, shard):
        edge = pytest.importorskip("qdrant_edge")
        theirs = self.fused(shard, edge.Fusion.Dbsf())
        ours = run(Preset(like="qdrant", method="dbsf")(self.legs(shard, ranks=False)))
        assert theirs == [pytest.approx(found, abs=1e-6) for found in ours]
