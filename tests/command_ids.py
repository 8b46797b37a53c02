"""Ids of commands that are started without the API. Each process of the tests has its own: what
belongs to a command is looked for, by its id, among all processes of the machine, and ended."""

import os

MINE = f"cmd-{os.getpid()}-"
ONE, TWO = f"{MINE}1", f"{MINE}2"
