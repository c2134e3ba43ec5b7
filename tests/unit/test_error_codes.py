from __future__ import annotations

from typing import Final

import orjson
import pytest

from stream.meta.classifier import MetaErrorClassifier
from stream.meta.failure import Failure

# What Meta's documents and real answers say of a code, apart from any decision in this project.
YES: Final = "yes"  # it heals by itself: retry with backoff
LATER: Final = "later"  # after hours, or once a person has acted
REFRESH: Final = "refresh"  # after the credentials were fetched anew
NO: Final = "no"

# (code, subcode, whether trying again helps, expected type)
CODES: Final = (
    (0, None, REFRESH, "AUTH_ERROR"),
    (102, None, REFRESH, "AUTH_ERROR"),
    (104, None, REFRESH, "AUTH_ERROR"),
    (190, None, REFRESH, "AUTH_ERROR"),
    (190, 458, REFRESH, "AUTH_ERROR"),
    (190, 459, REFRESH, "AUTH_ERROR"),
    (190, 460, REFRESH, "AUTH_ERROR"),
    (190, 463, REFRESH, "AUTH_ERROR"),
    (190, 464, REFRESH, "AUTH_ERROR"),
    (190, 467, REFRESH, "AUTH_ERROR"),
    (190, 492, REFRESH, "AUTH_ERROR"),
    (1, None, YES, "META_SERVER_ERROR"),
    (2, None, YES, "META_SERVER_ERROR"),
    (131000, None, YES, "META_SERVER_ERROR"),
    (131016, None, YES, "META_SERVER_ERROR"),
    (133004, None, YES, "META_SERVER_ERROR"),
    (3, None, REFRESH, "PERMISSION_DENIED"),
    (10, None, REFRESH, "PERMISSION_DENIED"),
    (200, None, REFRESH, "PERMISSION_DENIED"),
    (299, None, REFRESH, "PERMISSION_DENIED"),
    (131005, None, REFRESH, "PERMISSION_DENIED"),
    (4, None, LATER, "RATE_LIMIT"),
    (17, None, LATER, "RATE_LIMIT"),
    (341, None, LATER, "RATE_LIMIT"),
    (613, None, LATER, "RATE_LIMIT"),
    (80007, None, LATER, "RATE_LIMIT"),
    (80008, None, LATER, "RATE_LIMIT"),
    (130429, None, YES, "RATE_LIMIT"),
    (131208, None, YES, "RATE_LIMIT"),
    (33, None, NO, "PHONE_NUMBER_NOT_FOUND"),
    (100, 33, NO, "PHONE_NUMBER_NOT_FOUND"),
    (100, None, NO, "INVALID_REQUEST"),
    (131001, None, NO, "INVALID_REQUEST"),
    (131002, None, NO, "INVALID_REQUEST"),
    (131006, None, NO, "INVALID_REQUEST"),
    (131008, None, NO, "INVALID_REQUEST"),
    (131009, None, NO, "INVALID_REQUEST"),
    (135000, None, NO, "INVALID_REQUEST"),
    (368, None, LATER, "ACCOUNT_RESTRICTED"),
    (131031, None, LATER, "ACCOUNT_RESTRICTED"),
    (133007, None, NO, "ACCOUNT_RESTRICTED"),
    (2500, None, NO, "API_ENDPOINT_INVALID"),
    (130403, None, NO, "RECIPIENT_BLOCKED"),
    (130472, None, NO, "RECIPIENT_IN_EXPERIMENT"),
    (130497, None, NO, "COUNTRY_RESTRICTED"),
    (131020, None, NO, "GROUP_UNAVAILABLE"),
    (131041, None, NO, "GROUP_UNAVAILABLE"),
    (131207, None, NO, "GROUP_UNAVAILABLE"),
    (131215, None, NO, "GROUP_UNAVAILABLE"),
    (131021, None, NO, "RECIPIENT_NOT_ALLOWED"),
    (131030, None, NO, "RECIPIENT_NOT_ALLOWED"),
    (131026, None, NO, "RECIPIENT_UNREACHABLE"),
    (131037, None, LATER, "SENDER_RESTRICTED"),
    (131048, None, LATER, "SENDER_RESTRICTED"),
    (131042, None, LATER, "PAYMENT_ISSUE"),
    (131044, None, LATER, "PAYMENT_ISSUE"),
    (134011, None, LATER, "PAYMENT_ISSUE"),
    (131043, None, NO, "MESSAGE_EXPIRED"),
    (131045, None, LATER, "PHONE_NOT_REGISTERED"),
    (133010, None, LATER, "PHONE_NOT_REGISTERED"),
    (131047, None, NO, "WINDOW_EXPIRED"),
    (131049, None, LATER, "MARKETING_LIMIT"),
    (131050, None, NO, "MARKETING_OPTED_OUT"),
    (131051, None, NO, "UNSUPPORTED_TYPE"),
    (131052, None, NO, "INBOUND_ONLY"),
    (131060, None, NO, "INBOUND_ONLY"),
    (131053, None, YES, "MEDIA_DOWNLOAD_FAILED"),
    (131055, None, NO, "TEMPLATE_NOT_ALLOWED"),
    (131058, None, NO, "TEMPLATE_NOT_ALLOWED"),
    (131063, None, NO, "TEMPLATE_NOT_ALLOWED"),
    (132021, None, NO, "TEMPLATE_NOT_ALLOWED"),
    (134100, None, NO, "TEMPLATE_NOT_ALLOWED"),
    (131056, None, YES, "PAIR_RATE_LIMIT"),
    (131057, None, YES, "ACCOUNT_MAINTENANCE"),
    (2494100, None, YES, "ACCOUNT_MAINTENANCE"),
    (131062, None, NO, "RECIPIENT_ID_UNSUPPORTED"),
    (131064, None, LATER, "CLASSIFICATION_LIMIT"),
    (139200, None, LATER, "CLASSIFICATION_LIMIT"),
    (132000, None, NO, "TEMPLATE_PARAMS_MISMATCH"),
    (132005, None, NO, "TEMPLATE_PARAMS_MISMATCH"),
    (132008, None, NO, "TEMPLATE_PARAMS_MISMATCH"),
    (132012, None, NO, "TEMPLATE_PARAMS_MISMATCH"),
    (132018, None, NO, "TEMPLATE_PARAMS_MISMATCH"),
    (132001, None, NO, "TEMPLATE_NOT_FOUND"),
    (132007, None, NO, "TEMPLATE_POLICY_VIOLATION"),
    (132015, None, LATER, "TEMPLATE_PAUSED"),
    (132016, None, NO, "TEMPLATE_DISABLED"),
    (132068, None, NO, "FLOW_UNAVAILABLE"),
    (132069, None, LATER, "FLOW_UNAVAILABLE"),
    (133000, None, NO, "PHONE_REGISTRATION_FAILED"),
    (133001, None, NO, "PHONE_REGISTRATION_FAILED"),
    (133002, None, NO, "PHONE_REGISTRATION_FAILED"),
    (133003, None, NO, "PHONE_REGISTRATION_FAILED"),
    (133005, None, NO, "PHONE_REGISTRATION_FAILED"),
    (133006, None, NO, "PHONE_REGISTRATION_FAILED"),
    (133008, None, LATER, "PHONE_REGISTRATION_FAILED"),
    (133009, None, LATER, "PHONE_REGISTRATION_FAILED"),
    (133015, None, LATER, "PHONE_REGISTRATION_FAILED"),
    (133016, None, LATER, "PHONE_REGISTRATION_FAILED"),
    (134101, None, LATER, "TEMPLATE_SYNCING"),
    (134102, None, LATER, "MARKETING_UNAVAILABLE"),
    (137000, None, NO, "RECIPIENT_IDENTITY_CHANGED"),
    (138000, None, NO, "CALLING_UNAVAILABLE"),
    (138018, None, NO, "CALLING_UNAVAILABLE"),
    (138006, None, NO, "CALL_NOT_PERMITTED"),
    (138009, None, LATER, "CALL_NOT_PERMITTED"),
    (2388019, None, NO, "TEMPLATE_LIMIT"),
)
# Throttles that last up to an hour, and the ten minutes of a template's synchronisation: worth waiting for here.
RETRIED_THOUGH_LATER: Final = {4, 17, 341, 613, 80007, 80008, 134101}


