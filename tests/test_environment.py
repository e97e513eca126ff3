"""Proxies, certificates and sockets: what the environment says, as a function of it."""

from __future__ import annotations

import os
import resource
import shutil
import threading

import certifi
import pytest
from sentences import wording

from tablenodes.cli.complaints import shortage
from tablenodes.engine.transports.network_environment import certificates, proxy_for, sockets_allowed
from tablenodes.errors import ConnectionSettingError

PROXY = "http://proxy.test:3128"
API = "https://api.openai.com/v1"


@pytest.mark.parametrize(
    ("environ", "url", "expected"),
    [
        ({}, API, None),
        ({"HTTPS_PROXY": PROXY}, API, PROXY),
        ({"https_proxy": PROXY}, API, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other.test"}, API, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, API, None),
        ({"HTTP_PROXY": PROXY}, API, None),
        ({"HTTP_PROXY": PROXY}, "http://api.test/v1", PROXY),
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "http://api.test/v1", None),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http://api.test/v1", PROXY),
        ({"ALL_PROXY": PROXY}, API, PROXY),
        ({"all_proxy": "socks5h://s.test:1080"}, API, "socks5h://s.test:1080"),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": "http://other.test"}, API, "http://other.test"),
        ({"HTTPS_PROXY": "proxy.test:3128"}, API, PROXY),
        ({"HTTPS_PROXY": " "}, API, None),
    ],
)
def test_the_proxy_of_an_address(environ, url, expected):
    """That of its scheme, else that for all; the name in lower case first."""
    assert proxy_for(url, environ) == expected


@pytest.mark.parametrize(
    ("exceptions", "url", "direct"),
    [
        ("*", API, True),
        ("api.openai.com", API, True),
        ("API.OpenAI.com", API, True),
        ("openai.com", API, True),
        (".openai.com", API, True),
        ("*.openai.com", API, True),
        ("penai.com", API, False),
        ("other.test, api.openai.com ,", API, True),
        ("", API, False),
        (",", API, False),
        ("api.openai.com:443", API, True),
        ("api.openai.com:8443", API, False),
        ("api.openai.com:8443", "https://api.openai.com:8443/v1", True),
        ("api.openai.com", "https://api.openai.com./v1", True),
        ("10.0.0.0/8", "http://10.1.2.3/v1", True),
        ("10.0.0.0/8", "http://11.1.2.3/v1", False),
        ("10.0.0.0/nonsense", "http://10.1.2.3/v1", False),
        ("10.1.2.3", "http://10.1.2.3/v1", True),
        ("2.3", "http://10.1.2.3/v1", False),
        ("10.0.0.0/8", API, False),
        ("fd00::/8", "http://[fd00::1]/v1", True),
        ("fd00::1", "http://[fd00::1]/v1", True),
        ("[fd00::1]:80", "http://[fd00::1]/v1", True),
        ("[fd00::1]:81", "http://[fd00::1]/v1", False),
    ],
)
def test_addresses_without_a_proxy(exceptions, url, direct):
    """NO_PROXY names hosts with their subdomains, addresses, networks, and ports if it wants to."""
    environ = {"ALL_PROXY": PROXY, "NO_PROXY": exceptions}
    assert proxy_for(url, environ) == (None if direct else PROXY)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/v1", "http://localhost/v1", "http://[::1]:8080/v1", "http://127.8.8.8/v1"]
)
def test_loopback_addresses_have_none(url):
    """Neither of the environment nor a named one: a proxy's loopback is another machine."""
    assert proxy_for(url, {"ALL_PROXY": PROXY}) is None
    assert proxy_for(url, {}, PROXY) is None


def test_a_named_proxy_comes_first():
    """An empty one is none."""
    environ = {"HTTPS_PROXY": "http://other.test", "NO_PROXY": "*"}
    assert proxy_for(API, environ, PROXY) == PROXY
    assert proxy_for(API, {"HTTPS_PROXY": PROXY}, "") is None


def test_which_certificates_are_trusted(tmp_path):
    """Those that are named, else those of the environment, else certifi's."""
    paths = [tmp_path / name for name in ("named", "requests", "curl", "ssl")]
    for path in paths:
        shutil.copy(certifi.where(), path)
    named, first, second, third = map(str, paths)
    environ = {"REQUESTS_CA_BUNDLE": first, "CURL_CA_BUNDLE": second, "SSL_CERT_FILE": third}
    assert certificates(environ, named) == named
    assert certificates(environ) == first
    assert certificates({**environ, "REQUESTS_CA_BUNDLE": ""}) == second
    assert certificates({"SSL_CERT_FILE": third}) == third
    assert certificates({}) == certifi.where()


def test_certificates_that_do_not_exist():
    """The message says who named them."""
    with wording.raises(ConnectionSettingError):
        certificates({}, "/no/such")
    with wording.raises(ConnectionSettingError):
        certificates({"CURL_CA_BUNDLE": "/no/such"})


@pytest.mark.parametrize(
    ("limits", "wanted", "allowed", "raised_to"),
    [
        ((1024, 4096), 64, 64, None),
        ((1024, 4096), 2000, 2000, 2128),
        ((1024, 1500), 2000, 1372, 1500),
        ((1024, resource.RLIM_INFINITY), 9000, 9000, 9128),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 9000, 9000, None),
        ((64, 200), 2000, 78, 200),
        ((64, 128), 2000, 42, 128),
        ((20, 30), 2000, 1, 30),
    ],
)
def test_how_many_sockets_there_may_be(monkeypatch, limits, wanted, allowed, raised_to):
    """The soft limit is raised as far as it must and may; other files keep their room, and half of a low limit."""
    set_to = []
    monkeypatch.setattr(os, "listdir", lambda _: ["a file"] * 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, pair: set_to.append(pair[0]))
    assert sockets_allowed(wanted) == allowed
    assert set_to == ([] if raised_to is None else [raised_to])


def test_a_limit_that_may_not_be_raised(monkeypatch):
    """Then what there is has to do."""

    def refuse(*_):
        raise OSError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert sockets_allowed(2000) == 1024 - 128


def test_a_system_without_such_limits(monkeypatch):
    """Nothing is known, nothing is taken away."""
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    assert sockets_allowed(2000) == 2000


def test_a_thread_that_the_system_does_not_give_is_a_shortage():
    """Python tells it in words alone; if it words it otherwise one day, this says so."""
    before = threading.stack_size(2**46)
    try:
        with pytest.raises(RuntimeError) as caught:
            threading.Thread(target=print).start()
    finally:
        threading.stack_size(before)
    assert "threads" in shortage(caught.value)
    assert shortage(RuntimeError("of another kind")) is None
