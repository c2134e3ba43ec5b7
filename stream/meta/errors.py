"""The error table: every way a delivery can fail, what the worker does about it, and what a person should do.

One row per type. A row owns Meta's codes and subcodes, so each has exactly one decision. Codes and their meanings come
from Meta's "Error codes" page (developers.facebook.com, WhatsApp Cloud API, read 2026-09); the 2388xxx are subcodes in
Graph's envelope, usually beside code 100, and 2388019 stands on the page as a code. Where Meta says "try later" but
means hours or a person's work, the row does not retry: the dead letter waits instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stream.contract.events import Scope
from stream.contract.replay import Replay


class Budget(StrEnum):
    """Which limit a retry counts against: throttling must not use up the retries for real failures."""

    FAILURE = "failure"  # META_API_MAX_RETRIES
    THROTTLE = "throttle"  # the message's validity, and RATE_LIMIT_MAX_RETRIES if it is set
    TENANT_SERVICE = "tenant_service"  # the same, counted apart


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How a type is retried.

    Attributes:
        budget: The counter it uses up.
        limit: Retries of this very type, where it is less than the budget's own limit.
        base_s: First delay in seconds; `None` takes META_API_RETRY_DELAY_MS.
        growth: Each further delay is this many times longer.
        cap_s: Longest delay in seconds; `None` takes the worker's cap (60 s).
    """

    budget: Budget = Budget.FAILURE
    limit: int | None = None
    base_s: float | None = None
    growth: float = 2.0
    cap_s: float | None = None


