"""The subcommands of ``retrieve``, one a file, in the order in which ``--help`` lists them.

Each has ``add_parser(commands)``, which describes it, and ``run(options)``, which does it and gives the exit status.
"""

from pipelines.commands import compare, evaluate, index, info, mine, pydocs, search, tune

COMMANDS = (index, search, tune, evaluate, compare, info, mine, pydocs)
