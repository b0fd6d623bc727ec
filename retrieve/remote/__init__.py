"""Models behind an HTTP endpoint: encoders and a client with batches, retries and time limits.

Importing this package loads no HTTP client; creating an encoder does, and calls its endpoint.
"""

from retrieve.remote.encoders import RemoteEncoder, RemoteSparseEncoder
from retrieve.remote.endpoint import is_url, with_model

__all__ = ["RemoteEncoder", "RemoteSparseEncoder", "is_url", "with_model"]
