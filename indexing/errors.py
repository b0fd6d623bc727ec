"""Errors that this project raises on purpose: each message names the problem, its place and the remedy."""


class RetrieveError(Exception):
    """Base class of all errors raised on purpose; the command line prints the message without a traceback."""


class InputError(RetrieveError, ValueError):
    """Unusable data or argument; the message names the file, line, field or id at fault."""


class StorageError(RetrieveError):
    """Missing, damaged or locked file or folder, or one of another kind than expected."""


class LaterStateError(StorageError):
    """State of a reader that cannot be completed, since a writer has moved the collection on: `refresh` it."""


class ModelError(RetrieveError):
    """Checkpoint that cannot be found, read or used for the requested task."""


class EndpointError(ModelError):
    """Server of a model that cannot be reached, fails or refuses: no text is at fault."""


class SetupError(RetrieveError):
    """Missing Java runtime or package; the message names what to install."""