STATUSES: Final = (400, 401, 403, 404, 422, 429, 500, 503)


def answered(status: int, **error: object) -> Failure:
    """Classify an answer of Meta; a code or subcode of `None` is left out."""
    body = {"message": "(#1) Title", "type": "OAuthException", "fbtrace_id": "Az8", **error}
    known = {name: value for name, value in body.items() if value is not None}
    return MetaErrorClassifier().classify(status, orjson.dumps({"error": known}))


def classified(code: int, subcode: int | None, status: int = 400) -> Failure:
    return answered(status, code=code, error_subcode=subcode)


def test_the_list_is_complete() -> None:
    assert len({(code, subcode) for code, subcode, _, _ in CODES}) == 107


@pytest.mark.parametrize(("code", "subcode", "_helps", "expected"), CODES)
def test_a_documented_code_has_its_type_under_any_http_status(
    code: int, subcode: int | None, _helps: str, expected: str
) -> None:
    failures = [classified(code, subcode, status) for status in STATUSES]
    assert {failure.rule.name for failure in failures} == {expected}
    assert {(failure.code, failure.subcode) for failure in failures} == {(code, subcode)}


def test_a_code_is_retried_only_where_that_helps() -> None:
    retried = {(code, subcode) for code, subcode, _, _ in CODES if classified(code, subcode).rule.retryable}
    assert retried == {
        (code, subcode) for code, subcode, helps, _ in CODES if helps in {YES, REFRESH} or code in RETRIED_THOUGH_LATER
    }


