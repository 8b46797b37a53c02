"""rdev: run a command in any of your projects, from anywhere, and lose nothing."""

__version__ = "0.1.0"
