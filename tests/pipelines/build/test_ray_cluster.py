"""Encoding on a Ray cluster of two nodes on this machine, of which one is lost on the way."""

import json
import threading
import time

import numpy as np
import pytest

from checkpoints import write_bert
from indexing.corpora.corpus import read_corpus
from pipelines.build.ray_engine import Cluster, encode_with_ray
from retrieve.encoders import DenseEncoder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'retrieve-rerank[ray]'")


@pytest.fixture
def nodes():
    """A head with one processor, and a second node with one."""
    from ray.cluster_utils import Cluster as Nodes

    cluster = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


def test_the_loss_of_a_node_costs_nothing_but_time(tmp_path, nodes):
    cluster, second = nodes
    texts = [f"the cell of light {number} water wave" for number in range(1200)]
    rows = (json.dumps({"_id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(texts))
    (tmp_path / "corpus.jsonl").write_text("".join(rows))
    encoder = DenseEncoder(write_bert(tmp_path / "model"), dtype="float32")
    encoded, lost = tmp_path / "encoded", []

    def lose_a_node() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            files = len(list(encoded.rglob("*.npz")))
            if files > 2:
                cluster.remove_node(second, allow_graceful=False)
                lost.append(files)
                return
            time.sleep(0.005)

    loser = threading.Thread(target=lose_a_node)
    loser.start()
    done = encode_with_ray(
        read_corpus(tmp_path / "corpus.jsonl"),
        {"dense": encoder},
        encoded,
        cluster=Cluster(workers=2),
        range_bytes=1024,
        show_progress=False,
    )
    loser.join()

    [files_then] = lost
    assert files_then < done.ranges and (done.documents, done.malformed) == (1200, 0)
    assert len(list(encoded.rglob("*.npz"))) == done.ranges
    sample = texts[::100]
    np.testing.assert_allclose(
        done.encoders["dense"].encode_document(sample), encoder.encode_document(sample), atol=1e-5
    )
