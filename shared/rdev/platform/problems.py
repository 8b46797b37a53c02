"""What keeps the platform from coming up."""


class CannotStart(Exception):
    """The platform cannot come up. The message is the one line that says what to do."""
