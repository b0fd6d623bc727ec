"""Check that the class that loads a checkpoint is the one for its kind of model."""

from indexing.errors import ModelError
from retrieve.encoders.checkpoint import Checkpoint
from retrieve.encoders.colbert_layouts import is_late_interaction

# The class for each model_type in config_sentence_transformers.json.
_READERS = {
    "SentenceTransformer": "DenseEncoder",
    "SparseEncoder": "SparseEncoder",
    "CrossEncoder": "CrossEncoder",
    "MultiVectorEncoder": "MultiVectorEncoder",
    "ColBERT": "MultiVectorEncoder",
}


def check_reader(checkpoint: Checkpoint, reader: str, model_type: str, *, scores_pairs: bool) -> None:
    """Raise ModelError if another class than `reader`, which saves as `model_type`, is the one for a checkpoint."""
    stored = checkpoint.settings.get("model_type", "SentenceTransformer")
    if checkpoint.steps and stored not in (None, model_type):
        other = f": {_READERS[stored]} reads it" if stored in _READERS else ""
        raise ModelError(f"{checkpoint.folder} was saved as a {stored}, which {reader} does not read{other}")
    if is_late_interaction(checkpoint):
        raise ModelError(f"{checkpoint.folder} is a late-interaction model: MultiVectorEncoder reads that")
    architectures = checkpoint.config.get("architectures") or [""]
    if architectures[0].endswith("ForSequenceClassification") and not scores_pairs:
        raise ModelError(f"{checkpoint.folder} holds a {architectures[0]}: CrossEncoder reads that")
