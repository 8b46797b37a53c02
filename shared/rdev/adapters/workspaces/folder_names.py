"""What lies beside the commands' own directories, and beside the projects' folders."""

TOKENS = ".tokens"
PREPARING = ".new."
REMOVING = ".old."
LOCK = ".lock."
"""Held by whoever makes or removes the folders of the project whose name follows."""