def test_a_code_drops_the_credentials_only_where_new_ones_help() -> None:
    dropped = {(code, sub) for code, sub, _, _ in CODES if classified(code, sub).rule.invalidate_credentials}
    assert dropped == {(code, sub) for code, sub, helps, _ in CODES if helps == REFRESH}


def test_every_code_from_200_to_299_is_a_missing_permission() -> None:
    assert {classified(code, None).rule.name for code in range(200, 300)} == {"PERMISSION_DENIED"}


# The seven of Graph's envelope, which Meta also lists as codes or answered as codes on older APIs.
SEVEN: Final = {
    2388001: "TEMPLATE_NOT_FOUND",
    2388002: "TEMPLATE_PARAMS_MISMATCH",
    2388003: "INVALID_PHONE",
    2388005: "MEDIA_DOWNLOAD_FAILED",
    2388009: "RECIPIENT_NOT_ON_WHATSAPP",
    2388019: "TEMPLATE_LIMIT",
    2388054: "PHONE_NOT_REGISTERED",
}
TOKEN_SUBCODES: Final = (458, 459, 460, 463, 464, 467, 492)


@pytest.mark.parametrize(("number", "expected"), SEVEN.items())
@pytest.mark.parametrize("code", [100, 131000, 131009, 190, 130429, 0, None, "text", 987654321])
def test_a_subcode_speaks_before_any_code_and_any_status(number: int, expected: str, code: object) -> None:
    failures = [answered(status, code=code, error_subcode=number) for status in STATUSES]
    assert {failure.rule.name for failure in failures} == {expected}
    assert {failure.subcode for failure in failures} == {number}


@pytest.mark.parametrize(("number", "expected"), SEVEN.items())
def test_the_same_number_means_the_same_as_a_code(number: int, expected: str) -> None:
    assert {classified(number, None, status).rule.name for status in STATUSES} == {expected}


@pytest.mark.parametrize("beside", [100, 131000, 131009, None])
def test_a_number_of_six_digits_or_more_means_the_same_in_both_places(beside: int | None) -> None:
    known = {code: name for code, subcode, _, name in CODES if subcode is None and code >= 100_000}
    assert {code: answered(400, code=beside, error_subcode=code).rule.name for code in known} == known


@pytest.mark.parametrize("subcode", TOKEN_SUBCODES)
@pytest.mark.parametrize("code", [102, 190, 100, None])
def test_a_subcode_about_the_session_is_about_the_token_whatever_the_code(subcode: int, code: int | None) -> None:
    assert answered(400, code=code, error_subcode=subcode).rule.name == "AUTH_ERROR"


@pytest.mark.parametrize("code", [100, 2500, None])
def test_subcode_33_is_an_object_that_does_not_exist(code: int | None) -> None:
    assert answered(400, code=code, error_subcode=33).rule.name == "PHONE_NUMBER_NOT_FOUND"


@pytest.mark.parametrize(
    "subcode", [0, 1, 4, 10, 100, 190, 2494055, 2446079, 2446080, 2018001, 2655007, True, "33", None]
)
@pytest.mark.parametrize(
    ("code", "expected"), [(190, "AUTH_ERROR"), (130429, "RATE_LIMIT"), (131030, "RECIPIENT_NOT_ALLOWED")]
)
def test_a_subcode_that_means_nothing_new_leaves_the_code_its_meaning(
    code: int, expected: str, subcode: object
) -> None:
    assert answered(400, code=code, error_subcode=subcode).rule.name == expected
