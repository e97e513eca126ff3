"""Where requests go, with which key, and who may ever see it."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import traceback

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes import addresses
from tablenodes.connection.endpoint import opened
from tablenodes.run.options import checked
from tablenodes.secret import Secret
from tablenodes.workflow.workflow_check import connections_of

CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}")

KEY = "sk-canary-0123456789abcdef"
LOCAL = "http://127.0.0.1:9/v1"


def headers(connection, environ):
    with opened(connection, environ) as endpoint:
        return dict(endpoint.request("POST", "/chat/completions").headers)


def refusal(connection, environ):
    with pytest.raises(tn.errors.ConnectionSettingError) as caught, opened(connection, environ):
        pass
    return str(caught.value)


def test_the_environment_gives_address_key_and_project():
    """A plain Connection() is what the environment says."""
    environ = {
        "OPENAI_BASE_URL": LOCAL,
        "OPENAI_API_KEY": KEY,
        "OPENAI_ORG_ID": "o",
        "OPENAI_PROJECT_ID": "p",
    }
    with opened(tn.Connection(), environ) as endpoint:
        request = endpoint.request("POST", "/chat/completions")
    assert request.url == LOCAL + "/chat/completions"
    sent = dict(request.headers)
    assert sent["Authorization"] == f"Bearer {KEY}"
    assert (sent["OpenAI-Organization"], sent["OpenAI-Project"]) == ("o", "p")


def test_the_default_is_openai():
    """Without OPENAI_BASE_URL requests go to api.openai.com."""
    with opened(tn.Connection(), {"OPENAI_API_KEY": KEY}) as endpoint:
        assert endpoint.request("POST", "/x").url == "https://api.openai.com/v1/x"


@pytest.mark.parametrize(
    "base_url", ["https://other.example/v1", "https://api.openai.com:444/v1", "http://api.openai.com/v1"]
)
def test_the_environments_key_goes_to_the_environments_own_origin_only(base_url):
    """Another scheme, host or port gets no key that was not named for it."""
    message = refusal(tn.Connection(base_url), {"OPENAI_API_KEY": KEY})
    wording(message)
    assert KEY not in message


def test_a_loopback_server_gets_no_key_of_the_environment():
    """A server on this machine needs none, and gets none by accident."""
    assert "Authorization" not in headers(tn.Connection(LOCAL), {"OPENAI_API_KEY": KEY})


def test_a_key_is_named_for_another_server():
    """api_key= and api_key_env= go where they are told to."""
    assert headers(tn.Connection("https://a.example/v1", KEY), {})["Authorization"] == f"Bearer {KEY}"
    named = tn.Connection("https://a.example/v1", api_key_env="OTHER_KEY")
    assert headers(named, {"OTHER_KEY": KEY})["Authorization"] == f"Bearer {KEY}"
    wording.line(refusal(tn.Connection(LOCAL, api_key_env="OTHR_KEY"), {"OTHER_KEY": KEY}))


def test_an_empty_key_sends_none():
    """A server that needs no key can be said to need none."""
    assert "Authorization" not in headers(tn.Connection("https://a.example/v1", ""), {"OPENAI_API_KEY": KEY})


def test_no_key_for_openai_is_said_with_what_to_do():
    """The message names the variable."""
    assert "OPENAI_API_KEY" in refusal(tn.Connection(), {})


def test_plain_http_to_another_machine_is_refused_when_a_key_would_travel():
    """A key travels over TLS or to this machine, unless it is allowed by name."""
    assert "unencrypted" in refusal(tn.Connection("http://a.example/v1", KEY), {})
    assert "unencrypted" in refusal(tn.Connection("http://a.example/v1", "", headers={"X-Api-Key": KEY}), {})
    allowed = tn.Connection("http://a.example/v1", KEY, allow_insecure=True)
    assert headers(allowed, {})["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "[::1]", "LOCALHOST", "app.localhost"])
def test_loopback_is_recognised(host):
    """Every spelling of this machine may be spoken to in the open."""
    assert headers(tn.Connection(f"http://{host}:9/v1", KEY), {})["Authorization"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1.evil.example", "localhost.evil.example", "2130706433.example", "10.0.0.1", "0x7f.1.example"],
)
def test_what_only_looks_like_loopback_is_not(host):
    """A key does not travel in the open to a name that merely resembles this machine."""
    assert "unencrypted" in refusal(tn.Connection(f"http://{host}/v1", KEY), {})


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://h/v1",
        "h/v1",
        "",
        "http://",
        "https://user:pw@h/v1",
        "https://h/v1?a=1",
        "https://h/v1#a",
        "https://h:99999/v1",
        "https://h:x/v1",
        "https://h/v1\r\nX: y",
        "https://h/v 1",
        "http://[::1/v1",
        "https://h\\@evil/v1",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_once(base_url):
    """Schemes, user names, queries and blanks are said, without the address's secrets."""
    with pytest.raises(tn.errors.ConnectionSettingError) as caught:
        tn.Connection(base_url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "key", ["has space", "line\nbreak", 'quo"te', "it's", "schlüssel", "in\ttab", "\x00nul", "cr\r"]
)
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key):
    """The message says what to look for, not what was found."""
    with pytest.raises(tn.errors.ConnectionSettingError) as caught:
        tn.Connection(LOCAL, key)
    assert key not in str(caught.value)
    message = refusal(tn.Connection(LOCAL, api_key_env="K"), {"K": "a b" + key})
    assert key not in message
    assert "K" in message