ONCE: Final = RetryRule(limit=1)


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row: the decision for an error type, and the texts for people.

    `circuit` is the scope whose circuit counts such a failure: messages behind it would meet the same one.
    """

    name: str
    scope: Scope
    replay: Replay  # of its dead letters, if no send of theirs is in doubt
    meaning: str
    advice: str
    codes: tuple[int, ...] = ()
    subcodes: tuple[int, ...] = ()  # those that are no codes as well; see BY_SUBCODE
    retry: RetryRule | None = None
    circuit: Scope | None = None
    invalidate_credentials: bool = False
    alert: bool = False  # an operator should act
    notify: bool = False  # the tenant should know

    @property
    def retryable(self) -> bool:
        """Whether the worker tries again by itself."""
        return self.retry is not None

    @property
    def reported(self) -> bool:
        """Whether a person is notified: an alert event is published."""
        return self.alert or self.notify


ROWS: Final[tuple[ErrorRule, ...]] = (
    # --- the platform and the network ---------------------------------------------------------------------------
    ErrorRule(
        "META_SERVER_ERROR",
        Scope.PLATFORM,
        Replay.SAFE,
        "Meta failed or was overloaded (HTTP 500, 502, 503, 504, or a code that means the same).",
        "Nothing to do while it is rare; look at Meta's status page when it lasts.",
        codes=(1, 2, 131000, 131016, 133004),
        retry=RetryRule(),
        circuit=Scope.PLATFORM,
    ),
    ErrorRule(
        "NETWORK_ERROR",
        Scope.PLATFORM,
        Replay.SAFE,
        "Meta could not be reached, or the connection broke or timed out.",
        "Check DNS, firewall and proxy between the worker and META_API_BASE_URL.",
        retry=RetryRule(),
        circuit=Scope.PLATFORM,
    ),
    ErrorRule(
        "INVALID_RESPONSE",
        Scope.PLATFORM,
        Replay.IN_DOUBT,
        "Meta answered with success but without a message id: the message was probably sent.",
        "Look for the message in WhatsApp Manager or its webhooks before sending it again.",
        alert=True,
    ),
    ErrorRule(
        "OUTCOME_UNKNOWN",
        Scope.MESSAGE,
        Replay.IN_DOUBT,
        "A request left and no answer came, or the replica died in it: the message may have been delivered.",
        "Look for the message in Meta's webhooks; resend it with the header x-resend only if it is not there.",
        alert=True,
        circuit=Scope.PLATFORM,
    ),
    ErrorRule(
        "API_ENDPOINT_INVALID",
        Scope.PLATFORM,
        Replay.SAFE,
        "Meta does not know the path or version that was called.",
        "Check META_API_VERSION and META_API_BASE_URL; Meta retires a version after about two years.",
        codes=(2500,),
        alert=True,
    ),
    # --- token and permissions ----------------------------------------------------------------------------------
    ErrorRule(
        "AUTH_ERROR",
        Scope.TENANT,
        Replay.SAFE,
        "Meta refused the tenant's access token: expired, revoked or malformed.",
        "Give the tenant a new system-user token in the Tenant Service, then replay the dead letters.",
        codes=(0, 102, 104, 190),
        subcodes=(458, 459, 460, 463, 464, 467, 492),
        retry=ONCE,
        invalidate_credentials=True,
        alert=True,
        circuit=Scope.TENANT,
    ),
    ErrorRule(
        "PERMISSION_DENIED",
        Scope.TENANT,
        Replay.SAFE,
        "The token is valid but may not do this: a permission is missing or was removed.",
        "Grant whatsapp_business_messaging and access to the WhatsApp Business Account, then replay.",
        codes=(3, 10, *range(200, 300), 131005),
        retry=ONCE,
        invalidate_credentials=True,
        alert=True,
        circuit=Scope.TENANT,
    ),
    # --- throttling ---------------------------------------------------------------------------------------------
    ErrorRule(
        "RATE_LIMIT",
        Scope.PHONE_NUMBER,
        Replay.SAFE,
        "Too many calls for the number, the app or the account; the message itself is fine.",
        "Nothing while it clears by itself; ask Meta for a throughput upgrade when it is the rule.",
        codes=(4, 17, 341, 613, 80007, 80008, 130429, 131208),
        retry=RetryRule(Budget.THROTTLE, base_s=10.0),
    ),
    ErrorRule(
        "PAIR_RATE_LIMIT",
        Scope.PAIR,
        Replay.SAFE,
        "Too many messages from this number to this one recipient; others are not affected.",
        "Send fewer messages to one person: Meta allows about one in six seconds after a burst.",
        codes=(131056,),
        # Meta's advice: 4^n seconds. Five minutes is where waiting longer stops helping a customer.
        retry=RetryRule(Budget.THROTTLE, base_s=1.0, growth=4.0, cap_s=300.0),
    ),
    ErrorRule(
        "ACCOUNT_MAINTENANCE",
        Scope.PHONE_NUMBER,
        Replay.SAFE,
        "The number is in maintenance, for example a throughput upgrade of up to a minute.",
        "Nothing: it ends by itself.",
        codes=(131057, 2494100),
        retry=RetryRule(Budget.THROTTLE, base_s=15.0),
        circuit=Scope.PHONE_NUMBER,
    ),
    # --- media --------------------------------------------------------------------------------------------------
    ErrorRule(
        "MEDIA_DOWNLOAD_FAILED",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "Meta could not fetch or take the media file: unreachable link, wrong type or too large.",
        "Check that the link is public and the file's type and size are allowed.",
        codes=(2388005, 131053),
        retry=ONCE,
    ),
    ErrorRule(
        "INBOUND_ONLY",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "A code that Meta documents for received messages only.",
        "Report it: it is not expected as an answer to a send.",
        codes=(131052, 131060),
    ),
    # --- recipient ----------------------------------------------------------------------------------------------
    ErrorRule(
        "INVALID_PHONE",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "The recipient's phone number is not valid.",
        "Correct the number: + and country code first.",
        codes=(2388003,),
    ),
    ErrorRule(
        "RECIPIENT_NOT_ON_WHATSAPP",
        Scope.RECIPIENT,
        Replay.POINTLESS,
        "The recipient has no WhatsApp account.",
        "Use another channel for this person.",
        codes=(2388009,),
    ),
    ErrorRule(
        "RECIPIENT_UNREACHABLE",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "Not on WhatsApp, terms not accepted, or an app that is too old.",
        "Ask the person by another channel to update WhatsApp and accept its terms.",
        codes=(131026,),
    ),
    ErrorRule(
        "RECIPIENT_NOT_ALLOWED",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "This number may not message this recipient: a test number's list, or sender and recipient are the same.",
        "Add the recipient to the test number's list, or send from a real number to somebody else.",
        codes=(131021, 131030),
    ),
    ErrorRule(
        "RECIPIENT_BLOCKED",
        Scope.RECIPIENT,
        Replay.SAFE,
        "The business itself has blocked this user on WhatsApp.",
        "Unblock the user first.",
        codes=(130403,),
    ),
    ErrorRule(
        "RECIPIENT_ID_UNSUPPORTED",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "This kind of message needs a phone number, not a business-scoped user id.",
        "Send one-time passwords and the like to the phone number.",
        codes=(131062,),
    ),
    ErrorRule(
        "RECIPIENT_IDENTITY_CHANGED",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "The recipient's identity key no longer matches: a new device or a reinstall.",
        "Confirm who it is, then send with the new hash or without one.",
        codes=(137000,),
        notify=True,
    ),
    ErrorRule(
        "WINDOW_EXPIRED",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "More than 24 hours since the customer's last message: free-form messages are not allowed.",
        "Send an approved template instead.",
        codes=(131047,),
        notify=True,
    ),
    ErrorRule(
        "MARKETING_LIMIT",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "Meta held the marketing message back for this person; trying within 24 hours only adds penalties.",
        "Publish it anew after 24 hours, if it still matters; a replay so late needs a longer MESSAGE_MAX_AGE_MS.",
        codes=(131049,),
        notify=True,
    ),
    ErrorRule(
        "MARKETING_OPTED_OUT",
        Scope.RECIPIENT,
        Replay.POINTLESS,
        "The recipient has stopped marketing messages from this business.",
        "Take the person off the marketing list.",
        codes=(131050,),
        notify=True,
    ),
    ErrorRule(
        "RECIPIENT_IN_EXPERIMENT",
        Scope.RECIPIENT,
        Replay.POINTLESS,
        "Meta withheld the marketing message as part of an experiment.",
        "Nothing: another attempt gives the same answer.",
        codes=(130472,),
    ),
    ErrorRule(
        "COUNTRY_RESTRICTED",
        Scope.TENANT,
        Replay.FIX_FIRST,
        "The account may not message people in this recipient's country.",
        "See Meta's messaging policy for the allowed countries.",
        codes=(130497,),
        notify=True,
    ),
    ErrorRule(
        "GROUP_UNAVAILABLE",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "The group is unknown, empty or suspended, or the number is not eligible for groups.",
        "Check the group id and the number's eligibility.",
        codes=(131020, 131041, 131207, 131215),
    ),
    ErrorRule(
        "CALL_NOT_PERMITTED",
        Scope.RECIPIENT,
        Replay.FIX_FIRST,
        "The recipient has not permitted calls, or was asked too often.",
        "Wait for the person's permission.",
        codes=(138006, 138009),
    ),
    ErrorRule(
        "CALLING_UNAVAILABLE",
        Scope.PHONE_NUMBER,
        Replay.SAFE,
        "The number has no calling, or its prerequisites are missing.",
        "Enable calling for the number and subscribe to its webhook.",
        codes=(138000, 138018),
        alert=True,
    ),
    ErrorRule(
        "MESSAGE_EXPIRED",
        Scope.MESSAGE,
        Replay.POINTLESS,
        "The message's validity ended before Meta took it, or Meta could not deliver it within its time to live.",
        "Send it again only if it still matters; if the letter has x-unknown-outcomes, look in Meta's webhooks first.",
        codes=(131043,),
        notify=True,
    ),
    # --- template -----------------------------------------------------------------------------------------------
    ErrorRule(
        "TEMPLATE_NOT_FOUND",
        Scope.TENANT,
        Replay.FIX_FIRST,
        "The template does not exist in this language, or is not approved.",
        "Check name, language and approval in WhatsApp Manager.",
        codes=(2388001, 132001),
        alert=True,
    ),
    ErrorRule(
        "TEMPLATE_PARAMS_MISMATCH",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "The template's parameters do not match its definition.",
        "Send every parameter in the format the template defines.",
        codes=(2388002, 132000, 132005, 132008, 132012, 132018),
    ),
    ErrorRule(
        "TEMPLATE_POLICY_VIOLATION",
        Scope.TENANT,
        Replay.FIX_FIRST,
        "The template's content breaks Meta's policy.",
        "Correct the template and have it reviewed.",
        codes=(132007,),
        alert=True,
    ),
    ErrorRule(
        "TEMPLATE_PAUSED",
        Scope.TENANT,
        Replay.SAFE,
        "The template is paused for low quality.",
        "Improve the template; replay once it is active again.",
        codes=(132015,),
        alert=True,
        notify=True,
    ),
    ErrorRule(
        "TEMPLATE_DISABLED",
        Scope.TENANT,
        Replay.FIX_FIRST,
        "The template was paused too often and is disabled for good.",
        "Make a new template.",
        codes=(132016,),
        alert=True,
        notify=True,
    ),
    ErrorRule(
        "TEMPLATE_NOT_ALLOWED",
        Scope.TENANT,
        Replay.FIX_FIRST,
        "This template, or its category, may not be sent this way.",
        "Use the endpoint and category that Meta's answer names.",
        codes=(131055, 131058, 131063, 132021, 134100),
        alert=True,
    ),
    ErrorRule(
        "TEMPLATE_SYNCING",
        Scope.TENANT,
        Replay.SAFE,
        "A new marketing template has not finished its synchronisation, which takes up to 10 minutes.",
        "Nothing: it is retried after 10 minutes.",
        codes=(134101,),
        retry=RetryRule(limit=2, base_s=600.0, growth=1.0, cap_s=600.0),
    ),
    ErrorRule(
        "TEMPLATE_LIMIT",
        Scope.TENANT,
        Replay.SAFE,
        "The account has as many templates as Meta allows.",
        "Delete templates that are not used.",
        codes=(2388019,),
        alert=True,
    ),
    ErrorRule(
        "FLOW_UNAVAILABLE",
        Scope.TENANT,
        Replay.SAFE,
        "The template's Flow is blocked, or throttled to ten messages an hour.",
        "Correct the Flow in WhatsApp Manager, then replay.",
        codes=(132068, 132069),
        alert=True,
    ),
    # --- the sending number -------------------------------------------------------------------------------------
    ErrorRule(
        "PHONE_NOT_REGISTERED",
        Scope.PHONE_NUMBER,
        Replay.SAFE,
        "The sending number is not registered, or its registration is broken (also as HTTP 500, 131045).",
        "Register the number, then replay.",
        codes=(2388054, 131045, 133010),
        alert=True,
        circuit=Scope.PHONE_NUMBER,
    ),
    ErrorRule(
        "PHONE_NUMBER_NOT_FOUND",
        Scope.PHONE_NUMBER,
        Replay.FIX_FIRST,
        "Meta does not know the phone number id, or the token may not see it.",
        "Check phoneNumberId and the token's access to it.",
        codes=(33,),
        subcodes=(33,),
        alert=True,
        circuit=Scope.PHONE_NUMBER,
    ),
    ErrorRule(
        "PHONE_REGISTRATION_FAILED",
        Scope.PHONE_NUMBER,
        Replay.SAFE,
        "A step of the number's registration failed: PIN, verification, backup or deregistration.",
        "Finish the registration in WhatsApp Manager, then replay.",
        codes=(133000, 133001, 133002, 133003, 133005, 133006, 133008, 133009, 133015, 133016),
        alert=True,
        circuit=Scope.PHONE_NUMBER,
    ),
    ErrorRule(
        "SENDER_RESTRICTED",
        Scope.PHONE_NUMBER,
        Replay.SAFE,
        "Meta restricts the number: spam reports, blocks, or a display name that is not approved.",
        "Check the number's quality and display name in WhatsApp Manager; replay when the restriction ends.",
        codes=(131037, 131048),
        alert=True,
        notify=True,
        circuit=Scope.PHONE_NUMBER,
    ),
    # --- the tenant's account -----------------------------------------------------------------------------------
    ErrorRule(
        "ACCOUNT_RESTRICTED",
        Scope.TENANT,
        Replay.SAFE,
        "The WhatsApp Business Account is restricted, disabled or locked for a policy violation.",
        "See Policy Enforcement in WhatsApp Manager; replay when the account is free again.",
        codes=(368, 131031, 133007),
        alert=True,
        notify=True,
        circuit=Scope.TENANT,
    ),
    ErrorRule(
        "CLASSIFICATION_LIMIT",
        Scope.TENANT,
        Replay.SAFE,
        "A limit for wrongly classified templates, or Direct Send is blocked for the same reason.",
        "Correct the template categories; the limit lifts by itself.",
        codes=(131064, 139200),
        alert=True,
        notify=True,
    ),
    ErrorRule(
        "PAYMENT_ISSUE",
        Scope.TENANT,
        Replay.SAFE,
        "The account's payment method, credit line or payment terms are in trouble.",
        "Correct the billing settings, then replay.",
        codes=(131042, 131044, 134011),
        alert=True,
        notify=True,
        circuit=Scope.TENANT,
    ),
    ErrorRule(
        "MARKETING_UNAVAILABLE",
        Scope.TENANT,
        Replay.SAFE,
        "The account is not set up for the marketing endpoint (HTTP 500, but it does not heal).",
        "Check the onboarding status with Meta.",
        codes=(134102,),
        alert=True,
    ),
    # --- the request --------------------------------------------------------------------------------------------
    ErrorRule(
        "INVALID_REQUEST",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "Meta refused the payload: a field is missing, misspelled, too long or of the wrong kind.",
        "Read the detail, correct the publisher, then publish again.",
        codes=(100, 131001, 131002, 131006, 131008, 131009, 135000),
    ),
    ErrorRule(
        "UNSUPPORTED_TYPE",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "Meta does not support this type of message.",
        "Use a type that Meta documents.",
        codes=(131051,),
    ),
    ErrorRule(
        "META_REJECTED",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "Meta refused the message with a code or status that this table does not know yet.",
        "Look the code up in Meta's error page, and add it to the table.",
        alert=True,
    ),
    # --- before Meta was asked ----------------------------------------------------------------------------------
    ErrorRule(
        "INVALID_MESSAGE",
        Scope.MESSAGE,
        Replay.FIX_FIRST,
        "The bytes on the queue are not a message of this contract; no request was made.",
        "Correct the field that the detail names, then publish again; the dead letter holds the original bytes.",
    ),
    ErrorRule(
        "TENANT_NOT_FOUND",
        Scope.TENANT,
        Replay.SAFE,
        "The Tenant Service does not know the tenant (HTTP 404).",
        "Check metadata.tenantId, or create the tenant, then replay.",
        alert=True,
        circuit=Scope.TENANT,
    ),
    ErrorRule(
        "CREDENTIALS_SUSPENDED",
        Scope.TENANT,
        Replay.SAFE,
        "The Tenant Service refuses the credentials: HTTP 403, status suspended or expired, or a past expiresAt.",
        "Settle the tenant's state in the Tenant Service, then replay.",
        alert=True,
        notify=True,
        circuit=Scope.TENANT,
    ),
    ErrorRule(
        "CREDENTIALS_INVALID",
        Scope.TENANT,
        Replay.SAFE,
        "The Tenant Service's answer holds no usable access token, or it refused the request as wrong.",
        "Check the tenant's record and TENANT_CREDENTIALS_PATH.",
        alert=True,
        circuit=Scope.TENANT,
    ),
    ErrorRule(
        "PHONE_NUMBER_NOT_OWNED",
        Scope.TENANT,
        Replay.SAFE,
        "The tenant's credentials name another phone number id than the message (`TENANT_OWNS_NUMBER=strict`).",
        "Correct the publisher; or correct the tenant's record, run `stream cache invalidate TENANT`, then replay.",
        alert=True,
    ),
    ErrorRule(
        "TENANT_SERVICE_UNAVAILABLE",
        Scope.PLATFORM,
        Replay.SAFE,
        "The Tenant Service did not answer for this tenant, failed, or refused this worker's own token.",
        "Bring the service or the tenant's record back, or correct TENANT_SERVICE_TOKEN; messages wait meanwhile.",
        retry=RetryRule(Budget.TENANT_SERVICE),
        alert=True,
    ),
    # --- the worker itself --------------------------------------------------------------------------------------
    ErrorRule(
        "POISON",
        Scope.MESSAGE,
        Replay.IN_DOUBT,
        "The worker's process died each time it tried this message; nothing of it was read this time.",
        "Report the letter with its bytes; replay it once the worker can take it, and look in Meta's webhooks first.",
        alert=True,
    ),
    ErrorRule(
        "INTERNAL_ERROR",
        Scope.MESSAGE,
        Replay.SAFE,
        "The worker failed on this message with an error that nobody foresaw.",
        "Report the detail and the message; replay once it is fixed.",
        retry=RetryRule(),
        alert=True,
    ),
)

ERROR_TABLE: Final[dict[str, ErrorRule]] = {row.name: row for row in ROWS}
BY_CODE: Final[dict[int, ErrorRule]] = {code: row for row in ROWS for code in row.codes}
# From six digits on, Meta's codes and subcodes are one numbering: such a number means the same in either place. Smaller
# subcodes are a numbering of their own, in which 190 is not the code 190.
ONE_NUMBERING: Final = 100_000
BY_SUBCODE: Final[dict[int, ErrorRule]] = {
    number: row for row in ROWS for number in (*row.subcodes, *(code for code in row.codes if code >= ONE_NUMBERING))
}
BY_STATUS: Final[dict[int, ErrorRule]] = {
    401: ERROR_TABLE["AUTH_ERROR"],
    403: ERROR_TABLE["PERMISSION_DENIED"],
    408: ERROR_TABLE["META_SERVER_ERROR"],
    429: ERROR_TABLE["RATE_LIMIT"],
    **dict.fromkeys(range(500, 600), ERROR_TABLE["META_SERVER_ERROR"]),
}
