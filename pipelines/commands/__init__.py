"""The subcommands of ``retrieve``, one per file.

Each module has ``add_parser(commands)``, which adds its options, and ``run(options)``, which returns the exit status.
"""

from pipelines.commands import (
    backup,
    compact,
    compare,
    delete,
    deploy,
    evaluate,
    index,
    info,
    key,
    mcp,
    mine,
    pydocs,
    reindex,
    restore,
    search,
    serve,
    train,
    tune,
    verify,
)

GROUPS = {
    "build and maintain a collection": (index, delete, reindex, compact, verify, info, backup, restore),
    "move to Qdrant": (deploy,),
    "search": (search, tune),
    "serve": (serve, mcp, key),
    "evaluate": (evaluate, compare),
    "train": (mine, train),
    "get a test collection": (pydocs,),
}
"""The subcommands by purpose, in the order in which ``--help`` lists them."""
