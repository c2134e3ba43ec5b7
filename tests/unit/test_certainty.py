from __future__ import annotations

import httpx
import pytest

from stream.meta.classifier import MetaErrorClassifier
from stream.meta.failure import Certainty

CLASSIFIER = MetaErrorClassifier()


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("connection refused"),
        httpx.ConnectTimeout("no connection in time"),
        httpx.PoolTimeout("no free connection in time"),
        httpx.ProxyError("the proxy refused"),
        httpx.UnsupportedProtocol("ftp://"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_request_that_never_left_is_not_sent(error: httpx.TransportError) -> None:
    failure = CLASSIFIER.classify_exception(error)
    assert failure.rule.name == "NETWORK_ERROR"
    assert failure.certainty is Certainty.NOT_SENT


@pytest.mark.parametrize(
    "error",
    [
        httpx.ReadTimeout("no answer in time"),
        httpx.WriteTimeout("the request did not leave in time"),
        httpx.ReadError("reset by peer"),
        httpx.WriteError("broken pipe"),
        httpx.CloseError("closing failed"),
        httpx.RemoteProtocolError("closed without an answer"),
        httpx.LocalProtocolError("half a request"),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_request_that_may_have_left_is_unknown(error: Exception) -> None:
    failure = CLASSIFIER.classify_exception(error)
    assert failure.rule.name == "NETWORK_ERROR"
    assert failure.certainty is Certainty.UNKNOWN


def test_every_transport_error_of_httpx_is_one_or_the_other() -> None:
    def leaves(kind: type[httpx.TransportError]) -> set[type[httpx.TransportError]]:
        below = kind.__subclasses__()
        return {leaf for child in below for leaf in leaves(child)} if below else {kind}

    not_sent = {
        kind.__name__
        for kind in leaves(httpx.TransportError)
        if CLASSIFIER.classify_exception(kind("x")).certainty is Certainty.NOT_SENT
    }
    assert not_sent == {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"}


def test_the_detail_names_the_exception_and_is_cut() -> None:
    detail = CLASSIFIER.classify_exception(httpx.ReadError("reset " * 1000)).detail
    assert "ReadError: reset" in detail
    assert len(detail) == 500
