"""From a request to a model, or to an InvalidRequest that names the field."""

import json
from collections.abc import Iterable
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ConfigDict, ValidationError

from rdev.errors import Detail, InvalidRequest, UnsupportedMediaType

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """No unknown fields, no guessing of types."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,  # a function needs few of them, and its first request one
    )


def body(model: type[Model]) -> Model:
    """The JSON body as `model`."""
    if request.mimetype not in ("application/json", ""):
        raise UnsupportedMediaType
    raw = request.get_data()
    try:
        # Bounded in depth (200) and by the models in everything else.
        parsed = model.model_validate_json(raw or b"{}")
    except ValidationError as exc:
        raise _invalid(exc.errors(include_url=False, include_context=False)) from None
    _refuse_doubles(raw)
    return parsed


def _refuse_doubles(raw: bytes) -> None:
    """A name given twice in one object: whoever read the body before us may have gone by the other
    one. Asked of bodies that are valid otherwise, which are small and flat."""
    if raw:
        json.loads(raw, object_pairs_hook=_without_doubles)


def _without_doubles(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise InvalidRequest.field(name, "given more than once")
        seen.add(name)


def query(model: type[Model]) -> Model:
    """The query parameters as `model`; one given twice is refused."""
    values: dict[str, Any] = {}
    for name, given in request.args.lists():
        if len(given) > 1:
            raise InvalidRequest.field(name, "given more than once")
        values[name] = given[0]
    try:
        return model.model_validate_strings(values)
    except ValidationError as exc:
        raise _invalid(exc.errors(include_url=False, include_context=False)) from None


def _invalid(problems: Iterable[Any]) -> InvalidRequest:
    details = tuple(
        Detail(".".join(str(part) for part in problem["loc"]) or "body", _say(problem))
        for problem in problems
    )
    names = ", ".join(dict.fromkeys(detail.field for detail in details))
    first = details[0]
    message = f"{first.field}: {first.message}" if len(details) == 1 else f"Not valid: {names}"
    return InvalidRequest(message, details=details)


def _say(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return "unknown field"
    return str(problem["msg"]).removeprefix("Value error, ")
