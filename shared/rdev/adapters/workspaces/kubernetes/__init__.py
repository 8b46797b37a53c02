"""Workspaces as pods of a Kubernetes cluster. `kubernetes`, the client, is imported where it is
used: that costs a third of a second."""
