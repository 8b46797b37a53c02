"""The operations of `functions/keys`."""

from rdev.http import key_models, models
from rdev.http.operations import records
from rdev.http.operations.headers import LOCATION
from rdev.http.operations.operation import Operation, many, one

OPERATIONS = (
    Operation(
        "GET",
        "/keys",
        "keys.list_keys",
        "List API keys, newest first.",
        {200: many(records.Key, "A page of keys, revoked ones too.")},
        scope="keys:admin",
        query=models.Page,
    ),
    Operation(
        "POST",
        "/keys",
        "keys.create_key",
        "Create an API key.",
        {201: one(records.KeyWithSecret, "The new key.", LOCATION)},
        scope="keys:admin",
        body=key_models.CreateKey,
        description="Its secret is in this answer, and never again in any.",
    ),
    Operation(
        "GET",
        "/keys/self",
        "keys.get_own_key",
        "Get the record of the key that asks: what it may do, and where.",
        {200: one(records.Key, "The record.")},
        description="Any key may.",
    ),
    Operation(
        "GET",
        "/keys/{key_id}",
        "keys.get_key",
        "Get an API key's record.",
        {200: one(records.Key, "The record.")},
        scope="keys:admin",
    ),
    Operation(
        "DELETE",
        "/keys/{key_id}",
        "keys.revoke_key",
        "Revoke an API key: it is refused from the next request on, everywhere.",
        {200: one(records.Key, "The record, now with `revoked_at`.")},
        scope="keys:admin",
    ),
    Operation(
        "POST",
        "/keys/{key_id}/rotate",
        "keys.rotate_key",
        "Give an API key a new secret; the one of now stays good for `overlap_s` seconds.",
        {200: one(records.KeyWithSecret, "The key with its new secret.")},
        scope="keys:admin",
        body=key_models.RotateKey,
        body_required=False,
        errors=("CONFLICT",),
    ),
)
