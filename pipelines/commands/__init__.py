"""The subcommands of ``retrieve``, one a file, in the groups and the order in which ``--help`` lists them.

Each has ``add_parser(commands)``, which describes it, and ``run(options)``, which does it and gives the exit status.
"""

from pipelines.commands import (
    compact,
    compare,
    delete,
    evaluate,
    index,
    info,
    mine,
    pydocs,
    reindex,
    search,
    train,
    tune,
    verify,
)

GROUPS = {
    "make and keep a collection": (index, delete, reindex, compact, verify, info),
    "search it": (search, tune),
    "measure": (evaluate, compare),
    "mine and train": (mine, train),
    "try it without data of your own": (pydocs,),
}
"""By what they are for."""
