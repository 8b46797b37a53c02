"""The database's clock, which may be set back."""

AHEAD = "clock_timestamp() + interval '1 minute'"
"""Further ahead than anything is planned in these tables: such a time was written before the
database's clock was set back."""
