"""The story of one try: route, credentials, send, outcome."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from stream.contract.messages import InvalidMessage, OutboundMessage
from stream.delivery import report
from stream.delivery.outcome import Failed, Outcome, Sent
from stream.delivery.routes import route_for
from stream.meta.classifier import MetaErrorClassifier
from stream.meta.client import Accepted, GraphClient
from stream.meta.failure import Certainty, Failure, GraphError
from stream.retry import RetryHandler
from stream.tenants.credentials import (
    CredentialError,
    CredentialsInvalid,
    CredentialsSuspended,
    TenantNotFound,
    TenantServiceUnavailable,
)
from stream.tenants.provider import CredentialProvider

log = structlog.get_logger(__name__)

_CREDENTIAL_FAILURES: dict[type[CredentialError], str] = {
    TenantNotFound: "TENANT_NOT_FOUND",
    CredentialsSuspended: "CREDENTIALS_SUSPENDED",
    CredentialsInvalid: "CREDENTIALS_INVALID",
    TenantServiceUnavailable: "TENANT_SERVICE_UNAVAILABLE",
}


@dataclass(slots=True)
class _Sends:
    """The requests of one try: how many, and the token of the last one."""

    count: int = 0
    token: str = field(default="", repr=False)


class MessageProcessor:
    """Tries to deliver one message, once, and says how it went.

    Args:
        credentials: Where a tenant's credentials come from.
        graph: Meta.
        classifier: Says whether a refusal is the credentials' fault.
        retry: Runs the one immediate resend after fresh credentials.
        monotonic: Seconds, for durations.
    """

    def __init__(
        self,
        *,
        credentials: CredentialProvider,
        graph: GraphClient,
        classifier: MetaErrorClassifier,
        retry: RetryHandler,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials = credentials
        self._graph = graph
        self._classifier = classifier
        self._retry = retry
        self._monotonic = monotonic

    async def process(self, message: OutboundMessage) -> Outcome:
        """Deliver the message, or say why not. Raises nothing: what nobody foresaw is an outcome too."""
        started = self._monotonic()
        sends = _Sends()
        try:
            route_for(message)
            accepted = await self._send_with_fresh_credentials(message, sends)
        except InvalidMessage as error:
            failure = Failure.of("INVALID_MESSAGE", str(error))
        except CredentialError as error:
            failure = Failure.of(_CREDENTIAL_FAILURES[type(error)], str(error))
        except GraphError as error:
            failure = error.failure
        except Exception as error:
            log.exception("unexpected_error", **report.identity(message))
            failure = Failure.of("INTERNAL_ERROR", f"{type(error).__name__}: {error}", Certainty.UNKNOWN)
        else:
            return Sent(accepted, self._monotonic() - started, sends.count)
        return Failed(failure, self._monotonic() - started, sends.count)

    async def _send_with_fresh_credentials(self, message: OutboundMessage, sends: _Sends) -> Accepted:
        """Send; if Meta refuses the credentials, fetch them anew and send once more, at once."""

        async def send() -> Accepted:
            credentials = await self._credentials.get(message.tenant_id)
            sends.count, sends.token = sends.count + 1, credentials.access_token
            return await self._graph.send(message.phone_number_id, credentials.access_token, message.payload_bytes)

        async def refresh(error: BaseException, _attempt: int) -> None:
            log.warning("credentials_refused", tenantId=message.tenant_id, error=str(error))
            await self._credentials.forget(message.tenant_id, sends.token)

        return await self._retry.execute_with_retry(
            send, max_retries=1, base_delay_s=0, classifier=self._refused_credentials, on_retry=refresh
        )

    def _refused_credentials(self, error: BaseException) -> bool:
        return isinstance(error, GraphError) and self._classifier.is_auth_error(error.failure)
