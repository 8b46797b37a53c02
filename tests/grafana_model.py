"""Grafana's own model of a dashboard, by its Foundation SDK, which is made from its schema: what it
would not understand of a file of ours."""

import enum
import json
from collections.abc import Iterator
from typing import Any, get_type_hints

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery, panelcfg_config
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from pydantic import ConfigDict, TypeAdapter, ValidationError

register_default_plugins()
UNITS = {value for name, value in vars(units).items() if not name.startswith("_")}


def problems(raw: dict[str, Any]) -> list[str]:
    """In words; none: Grafana has all of it as it is written."""
    try:
        model = Dashboard.from_json(raw)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        return [f"cannot be loaded: {exc!r}"]
    again = json.loads(JSONEncoder().encode(model))
    found = [*_not_kept(raw, again, "dashboard"), *_of_another_type(model, "dashboard")]
    for panel in raw.get("panels") or ():
        where = f"panel {panel.get('title')}"
        if panelcfg_config(panel.get("type", "")) is None:
            found.append(f"{where}: there is no panel {panel.get('type')!r}")
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if unit not in UNITS:
            found.append(f"{where}: there is no unit {unit!r}")
    return found


def _not_kept(raw: Any, again: Any, at: str) -> Iterator[str]:
    """What the model dropped, as Grafana would."""
    if isinstance(raw, dict) and isinstance(again, dict):
        for name, value in raw.items():
            if name in again:
                yield from _not_kept(value, again[name], f"{at}.{name}")
            else:
                yield f"{at} has no field {name}"
    elif isinstance(raw, list) and isinstance(again, list) and len(raw) == len(again):
        for number, pair in enumerate(zip(raw, again, strict=True)):
            yield from _not_kept(*pair, f"{at}[{number}]")
    elif raw != again:
        yield f"{at}: {raw!r} became {again!r}"


def _of_another_type(model: Any, at: str) -> Iterator[str]:
    if isinstance(model, UnknownDataquery):
        yield f"{at}: a query of no data source that is known"
    elif isinstance(model, list):
        for number, each in enumerate(model):
            yield from _of_another_type(each, f"{at}[{number}]")
    elif type(model).__module__.startswith("grafana_foundation_sdk") and not isinstance(
        model, enum.Enum
    ):
        hints = get_type_hints(type(model))
        for name, value in vars(model).items():
            try:
                if _adapter(hints[name]).validate_python(value) != value:
                    yield f"{at}.{name}: {value!r} is of another type"
            except ValidationError as exc:
                yield f"{at}.{name}: {exc.errors()[0]['msg']}"
            yield from _of_another_type(value, f"{at}.{name}")


def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
