"""The harness's rules: a query's own document, and means over datasets."""

import pytest

from benching import bench, system
from indexing.runs import read_trec_run
from pipelines.evaluation.datasets import CQADUPSTACK_PARTS
from pipelines.evaluation.harness import drops_self_hits, means


def test_self_hits_are_left_out_of_every_leg_where_that_is_the_rule(folder, legs, models, tmp_path):
    both = system("sum", "bm25", "dense")
    keep, said_keep = bench(folder, legs, models, tmp_path / "keep", system("words", "bm25"), both)
    drop, said_drop = bench(folder, legs, models, tmp_path / "drop", system("words", "bm25"), both, self_hits="drop")

    assert drop["datasets"]["kitchen"]["self_hits_dropped"]
    assert any("are removed" in line for line in said_drop)
    assert any("1 id of both a query and a document" in line for line in said_keep)
    for name in ("words", "sum"):
        kept, dropped = (
            read_trec_run(tmp_path / rule / "runs" / "kitchen" / f"{name}.trec") for rule in ("keep", "drop")
        )
        assert "udp" in kept["udp"] and "udp" in kept["q2"]
        assert "udp" not in dropped["udp"] and "udp" in dropped["q2"]
    assert (
        keep["datasets"]["kitchen"]["systems"]["words"]["measures"]["R@5"]
        <= (drop["datasets"]["kitchen"]["systems"]["words"]["measures"]["R@5"])
    )


@pytest.mark.parametrize(
    ("dataset", "rule", "drops"),
    [
        ("arguana", "auto", True),
        ("quora", "auto", True),
        ("cqadupstack-tex", "auto", True),
        ("NanoArguAna", "auto", True),
        ("scifact", "auto", False),
        ("fiqa", "auto", False),
        ("fiqa", "drop", True),
        ("arguana", "keep", False),
    ],
)
def test_the_self_hit_rule_is_automatic_only_where_queries_are_documents(dataset, rule, drops):
    assert drops_self_hits(dataset, rule) is drops


def test_cqadupstacks_forums_count_as_one_set():
    def entry(value):
        return {"systems": {"a": {"measures": {"nDCG@10": value}}}}

    entries = {name: entry(0.12 if name.endswith("tex") else 0.0) for name in CQADUPSTACK_PARTS}

    mean, groups = means({**entries, "scifact": entry(0.5)})

    assert groups["cqadupstack"]["a"]["measures"]["nDCG@10"] == pytest.approx(0.01)
    assert mean["a"]["measures"]["nDCG@10"] == pytest.approx(0.255)


def test_only_systems_that_ran_everywhere_have_a_mean():
    first = {"systems": {"a": {"measures": {"R@5": 0.0}}, "b": {"measures": {"R@5": 1.0}}}}
    second = {"systems": {"a": {"measures": {"R@5": 1.0}}}}

    assert means({"x": first, "y": second})[0] == {"a": {"measures": {"R@5": 0.5}}}
