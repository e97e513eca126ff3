"""Opening a connection: nothing secret leaves this machine in the open."""

from __future__ import annotations

import pytest
from sentences import wording

import tablenodes as tn
from tablenodes.connection.endpoint import opened
from tablenodes.errors import ConnectionSettingError

KEY = "sk-canary-0123456789abcdef"
QUERY = {"api_key": KEY, "api-version": "1"}


def address(connection):
    with opened(connection, {}) as endpoint:
        return endpoint.request("POST", "/x").url


def test_a_secret_in_a_query_does_not_travel_in_the_open():
    """As a key in a header does not; the message names the host and says nothing of the secret."""
    with wording.raises(ConnectionSettingError) as caught:
        address(tn.Connection("http://a.example/v1", "", query=QUERY))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "more"),
    [
        ("http://127.0.0.1:9/v1", {}),
        ("https://a.example/v1", {}),
        ("http://a.example/v1", {"allow_insecure": True}),
    ],
    ids=["to this machine", "encrypted", "allowed"],
)
def test_a_secret_in_a_query_travels_where_it_may(base_url, more):
    """To this machine, over TLS, or where that is allowed by name."""
    found = address(tn.Connection(base_url, "", query=QUERY, **more))
    assert found == f"{base_url}/x?api_key={KEY}&api-version=1"


def test_a_query_without_a_secret_travels_in_the_open():
    """A version is for everybody to see."""
    found = address(tn.Connection("http://a.example/v1", "", query={"api-version": "1"}))
    assert found == "http://a.example/v1/x?api-version=1"
