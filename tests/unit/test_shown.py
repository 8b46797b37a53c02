"""What the command shows of what others wrote."""

import json

import pytest

from rdev.cli import show


@pytest.mark.parametrize(
    "text", ["\x1b[2K", "\x9b2J", "\u202eolleh", "a\u2028b", "\x7f", "é ✓ 日本"]
)
def test_json_on_a_terminal_steers_nothing_and_says_the_same(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    show.as_json({"name": text})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"name": text}
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert ("é" in shown) == ("é" in text)
