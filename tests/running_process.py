"""A resident runner as a process of its own, for tests that kill it. Its settings are those of
rdev, in the environment; fail points too."""

from rdev import wiring

if __name__ == "__main__":
    wiring.resident_runner().run()
