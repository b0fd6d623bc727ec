"""The subcommands of ``retrieve``, one a file, in the order in which ``--help`` lists them.

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

COMMANDS = (index, search, evaluate, compare, tune, info, delete, reindex, compact, verify, mine, train, pydocs)
