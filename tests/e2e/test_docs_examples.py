"""The examples in the documents, run against a whole stack as a reader would run them.

A document's ```bash and ```python blocks run in order, in one folder in which `.rdev` and `.venv`
lie as in a checkout; variables that one bash block exports live on in the next. A ```json or
```text block that follows at once is what it must print: `…` stands for anything, and JSON may
leave fields out. A block after `<!-- not run: why -->` is left alone. Exit status 0, unless the
comment `<!-- exit: N -->` says otherwise.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from live_stack import running_stack, wait_for
from rdev.config import SOURCE_ROOT

pytestmark = pytest.mark.own_stack

DEADLINE_S = 60
DOCUMENTS = (
    "quickstart.md",
    "api/README.md",
    "api/authentication.md",
    "api/sse-examples.md",
    "webhooks.md",
    "audit.md",
)
AS_WRITTEN = "http://127.0.0.1:8080"

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>not run|exit): (?P<word>.*?) -->\n)?"
    r"^```(?P<language>bash|python)\n(?P<code>.*?)^```\n"
    r"(?:\n?^```(?P<shape>json|text)\n(?P<output>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Example:
    line: int
    language: str
    code: str
    status: int
    shape: str | None
    output: str


def examples(text: str) -> Iterator[Example]:
    for found in _FENCE.finditer(text):
        if found["mark"] == "not run":
            continue
        yield Example(
            line=text.count("\n", 0, found.start()) + 1,
            language=found["language"],
            code=found["code"],
            status=int(found["word"]) if found["mark"] == "exit" else 0,
            shape=found["shape"],
            output=found["output"] or "",
        )


class Reader:
    """Somebody who follows the documents in a checkout where `make run` runs."""

    def __init__(self, place: Path, url: str) -> None:
        self.place = place
        self.url = url
        self._state = place / "exported"
        self._state.write_text("")

    def follow(self, example: Example) -> subprocess.CompletedProcess[str]:
        code = example.code.replace(AS_WRITTEN, self.url)
        inner = code if example.language == "bash" else f'"{sys.executable}" code.py'
        (self.place / "code.py").write_text(code)
        script = f". ./exported\ntrap 'export -p > exported' EXIT\nset -eu\n{inner}"
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.place,
            env={"PATH": os.environ["PATH"], "HOME": str(self.place)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """On a stack of its own: the documents show what is there right after the first start."""
    place = tmp_path_factory.mktemp("checkout")
    with running_stack(default_rate_limit=100_000) as stack:
        # Its first sweep comes some seconds after its start; until then it is not quite ready.
        wait_for(lambda: stack.admin.get("/ready").data["status"] == "ok")
        (place / ".rdev").symlink_to(stack.home)
        (place / ".venv").symlink_to(sys.prefix)
        yield Reader(place, stack.base_url)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are curl's")
@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_examples_do_what_the_document_says(document: str, reader: Reader) -> None:
    for example in examples((SOURCE_ROOT / "docs" / document).read_text()):
        done = reader.follow(example)
        where = f"docs/{document}:{example.line}"
        told = f"{where}\n{example.code}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
        assert done.returncode == example.status, told
        if example.shape == "json":
            difference = unlike(json.loads(example.output), json.loads(done.stdout))
            assert difference is None, f"{difference}\n{told}"
        elif example.shape == "text":
            printed = done.stdout.replace(reader.url, AS_WRITTEN)
            assert re.fullmatch(pattern(example.output), printed, re.DOTALL), told


def pattern(shown: str) -> str:
    return ".*".join(re.escape(part) for part in shown.split("…"))


def unlike(shown: object, real: object, at: str = "") -> str | None:
    """Where the document and the answer differ; None where they agree."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if missing := shown.keys() - real.keys():
            return f"{at}.{min(missing)} is not in the answer"
        return _first(unlike(value, real[name], f"{at}.{name}") for name, value in shown.items())
    if isinstance(shown, list) and isinstance(real, list):
        if len(shown) != len(real):
            return f"{at} has {len(real)} items, not {len(shown)}"
        return _first(unlike(shown[i], real[i], f"{at}[{i}]") for i in range(len(shown)))
    if isinstance(shown, str) and isinstance(real, str):
        same = re.fullmatch(pattern(shown), real, re.DOTALL) is not None
    else:
        same = shown == real and type(shown) is type(real)
    return None if same else f"{at} is {real!r}, not {shown!r}"


def _first(differences: Iterator[str | None]) -> str | None:
    return next(filter(None, differences), None)


def test_the_comparison_bites() -> None:
    assert unlike({"a": "cmd-…", "b": [1]}, {"a": "cmd-1", "b": [1], "c": 0}) is None
    assert unlike({"a": 1}, {"a": 2}) == ".a is 2, not 1"
    assert unlike({"a": 1}, {}) == ".a is not in the answer"
    assert unlike(["x"], []) == " has 0 items, not 1"
    assert unlike({"a": "ab…"}, {"a": "xab"}) == ".a is 'xab', not 'ab…'"
    assert re.fullmatch(pattern("1\n…\n3\n"), "1\n2\n3\n", re.DOTALL)
    assert not re.fullmatch(pattern("1\n"), "1\n2\n", re.DOTALL)


def test_blocks_are_found_with_their_marks_and_output() -> None:
    text = (
        "<!-- not run: costs money -->\n```bash\nclaude\n```\n"
        "<!-- exit: 3 -->\n```bash\nexit 3\n```\n\n```text\n…\n```\n```python\npass\n```\n"
    )
    first, second = examples(text)
    assert (first.status, first.shape, first.output) == (3, "text", "…\n")
    assert (second.language, second.shape) == ("python", None)
