"""What a circuit learns from a failure, by the row of the error table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stream.contract.events import Scope
from stream.delivery.circuit_reports import verb_for
from stream.meta.errors import ROWS, ErrorRule
from stream.meta.failure import Failure

SCOPES = (Scope.TENANT, Scope.PHONE_NUMBER)
COUNTED = {
    Scope.PLATFORM: {"META_SERVER_ERROR", "NETWORK_ERROR", "OUTCOME_UNKNOWN"},
    Scope.TENANT: {
        "ACCOUNT_RESTRICTED",
        "AUTH_ERROR",
        "CREDENTIALS_INVALID",
        "CREDENTIALS_SUSPENDED",
        "PAYMENT_ISSUE",
        "PERMISSION_DENIED",
        "TENANT_NOT_FOUND",
    },
    Scope.PHONE_NUMBER: {
        "ACCOUNT_MAINTENANCE",
        "PHONE_NOT_REGISTERED",
        "PHONE_NUMBER_NOT_FOUND",
        "PHONE_REGISTRATION_FAILED",
        "SENDER_RESTRICTED",
    },
}


def test_each_error_that_the_next_message_would_meet_counts_in_the_circuit_of_its_scope_and_no_other_does() -> None:
    assert {scope: {row.name for row in ROWS if row.circuit is scope} for scope in COUNTED} == COUNTED


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_failure_fails_only_the_circuit_in_which_it_counts(scope: Scope, row: ErrorRule) -> None:
    failure = replace(Failure.of(row.name, ""), http_status=400)
    verb = verb_for(scope, failure, failure.rule.circuit)
    assert (verb == "fail") == (failure.rule.circuit is scope)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("name", "http_status", "verb"),
    [
        ("RECIPIENT_UNREACHABLE", 400, "succeed"),
        ("PAIR_RATE_LIMIT", 400, "succeed"),
        ("INVALID_REQUEST", 400, "give_back"),
        ("TEMPLATE_PAUSED", 400, "give_back"),
        ("RATE_LIMIT", 429, "give_back"),
        ("META_SERVER_ERROR", 500, "give_back"),
        ("MESSAGE_EXPIRED", None, "give_back"),
        ("TENANT_SERVICE_UNAVAILABLE", None, "give_back"),
    ],
)
def test_only_an_answer_about_the_recipient_shows_that_tenant_and_number_work(
    scope: Scope, name: str, http_status: int | None, verb: str
) -> None:
    failure = replace(Failure.of(name, ""), http_status=http_status)
    assert verb_for(scope, failure, failure.rule.circuit) == verb
