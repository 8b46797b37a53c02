"""The types of the CloudEvents that wake functions. What they carry does not matter: the rows are
the truth, and a lost one costs only the time to the next sweep."""

COMMAND_QUEUED = "dev.rdev.command.queued.v1"
DELIVERY_DUE = "dev.rdev.delivery.due.v1"
SWEEP = "dev.rdev.sweep.v1"

WAKES = {COMMAND_QUEUED: "runner", DELIVERY_DUE: "webhooks"}
"""Which function each is for. A sweep is for both."""
