"""No search for garbage while a process starts. What is loaded stays loaded, and looking through
all of it again and again is a tenth of a function's start.

Nor is any of it looked through later: it is set aside (`gc.freeze`), which also leaves more of the
memory shared between gunicorn's master and its worker."""

import gc


def begin() -> None:
    gc.disable()


def end() -> None:
    """What is there by now stays; from here on there is garbage."""
    gc.freeze()
    gc.enable()
