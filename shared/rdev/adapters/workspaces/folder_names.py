"""What lies in a project's folder for command files beside the commands' own directories."""

TOKENS = ".tokens"
PREPARING = ".new."
REMOVING = ".old."
