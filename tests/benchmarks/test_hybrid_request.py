import pytest

from benchmarks.speed.hybrid_request import searching


@pytest.mark.slow
def test_a_hybrid_search_in_one_request_finds_what_a_request_a_leg_finds():
    rows = searching(300, 5, 100)
    assert [row["setting"].rpartition(", ")[0] for row in rows] == [
        *["300 documents, 3 legs, edge"] * 2,
        *["100 documents, 3 legs, local"] * 2,
    ]
    for row in rows:
        assert row["task"] == "hybrid" and row["agreement"] > 0.95
        assert "1 and 3 requests a search" in row["detail"]
