"""The watch for secrets finds them."""

from secrets_watch import leaks


def test_a_secret_is_found_wherever_it_stands_and_not_repeated() -> None:
    secret = b"rdev_0123456789abcdef"
    places = {"log": b'{"event": "sent rdev_0123456789abcdef"}', "metrics": b"rdev_up 1"}
    found = leaks({secret, b"another-secret"}, places)
    assert len(found) == 1
    assert found[0].startswith("log: ")
    assert secret.decode() not in found[0]
