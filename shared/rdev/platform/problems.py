"""What keeps the platform from coming up."""


class CannotStart(Exception):  # noqa: N818 - named as the sentence that users read
    """The platform cannot come up. The message is the one line that says what to do."""
