"""What channel 3 of an exec says, and what it does not."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdev.adapters.workspaces.kubernetes.exec_status import ExecStatus, exec_status


def said(**status: Any) -> ExecStatus | None:
    return exec_status(json.dumps(status).encode())


def failure(*causes: Any, **more: Any) -> ExecStatus | None:
    return said(status="Failure", details={"causes": list(causes)}, **more)


def test_success_is_exit_code_0():
    assert said(metadata={}, status="Success") == ExecStatus(0)


@pytest.mark.parametrize("code", [1, 2, 127, 137, 255, 4294967295])
def test_a_failure_with_an_exit_code_is_that_code(code):
    status = failure({"reason": "Other"}, {"reason": "ExitCode", "message": str(code)})
    assert status is not None
    assert status.exit_code == code


def test_another_failure_is_no_exit_code_but_the_clusters_words():
    status = said(status="Failure", message="no such program", reason="InternalError", code=500)
    assert status == ExecStatus(None, "no such program", "InternalError")


def test_a_failure_without_words_still_says_something():
    assert said(status="Failure") == ExecStatus(None, "no reason given", "")
    assert said(status="Failure", reason="InternalError") == ExecStatus(
        None, "InternalError", "InternalError"
    )


@pytest.mark.parametrize("code", ["0", "00", "-1", "1.5", " 1", "1_0", "", "x", "٣", "9" * 5000])
def test_an_exit_code_that_is_none_is_no_exit_code(code):
    status = failure({"reason": "ExitCode", "message": code}, message="odd")
    assert status == ExecStatus(None, "odd", "")


@pytest.mark.parametrize(
    "details",
    [None, [], "x", 3, {"causes": None}, {"causes": {}}, {"causes": ["x", None, {"message": "1"}]}]
    + [{"causes": [{"reason": "ExitCode", "message": code}]} for code in (None, 1, [], True)],
)
def test_details_of_another_shape_are_no_exit_code(details):
    status = said(status="Failure", message="odd", details=details)
    assert status == ExecStatus(None, "odd", "")


@pytest.mark.parametrize(
    "garbage",
    [
        *(b"", b"null", b"0", b"[]", b"{}", b"Success", b'"Success"', b"\xff\xfe\x00", b"[" * 9**5),
        *(b'{"status": "success"}', b'{"status": null}', b'{"status": ["Success"]}'),
    ],
)
def test_what_is_no_status_says_nothing(garbage):
    assert exec_status(garbage) is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "status": st.just("Failure") | ANYTHING,
        "message": ANYTHING,
        "reason": ANYTHING,
        "details": ANYTHING
        | st.fixed_dictionaries(
            {
                "causes": ANYTHING
                | st.lists(
                    st.fixed_dictionaries(
                        {"reason": st.just("ExitCode") | ANYTHING, "message": ANYTHING}
                    )
                )
            }
        ),
    },
)


@given(st.binary() | FIELDS.map(lambda fields: json.dumps(fields).encode()))
def test_nothing_but_success_is_ever_taken_for_success(garbage):
    status = exec_status(garbage)
    if status is not None and status.exit_code == 0:
        assert json.loads(garbage)["status"] == "Success"
    if status is not None and status.exit_code is None:
        assert status.message


@given(st.integers(0, 70))
def test_a_status_that_was_cut_says_nothing(at):
    whole = json.dumps({"status": "Success", "metadata": {}, "message": "x" * 40}).encode()
    assert exec_status(whole[:at]) is None
