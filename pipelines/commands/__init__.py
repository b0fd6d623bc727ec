"""The subcommands of ``retrieve``, one a file, in the order in which ``--help`` lists them.

Each has ``add_parser(commands)``, which describes it, and ``run(options)``, which does it and gives the exit status.
"""

from pipelines.commands import index, info, mine, pydocs, search

COMMANDS = (index, search, info, mine, pydocs)
