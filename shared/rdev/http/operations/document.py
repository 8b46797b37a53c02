"""The OpenAPI 3.1 document, made from the operations and the models that validate."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from rdev import __version__
from rdev.errors import RdevError
from rdev.http.envelope import STATUS
from rdev.http.operations import OPERATIONS, records
from rdev.http.operations import headers as known
from rdev.http.operations.operation import JSON, Answer, Envelope, Header, Operation

JsonObject = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ENVELOPE_MODELS = (records.Meta, records.ListMeta, records.ErrorBody)
_ALWAYS = ("BAD_REQUEST", "PAYLOAD_TOO_LARGE", "INTERNAL_ERROR")
_WITH_KEY = ("UNAUTHORIZED", "FORBIDDEN", "TOO_MANY_REQUESTS", "SERVICE_UNAVAILABLE")
_DESCRIPTION = (
    "Run commands in projects, and stream what they write. Every answer carries `X-Request-ID`, "
    "every one to a known key the limit it has (`X-RateLimit-*`, `RateLimit`). A GET answers HEAD "
    "too. A method that a path does not take gets 405 with `Allow`."
)
_PATH_IDS = {
    "project_id": "A project's name.",
    "command_id": "`cmd-…`",
    "key_id": "`key-…`",
    "endpoint_id": "`wh-…`",
    "delivery_id": "`del-…`",
}


def as_json() -> bytes:
    """The document of this version."""
    return json.dumps(build(OPERATIONS)).encode()


def build(operations: Iterable[Operation]) -> JsonObject:
    operations = tuple(operations)
    paths: JsonObject = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rdev",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": noun} for noun in dict.fromkeys(o.noun for o in operations)],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "responses": {code: _error_response(code) for code in STATUS},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
            },
        },
    }


def _operation(operation: Operation) -> JsonObject:
    scope = operation.scope or "any key"
    needs = f"Needs {scope}." if operation.needs_key else "Needs no key."
    made: JsonObject = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": f"{operation.description} {needs}".strip(),
        "tags": [operation.noun],
        "parameters": _parameters(operation),
        "responses": _responses(operation),
        "security": _security(operation),
    }
    if operation.body is not None:
        made["requestBody"] = {
            "required": operation.body_required,
            "content": {
                JSON: {"schema": _ref(operation.body)},
                **{kind: {"schema": dict(schema)} for kind, schema in operation.raw_body.items()},
            },
        }
    return made


def _security(operation: Operation) -> list[JsonObject]:
    if not operation.needs_key:
        return []
    schemes = ["key", "bearer", *(["ticket"] if operation.takes_ticket else [])]
    return [{scheme: []} for scheme in schemes]


def _parameters(operation: Operation) -> list[JsonObject]:
    in_path = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": about,
            "schema": {"type": "string", "minLength": 1, "maxLength": 100},
        }
        for name, about in _PATH_IDS.items()
        if f"{{{name}}}" in operation.path
    ]
    in_headers = [
        {"name": h.name, "in": "header", "description": h.description, "schema": dict(h.schema)}
        for h in (*operation.headers, known.ASKED_REQUEST_ID)
    ]
    return [*in_path, *_query(operation), *in_headers]


def _query(operation: Operation) -> list[JsonObject]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema(ref_template=_REF)
    return [
        {"name": name, "in": "query", "schema": _inline(_given(shape), schema)}
        for name, shape in schema["properties"].items()
        if not (operation.takes_ticket and name == "ticket")
    ]


def _given(shape: JsonObject) -> JsonObject:
    """A parameter's schema without null: a query has no such thing, only absence."""
    kept = {k: v for k, v in shape.items() if k not in ("anyOf", "title")}
    for option in shape.get("anyOf", ()):
        if option.get("type") != "null":
            kept |= option
    return {k: v for k, v in kept.items() if not (k == "default" and v is None)}


def _inline(shape: JsonObject, schema: JsonObject) -> JsonObject:
    """A reference to what is small (an enumeration) replaced by it."""
    name = shape.pop("$ref", "").rpartition("/")[2]
    return {**schema["$defs"][name], **shape} if name else shape


def _responses(operation: Operation) -> JsonObject:
    codes = [*_ALWAYS, *(_WITH_KEY if operation.needs_key else ()), *operation.errors]
    codes += ["NOT_FOUND"] if "{" in operation.path else []
    codes += ["UNSUPPORTED_MEDIA_TYPE"] if operation.body else []
    made = {
        str(STATUS[code]): {"$ref": f"#/components/responses/{code}"}
        for code in sorted(set(codes), key=STATUS.__getitem__)
    }
    of_key = known.RATE_LIMIT if operation.needs_key else ()
    for status, answer in operation.answers.items():
        made[str(status)] = _response(answer, (*of_key, *answer.headers))
    return dict(sorted(made.items()))


def _response(answer: Answer, headers: Iterable[Header]) -> JsonObject:
    made: JsonObject = {
        "description": answer.description,
        "headers": {
            h.name: {"description": h.description, "schema": dict(h.schema), "required": h.always}
            for h in (known.REQUEST_ID, *headers)
        },
    }
    content = {kind: {"schema": dict(shape)} for kind, shape in answer.raw.items()}
    if answer.record is not None:
        content[JSON] = {"schema": _enveloped(answer.record, answer.envelope)}
    if content:
        made["content"] = content
    return made


def _error_response(code: str) -> JsonObject:
    more = {"UNAUTHORIZED": [known.CHALLENGE], "SERVICE_UNAVAILABLE": [known.RETRY_AFTER]}
    more["TOO_MANY_REQUESTS"] = more["SERVICE_UNAVAILABLE"]
    described = {cls.code: cls.__doc__ or "" for cls in reversed(_errors(RdevError))}
    about = described.get(code, code).strip()
    answer = Answer(about, records.ErrorBody, Envelope.ERROR)
    made = _response(answer, more.get(code, ()))
    made["content"][JSON]["schema"]["properties"]["error"] = {
        "allOf": [_ref(records.ErrorBody), {"properties": {"code": {"const": code}}}]
    }
    return made


def _errors(cls: type[RdevError]) -> list[type[RdevError]]:
    return [cls, *(found for sub in cls.__subclasses__() for found in _errors(sub))]


def _enveloped(record: type[BaseModel], envelope: Envelope) -> JsonObject:
    """The envelope closed around a record: nothing else is on that level."""
    content = _ref(record)
    if envelope is Envelope.LIST:
        content = {"type": "array", "items": content}
    name = "error" if envelope is Envelope.ERROR else "data"
    meta = _ref(records.ListMeta if envelope is Envelope.LIST else records.Meta)
    return {
        "type": "object",
        "properties": {name: content, "meta": meta},
        "required": [name, "meta"],
        "additionalProperties": False,
    }


def _ref(model: type[BaseModel]) -> JsonObject:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas(operations: Iterable[Operation]) -> JsonObject:
    models: dict[type[BaseModel], None] = dict.fromkeys(_ENVELOPE_MODELS)
    for operation in operations:
        if operation.body is not None:
            models[operation.body] = None
        for answer in operation.answers.values():
            if answer.record is not None:
                models[answer.record] = None
    _, schema = models_json_schema([(m, "validation") for m in models], ref_template=_REF)
    found: JsonObject = schema["$defs"]
    _close_maps(found)
    return found


def _close_maps(node: Any) -> None:
    """A map whose names have a pattern takes no others."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node["additionalProperties"] = False
        for inner in node.values():
            _close_maps(inner)
    elif isinstance(node, list):
        for inner in node:
            _close_maps(inner)