@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{} \n\n"])
def test_blanks_around_a_key_do_not_matter(around):
    """It may be what a file holds."""
    connection = tn.Connection(LOCAL, around.format(KEY))
    assert connection == tn.Connection(LOCAL, KEY)
    with opened(connection, {}) as endpoint:
        assert dict(endpoint.headers)["Authorization"].reveal() == f"Bearer {KEY}"


@given(st.text(alphabet=st.sampled_from("a\r\n\x00\x7f"), min_size=1).filter(lambda t: set(t) != {"a"}))
def test_no_header_can_be_injected(value):
    """CR, LF and NUL in a header's value are refused, without the value."""
    with pytest.raises(tn.errors.ConnectionSettingError) as caught:
        tn.Connection(LOCAL, headers={"X-Custom": value})
    assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "a b", "a:b", "", "ä"])
def test_header_names_that_break_a_request_are_refused(name):
    """What the connection sets itself stays its own."""
    with pytest.raises(tn.errors.ConnectionSettingError):
        tn.Connection(LOCAL, headers={name: "x"})


def test_a_header_of_ones_own_takes_the_keys_place():
    """An Authorization header that is given is the only one sent."""
    connection = tn.Connection("https://a.example/v1", headers={"authorization": "Basic x"})
    sent = [n for n in headers(connection, {"OPENAI_API_KEY": KEY}) if n.casefold() == "authorization"]
    assert sent == ["authorization"]


def test_a_query_is_part_of_every_address():
    """Such as an API version."""
    with opened(tn.Connection(LOCAL, query={"api-version": "1 2"}), {}) as endpoint:
        assert endpoint.request("POST", "/x").url == LOCAL + "/x?api-version=1+2"


def everything_that_shows(connection):
    yield from (
        repr(connection),
        str(connection),
        f"{connection}",
        repr(vars(connection)),
        repr(dataclasses.asdict(connection)),
    )
    yield pickle.dumps(connection).decode("latin-1")
    yield repr(copy.copy(connection))
    yield repr(copy.deepcopy(connection))
    with opened(connection, {}) as endpoint:
        yield repr(endpoint)
        yield repr(endpoint.request("POST", "/x"))


def test_no_secret_shows_itself():
    """Neither the key nor a sensitive header nor a proxy's password is in any text, dump or pickle."""
    connection = tn.Connection(
        "https://a.example/v1",
        KEY,
        headers={"X-Api-Key": KEY + "-h"},
        proxy=f"http://u:{KEY}-p@proxy.example:1",
    )
    for shown in everything_that_shows(connection):
        assert "canary" not in shown


