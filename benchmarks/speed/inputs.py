"""Inputs of the speed tasks: texts of a collection, and checkpoints of random weights for use offline."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexing.errors import InputError
from pipelines.evaluation.datasets import load_evaluation_set
from retrieve.encoders.modules.transformer import quiet

SEED = 0
ACTIVE_TERMS = 150
"""Mean number of terms per document, as SPLADE++ has on passages."""


def different_texts(collection: str, count: int) -> list[str]:
    """Return `count` different documents, evenly spread over a collection."""
    corpus = load_evaluation_set(collection, check_corpus=False).corpus
    texts = list(dict.fromkeys(document.contents for document in corpus))
    if len(texts) < count:
        raise InputError(f"{collection} has {len(texts)} different documents, fewer than the {count} asked for")
    return [texts[at * len(texts) // count] for at in range(count)]


def candidate_pairs(collection: str, queries: int, candidates: int) -> list[tuple[str, str]]:
    """Pair each query with `candidates` documents, drawn from a pool of ten times as many."""
    loaded = load_evaluation_set(collection, check_corpus=False).limited(queries)
    pool = list(dict.fromkeys(document.contents for document in loaded.corpus))
    rng = np.random.default_rng(SEED)
    pool = [pool[at] for at in rng.permutation(len(pool))[: 10 * candidates]]
    return [
        (query, pool[at])
        for query in loaded.queries.values()
        for at in rng.permutation(len(pool))[: min(candidates, len(pool))]
    ]


def training_rows(collection: str, split: str, queries: int) -> tuple[list[tuple[str, str]], list[str]]:
    """Return (query, relevant document) rows of up to `queries` queries, and all documents."""
    loaded = load_evaluation_set(collection, split="test" if collection == "pydocs" else split, check_corpus=False)
    loaded = loaded.limited(queries)
    texts = {document.doc_id: document.contents for document in loaded.corpus}
    rows = [
        (loaded.queries[query], texts[doc_id])
        for query, judged in loaded.qrels.items()
        for doc_id, grade in judged.items()
        if grade > 0 and doc_id in texts
    ]
    return rows, list(texts.values())


def write_splade(folder: Path, base: str | Path, texts: Sequence[str]) -> Path:
    """Write a masked language model of BERT-base's size with the vocabulary of `base` and random weights.

    The output bias is set so that `texts` have `ACTIVE_TERMS` terms each on average.
    """
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.model_max_length = 256
    torch.manual_seed(SEED)
    model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer))).eval()
    with torch.inference_mode():
        largest = [
            model(**tokenizer(text, truncation=True, return_tensors="pt")).logits.amax(dim=1) for text in texts[:48]
        ]
        threshold = torch.cat(largest).flatten().topk(ACTIVE_TERMS * len(largest)).values[-1]
        model.get_output_embeddings().bias.fill_(-float(threshold))
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_cross_encoder(folder: Path, base: str | Path, pairs: Sequence[tuple[str, str]]) -> Path:
    """Write a cross-encoder with MiniLM's weights and a random head, scaled to spread its logits over `pairs`.

    An unscaled random head scores all pairs nearly alike, and any two implementations would agree.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.model_max_length = 512
    torch.manual_seed(SEED)
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).eval()
    sample = pairs[:: max(1, len(pairs) // 64)]
    with torch.inference_mode():
        logits = torch.cat(
            [model(**tokenizer(*pair, truncation=True, max_length=512, return_tensors="pt")).logits for pair in sample]
        )
        scale = 3 / logits.std().clamp(min=1e-6)
        model.classifier.bias.copy_((model.classifier.bias - logits.mean()) * scale)
        model.classifier.weight.mul_(scale)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
