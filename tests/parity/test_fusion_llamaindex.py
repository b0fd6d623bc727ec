"""like="llamaindex" against LlamaIndex's own `QueryFusionRetriever`."""

import pytest

from fusing import random_pairs, run
from indexing.hits import Hits
from retrieve.fusion import Preset

LEFT, RIGHT = random_pairs()


def theirs(method: str, weights: list[float] | None) -> list[dict[str, float]]:
    pytest.importorskip("llama_index.core")
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.llms import MockLLM
    from llama_index.core.retrievers import QueryFusionRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

    class Leg(BaseRetriever):
        def __init__(self, answers: Hits) -> None:
            super().__init__()
            self.answers = answers

        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            ranking = self.answers[int(query_bundle.query_str)]
            return [NodeWithScore(node=TextNode(text=hit.doc_id), score=hit.score) for hit in ranking]

    retriever = QueryFusionRetriever(
        [Leg(LEFT), Leg(RIGHT)],
        llm=MockLLM(),
        mode=method,
        retriever_weights=weights,
        num_queries=1,
        similarity_top_k=1000,
        use_async=False,
    )
    return [
        {found.node.get_content(): found.score for found in retriever.retrieve(str(query))}
        for query in range(len(LEFT))
    ]


@pytest.mark.parametrize(
    ("method", "weights"),
    [
        ("reciprocal_rerank", None),
        ("relative_score", None),
        ("relative_score", [0.2, 0.7]),
        ("dist_based_score", None),
        ("dist_based_score", [0.2, 0.7]),
        ("simple", None),
    ],
)
def test_equal(method, weights):
    ours = run(Preset(like="llamaindex", method=method, options={"weights": weights} if weights else {})([LEFT, RIGHT]))
    assert ours == [pytest.approx(found, abs=1e-9) for found in theirs(method, weights)]