def test_a_key_that_was_given_for_its_variables_name_is_not_shown():
    """A slip of the hand puts no key on the screen."""
    with pytest.raises(tn.errors.ConnectionSettingError) as caught:
        tn.Connection(LOCAL, api_key_env="sk-proj-canary")
    assert "canary" not in str(caught.value)
    assert "canary" not in refusal(tn.Connection(LOCAL, api_key_env="AIzacanary"), {})


def test_a_key_in_the_query_is_a_secret_too():
    """Sent, and shown nowhere."""
    connection = tn.Connection("https://a.example/v1", "", query={"key": "AIza-canary-123", "v": 1})
    for shown in everything_that_shows(connection):
        assert "canary" not in shown
    with opened(connection, {}) as endpoint:
        assert endpoint.request("POST", "/x").url.endswith("?key=AIza-canary-123&v=1")
        assert endpoint.secrets == (b"AIza-canary-123",)
    wording(refusal(pickle.loads(pickle.dumps(connection)), {}))


def test_an_unpickled_connection_says_that_its_key_is_missing():
    """It never falls back to another key."""
    travelled = pickle.loads(pickle.dumps(tn.Connection("https://a.example/v1", KEY)))
    assert "missing" in refusal(travelled, {"OPENAI_API_KEY": KEY})
    by_header = pickle.loads(pickle.dumps(tn.Connection("https://a.example/v1", headers={"X-Api-Key": KEY})))
    wording(refusal(by_header, {}))


def test_a_connection_that_names_a_variable_travels_whole():
    """The environment is read where it arrives."""
    connection = tn.Connection("https://a.example/v1", api_key_env="K", timeout=5, query={"a": "b"})
    travelled = pickle.loads(pickle.dumps(connection))
    assert travelled == connection
    assert headers(travelled, {"K": KEY})["Authorization"] == f"Bearer {KEY}"


def test_connections_compare_by_value():
    """Two of the same settings are equal; another key makes another connection."""
    assert tn.Connection(LOCAL, KEY) == tn.Connection(LOCAL, KEY)
    assert tn.Connection(LOCAL, KEY) != tn.Connection(LOCAL, KEY + "x")


def test_a_failure_shows_no_key_in_its_traceback_and_locals():
    """Tools that print local variables print no secret."""
    try:
        with opened(tn.Connection("http://a.example/v1", KEY), {}):
            pass
    except tn.errors.ConnectionSettingError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("address", "settings"),
    [
        (LOCAL, {"api_key": "canary\r"}),
        (LOCAL, {"api_key": "ca nary"}),
        (LOCAL, {"api_key": "canary", "api_key_env": "K"}),
        (LOCAL, {"api_key": "canary", "timeout": -1}),
        (LOCAL, {"api_key": "canary", "tranport": "curl"}),
        (LOCAL, {"headers": {"X-Token": "canary\r\n"}}),
        (LOCAL, {"headers": {"X-Token": "canary", "X\n": "a"}}),
        (LOCAL, {"query": {"token": "canary", "b": True}}),
        (LOCAL, {"proxy": "htp://u:canary@127.0.0.1:1"}),
        (LOCAL, {"proxy": "http://u:canary@127.0.0.1:1", "transport": "crul"}),
        ("http://u:canary@127.0.0.1/v1", {}),
        ("http://u:canary@127.0.0.1:x/v1", {}),
    ],
)
def test_a_connection_that_is_refused_shows_no_secret_in_its_locals(address, settings):
    """Nor in those of an error behind it; positional or by name."""
    refused = (tn.errors.TablenodesError, TypeError)
    with pytest.raises(refused) as caught:
        tn.Connection(address, **settings)
    shown = [caught.value]
    if "api_key" in settings:
        named = {name: value for name, value in settings.items() if name != "api_key"}
        with pytest.raises(refused) as caught:
            tn.Connection(address, settings["api_key"], **named)
        shown.append(caught.value)
    for error in shown:
        error.__traceback__ = error.__traceback__.tb_next  # the test's own frame knows it
        assert error.__traceback__ is not None
        assert error.__context__ is error.__cause__ is None
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        assert "canary" not in "".join(lines).replace("ca nary", "canary")


