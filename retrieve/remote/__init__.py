"""Models behind an HTTP endpoint: encoders and a client with batches, retries and time limits.

Importing this package loads neither an HTTP client nor SciPy: encoders are imported on first use. Creating one calls
its endpoint.
"""

from typing import TYPE_CHECKING, Any

from retrieve.remote.endpoint import is_url, with_model

if TYPE_CHECKING:
    from retrieve.remote.encoders import RemoteEncoder, RemoteSparseEncoder

__all__ = ["RemoteEncoder", "RemoteSparseEncoder", "is_url", "with_model"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from retrieve.remote import encoders

        return getattr(encoders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
