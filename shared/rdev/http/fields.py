"""The kinds of value that bodies and queries are made of: each a rule, and what the OpenAPI
document says of it."""

import posixpath
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from rdev.domain import environment, git_arguments
from rdev.domain.addresses import parse_networks
from rdev.domain.keys import SCOPES
from rdev.domain.projects import PROJECT_ID

MAX_LIST = 100
_EVENT_ID = r"^(0|[0-9]{1,18}-[0-9]{1,18})$"
_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""What steers a terminal (both ranges of ISO 6429), ends a line, or turns text around."""
_CONTROLS = re.compile(f"[{_CONTROL}]")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _no_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("contains a NUL character")
    return value


def _label(value: str) -> str:
    if not PROJECT_ID.fullmatch(value):
        raise ValueError(
            "must be a DNS label: lower-case letters, digits and inner hyphens, 1 to 63 of them"
        )
    return value


def _inside(value: str) -> str:
    path = posixpath.normpath(_no_nul(value))
    if value.startswith("/") or path == ".." or path.startswith("../"):
        raise ValueError("must lie inside the workspace: a relative path without a way out")
    return path


def _env(values: dict[str, str]) -> dict[str, str]:
    wrong = environment.problem(values)
    if wrong is not None:
        raise ValueError(wrong)
    return values


def _scope(value: str) -> str:
    if value not in SCOPES:
        raise ValueError(f"must be one of {', '.join(SCOPES)}")
    return value


def _cidr(value: str) -> str:
    parse_networks([value])
    return value


def _git_args(args: list[str]) -> list[str]:
    wrong = git_arguments.problem(args)
    if wrong is not None:
        raise ValueError(wrong)
    return args


def _printable(value: str) -> str:
    if _CONTROLS.search(value):
        raise ValueError("contains a control character")
    return value


def _moment(value: Any) -> Any:
    """RFC 3339 and nothing else: of a bare number nobody could tell seconds from milliseconds."""
    if not isinstance(value, str):
        return value
    try:
        if _RFC_3339.fullmatch(value):
            # In UTC at once: a zone may lead out of the years that there are.
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be a time with its zone, such as 2026-11-23T00:00:00Z")


def _event_id(value: str) -> str:
    from rdev.domain.events import EntryId

    EntryId.parse(value)
    return value


def _integer(value: Any) -> Any:
    """5.0 is an integer to JSON Schema, and to languages with one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True)
class Shown:
    """What the document says about a rule that is a function here."""

    pattern: str | None = None
    enum: tuple[str, ...] | None = None

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        said = {"pattern": self.pattern, "enum": self.enum and list(self.enum)}
        # What is said of the type further out (a narrower pattern) stays.
        return {**{k: v for k, v in said.items() if v is not None}, **handler(core_schema)}


_NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, AfterValidator(_no_nul), Shown(_NO_NUL)]
_LABEL = rf"^[^{_CONTROL}]{{1,63}}$"
Line = Annotated[str, AfterValidator(_printable), Shown(rf"^[^{_CONTROL}]*$")]
"""Text without control characters: what is shown in lists and logs."""
_EnvName = Annotated[str, Shown(r"^[A-Za-z_][A-Za-z0-9_]*$")]
_EnvValue = Annotated[str, Shown(_NO_NUL)]
Env = Annotated[dict[_EnvName, _EnvValue], Field(max_length=MAX_LIST), AfterValidator(_env)]
Cwd = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_inside)]
ProjectId = Annotated[str, AfterValidator(_label), Shown(f"^{PROJECT_ID.pattern}$")]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""A time with its zone."""
WHOLE = BeforeValidator(_integer)
"""Behind a number's bounds, which the document else would not show."""
Scope = Annotated[str, AfterValidator(_scope), Shown(enum=SCOPES)]
Cidr = Annotated[Text, Field(min_length=1, max_length=64), AfterValidator(_cidr)]
LabelName = Annotated[
    str, Field(min_length=1, max_length=63), AfterValidator(_printable), Shown(_LABEL)
]
EventId = Annotated[str, Field(max_length=50), AfterValidator(_event_id), Shown(_EVENT_ID)]
GIT_ARGUMENTS = AfterValidator(_git_args)
