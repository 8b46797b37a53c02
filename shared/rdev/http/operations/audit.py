"""The operations of `functions/audit`."""

from rdev.http import audit_models as asked
from rdev.http.operations import audit_records as records
from rdev.http.operations.operation import Answer, Envelope, Operation, one

LINES = {"type": "string", "description": "A row a line, each as in `data` of the JSON answer."}

OPERATIONS = (
    Operation(
        "GET",
        "/audit",
        "audit.list_audit",
        "List the audit log, newest first; all of it as NDJSON by `Accept`.",
        {
            200: Answer(
                "A page of rows; or every row from `cursor` on.",
                records.AuditRow,
                Envelope.LIST,
                raw={"application/x-ndjson": LINES},
            )
        },
        scope="audit:read",
        query=asked.AuditQuery,
        description="A key that is bound to projects sees the rows of its projects alone.",
    ),
    Operation(
        "GET",
        "/audit/verify",
        "audit.verify_audit",
        "Check the audit log against its hash chain, for some seconds a request.",
        {200: one(records.Verdict, "What was found, good or bad.")},
        scope="audit:read",
        query=asked.VerifyQuery,
        errors=("CONFLICT",),
        description="A long log takes several requests: each goes on from the `next_cursor` of the "
        "one before, until `ok` is true or false. `position` and `hash` are a head from an earlier "
        "check, kept elsewhere: send them with each.",
    ),
)
