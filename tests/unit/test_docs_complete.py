"""The documents name all that there is, nothing else, and lead nowhere wrong."""

import importlib
import json
import pkgutil
import re
from pathlib import Path

import functions_framework
import pytest
from pydantic import SecretStr

import rdev.adapters.workspaces
from rdev.config import SOURCE_ROOT, Settings
from rdev.domain.commands import REFUSALS
from rdev.errors import RdevError, WorkspaceError
from rdev.http.envelope import STATUS
from rdev.http.routes import FUNCTIONS, ROUTES

DOCS = SOURCE_ROOT / "docs"
EVERY_DOCUMENT = sorted(
    [*DOCS.rglob("*.md"), *(SOURCE_ROOT / f"{n}.md" for n in ("README", "CONTRIBUTING"))]
)


def text_of(path: str) -> str:
    return (DOCS / path).read_text()


def chapter(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def errors_below(cls: type[RdevError]) -> set[type[RdevError]]:
    return {cls}.union(*(errors_below(sub) for sub in cls.__subclasses__()))


def test_every_code_has_a_heading_and_every_heading_a_code():
    headings = re.findall(r"^### `(\w+)`: (\d+)$", text_of("api/errors.md"), re.MULTILINE)
    assert {code: int(status) for code, status in headings} == STATUS
    assert len(headings) == len(STATUS)


def test_every_error_has_a_status():
    assert {cls.code for cls in errors_below(RdevError)} <= set(STATUS)
    assert WorkspaceError in errors_below(RdevError)


def reasons_in_the_code() -> set[str]:
    """The words that end up as `reason`: written out where a command ends or is refused."""
    found: set[str] = set()
    sources = [*(SOURCE_ROOT / "shared/rdev/services").glob("*.py")]
    sources += (SOURCE_ROOT / "shared/rdev/adapters").rglob("*.py")
    for source in sources:
        code = source.read_text()
        found |= set(re.findall(r"""reason\s*=\s*['"](\w+)['"]""", code))
        found |= set(re.findall(r"""Stopping\(Status\.\w+, ['"](\w+)['"]""", code))
        for name in re.findall(r"Stopping\(Status\.\w+, ([A-Z_]+)\)", code):
            found |= set(re.findall(rf"""^{name} = ['"](\w+)['"]""", code, re.MULTILINE))
        found |= set(re.findall(r"""reason: str \| None = ['"](\w+)['"]""", code))
        found |= set(re.findall(r"""CommandRefused\(\s*['"](\w+)['"]""", code))
        found |= set(re.findall(r"""Unfit\(\s*['"](\w+)['"]""", code))
        found |= set(re.findall(r"""else ['"](exit_code)['"]""", code))
    script = Path(rdev.adapters.workspaces.__path__[0]) / "supervisor.sh"
    return found | set(re.findall(r"\brefuse ([a-z_]+)", script.read_text()))


def test_every_refusal_of_the_supervisor_is_known():
    script = Path(rdev.adapters.workspaces.__path__[0]) / "supervisor.sh"
    said = set(re.findall(r"\brefuse ([a-z_]+)", script.read_text()))
    assert said | {"infrastructure"} == REFUSALS


def test_every_reason_a_record_can_carry_is_explained():
    explained = set(
        re.findall(r"^\| `(\w+)` \|", chapter(text_of("api/errors.md"), "Reasons"), re.MULTILINE)
    )
    assert reasons_in_the_code() == explained


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_listed_with_its_default(name: str):
    row = re.search(rf"^\| `RDEV_{name.upper()}` \| (.*?) \|", text_of("configuration.md"), re.M)
    assert row, f"docs/configuration.md lacks RDEV_{name.upper()}"
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    shown = "none" if default in (None, "") else f"`{default}`"
    assert row[1] == shown


def test_no_setting_is_listed_that_is_not_there():
    listed = re.findall(
        r"^\| `RDEV_(\w+)` \|", chapter(text_of("configuration.md"), "Settings"), re.M
    )
    assert set(listed) == {name.upper() for name in Settings.model_fields}


def endpoints() -> set[str]:
    """`GET /projects/{id}` and so on, as the functions' own rules have them."""
    found = set()
    for name in FUNCTIONS:
        source = str(SOURCE_ROOT / f"functions/{name}/main.py")
        app = functions_framework.create_app(name, source)
        for rule in app.url_map.iter_rules():
            # A wake-up is at no public path.
            public = next(r for r in ROUTES if re.fullmatch(r.regex(), rule.rule)).function == name
            if public and "." in rule.endpoint and rule.endpoint != "static":
                path = rule.rule.replace("<project_id>", "{id}").replace("<command_id>", "{cmd}")
                path = path.replace("<key_id>", "{id}").replace("<endpoint_id>", "{id}")
                path = path.replace("<delivery_id>", "{delivery}").rstrip("/") or "/"
                found |= {f"{method} {path}" for method in rule.methods - {"HEAD", "OPTIONS"}}
    return found


def test_every_endpoint_is_documented():
    listed = re.findall(
        r"^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \|",
        chapter(text_of("api/README.md"), "Endpoints"),
        re.M,
    )
    assert {f"{method} {path}" for method, path in listed} == endpoints()


def anchors(path: Path) -> set[str]:
    """As GitHub makes them from headings."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("path", EVERY_DOCUMENT, ids=lambda p: str(p.relative_to(SOURCE_ROOT)))
def test_links_between_documents_lead_somewhere(path: Path):
    prose = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        assert to.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(to), f"{target}: no such heading"


@pytest.mark.parametrize("path", sorted((DOCS / "decisions").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_names_what_enforces_it(path: Path):
    """Every file that it names is there, and there is at least one."""
    enforced = chapter(path.read_text(), "What enforces it")
    named = re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|sh|lua|sql|toml))`", enforced)
    assert named
    for name in named:
        assert (SOURCE_ROOT / name).exists(), f"{name} is not there"


def test_json_in_the_documents_is_json():
    for path in EVERY_DOCUMENT:
        for block in re.findall(r"^```json\n(.*?)^```", path.read_text(), re.S | re.M):
            json.loads(block)


def test_every_module_of_rdev_can_be_imported():
    """A document may name any of them."""
    for module in pkgutil.walk_packages(rdev.__path__, "rdev."):
        if not module.name.startswith(("rdev.platform", "rdev.cli")):
            importlib.import_module(module.name)
