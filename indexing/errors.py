"""The errors this project raises on purpose: each message says what, where and what to do."""


class RetrieveError(Exception):
    """Root of all errors raised on purpose; the command line prints its message without a traceback."""


class InputError(RetrieveError, ValueError):
    """Data or an argument that cannot be used: names the file, line, field or id at fault."""


class StorageError(RetrieveError):
    """Something on disk that is missing, damaged, locked or of another kind than asked for."""


class ModelError(RetrieveError):
    """A checkpoint that cannot be found, read or used for what was asked."""


class SetupError(RetrieveError):
    """The machine lacks something (a Java runtime, a package): says how to mend it."""
