import json

import numpy as np

from benchmarks.run_token_index import main


def test_recall_latency_and_size_are_reported_for_each_number_of_bits(tmp_path, capsys):
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((200, 16)).astype(np.float32)
    arrays = {}
    for name, texts in (("documents", 300), ("queries", 6)):
        vectors = directions[rng.integers(0, 200, texts * 8)] + 0.1 * rng.standard_normal((texts * 8, 16))
        arrays[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
        arrays[f"{name}_offsets"] = np.arange(0, texts * 8 + 1, 8)
    np.savez(tmp_path / "vectors.npz", **arrays)

    settings = ["--bits", "16,4,0", "--candidates", "40,200", "--centroids", "64"]
    assert main(["--output", str(tmp_path), *settings]) == 0

    rows = json.loads((tmp_path / "token-index.json").read_text())["rows"]
    measured = [(row["bits"], row["candidates"]) for row in rows]
    assert measured == [(16, 40), (16, 200), (4, 40), (4, 200), (0, 40), (0, 200)]
    assert rows[1]["recall@10"] >= 0.95 and rows[1]["recall@10"] >= rows[0]["recall@10"]
    assert rows[5]["recall@10"] == rows[1]["recall@10"]
    assert rows[4]["bytes_a_vector"] < rows[2]["bytes_a_vector"] < rows[0]["bytes_a_vector"]
    assert "300 documents of 8 vectors" in capsys.readouterr().out