def test_a_key_of_the_environment_is_not_among_the_locals_of_its_check():
    """Whoever calls it, nothing but the name of the variable is left."""
    with pytest.raises(tn.errors.ConnectionSettingError) as caught:
        addresses.check_key("canary\r", "K")
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    assert "canary" not in "".join(
        traceback.TracebackException.from_exception(caught.value, capture_locals=True).format()
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"transport": "crul"},
        {"transport": object()},
        {"session": object()},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"ca_bundle": "/no/such/file"},
        {"proxy": "nowhere"},
        {"api_key": "a", "api_key_env": "b"},
        {"api_key": 3},
        {"headers": ["a"]},
        {"query": ["a"]},
        {"query": {"a": None}},
        {"ca_bundle": 5},
        {"api_key_env": 5},
        {"allow_insecure": "no"},
    ],
)
def test_settings_that_cannot_be_used_are_said_at_once(settings):
    """The constructor checks; nothing is sent later on with half of it."""
    with wording.raises(tn.errors.UsageError):
        tn.Connection(LOCAL, **settings)


def test_a_number_as_timeout_is_the_total():
    """A short total shortens the connect timeout too."""
    assert tn.Connection(timeout=5).timeout == tn.Timeout(total=5, connect=5)
    assert tn.Connection(timeout=50).timeout == tn.Timeout(total=50, connect=10)


def test_a_secret_is_a_value():
    """It compares, hashes, cannot be changed and says when it is missing."""
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a")}) == 1
    with pytest.raises(AttributeError):
        Secret("a").x = 1
    with pytest.raises(ValueError, match="missing"):
        pickle.loads(pickle.dumps(Secret("a"))).reveal()


def test_opening_reads_the_process_environment_by_default(monkeypatch):
    """os.environ is read at the run, not at import or construction."""
    connection = tn.Connection()
    monkeypatch.setitem(os.environ, "OPENAI_BASE_URL", LOCAL)
    with opened(connection) as endpoint:
        assert endpoint.base_url == LOCAL


@pytest.mark.parametrize(
    ("variables", "settings"),
    [
        ({"OPENAI_API_KEY": "ca\rnary"}, {}),
        ({"OTHER_KEY": "ca\rnary"}, {"api_key_env": "OTHER_KEY"}),
        ({"OPENAI_API_KEY": "canary", "OPENAI_BASE_URL": "no address"}, {}),
    ],
)
def test_the_environment_is_in_no_traceback(variables, settings, monkeypatch):
    """It holds every key: of ours, and of whatever else runs here."""
    monkeypatch.setenv("ANOTHER_SECRET", "canary")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    table = pd.DataFrame({"prompt": ["a"]})
    with pytest.raises(tn.errors.ConnectionSettingError) as caught:
        tn.CreateChatCompletion(model="m").run(table, tn.Connection(**settings), progress=False)
    caught.value.__traceback__ = caught.value.__traceback__.tb_next
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "canary" not in shown
    assert "ca\\rnary" not in shown


@pytest.mark.parametrize(
    "given",
    [
        lambda: tn.Workflow({"a": CHAT}, connection="local").connection,
        lambda: tn.Step(CHAT, connection="local").connection,
        lambda: checked("local"),
        lambda: connections_of(tn.Workflow({"a": CHAT}), "local")["a"],
    ],
)
def test_the_embedded_model_is_named_wherever_a_connection_goes(given):
    assert given() == tn.Connection.local()


def test_another_text_is_no_connection():
    with wording.raises(tn.errors.SettingError):
        checked("https://host.example/v1")
