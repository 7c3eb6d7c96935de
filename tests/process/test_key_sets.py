"""Keys that are fetched from an identity provider: a real gateway process, a real HTTPS server that rotates its keys.

When what is fetched again is tested in tests/serve/test_keys.py, where a test moves the clock.
"""

import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from harness import configs
from harness.gateway import Gateway, running
from harness.issuer import Issuer, IssuerProcess
from harness.upstream import OK, Upstream, replying
from harness.wire_reader import Message, Stream, read_response
from rawgate.policy.fetched_keys import EXTRA

pytestmark = pytest.mark.process

PARSERS = pytest.mark.parametrize("parser", ["fast", "h11"])


def config(
    target: str,
    issuer: Issuer | IssuerProcess,
    jwks: str = "",
    *more: str,
    parser: str = "fast",
    gateway_has: tuple[str, ...] = (),
) -> str:
    lines = [
        'algorithm = "ES256"',
        f'issuer = "{issuer.url}"',
        f'jwks = "{jwks or issuer.url + "/keys"}"',
        f'jwks_ca = "file:{issuer.authority}"',
        *more,
    ]
    return (
        configs.gateway(f'parser = "{parser}"', *gateway_has)
        + "[jwt.idp]\n"
        + "\n".join(lines)
        + "\n"
        + configs.upstream("service", target)
        + configs.route("/api", "service", auth="jwt.idp")
        + configs.route("/open", "service")
    )


@contextmanager
def gateway(
    tmp_path: Path, issuer: Issuer | IssuerProcess, jwks: str = "", parser: str = "fast", workers: int = 1
) -> Iterator[Gateway]:
    more = (f"workers = {workers}",)
    with (
        Upstream(replying(OK)) as upstream,
        running(tmp_path, config(upstream.target, issuer, jwks, parser=parser, gateway_has=more)) as found,
    ):
        yield found


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with Issuer(tmp_path) as found:
        yield found


def ask(gateway: Gateway, token: str = "", target: str = "/api") -> Message:
    with gateway.connect() as sock:
        return ask_on(sock, token, target)


def ask_on(sock: socket.socket, token: str = "", target: str = "/api") -> Message:
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    sock.sendall(f"GET {target} HTTP/1.1\r\nHost: api.test\r\n{bearer}\r\n".encode())
    message = read_response(Stream.of(sock), b"GET")
    assert message is not None
    return message


def reason(message: Message) -> str:
    return str(json.loads(message.body)["reason"])


@PARSERS
@pytest.mark.parametrize("jwks", ["", "discover"])
def test_keys_are_fetched(tmp_path: Path, issuer: Issuer, jwks: str, parser: str) -> None:
    with gateway(tmp_path, issuer, jwks, parser) as served:
        assert ask(served, issuer.token("alice")).status == 200
        assert served.line(path="/api")["clientId"] == "alice"
        assert ask(served, issuer.token("alice", iss="https://other.test")).status == 401
        assert ask(served).status == 401
    assert issuer.asked == (["/.well-known/openid-configuration"] if jwks else []) + ["/keys"]


@pytest.mark.parametrize(("parser", "workers"), [("fast", 1), ("h11", 1), ("fast", 2)])
def test_rotation_under_load_loses_no_request(tmp_path: Path, parser: str, workers: int) -> None:
    """The provider signs with a key from the moment on at which it has it: the worst that it may do."""
    done = Event()

    def client(served: Gateway, number: int) -> list[int]:
        statuses = []
        with served.connect() as sock:
            for count in range(100_000):
                statuses.append(ask_on(sock, provider.token(f"user-{number}-{count}")).status)
                if done.is_set():
                    break
        return statuses

    with (
        IssuerProcess(tmp_path) as provider,
        gateway(tmp_path, provider, parser=parser, workers=workers) as served,
        ThreadPoolExecutor(4) as pool,
    ):
        clients = [pool.submit(client, served, number) for number in range(4)]
        served.wait_lines(40, path="/api")
        provider.rotate(keep=1)
        served.wait_lines(len(served.log) + 80, path="/api")
        done.set()
        assert {status for each in clients for status in each.result()} == {200}
        last = ask(served, provider.token("bob"))
        assert last.status == 200
        # The old key is published still, so its tokens are good still.
        assert ask(served, provider.token("carol", key=1)).status == 200
        assert len(provider.asked) == 2


def test_a_flood_of_unknown_keys_causes_one_fetch(tmp_path: Path, issuer: Issuer) -> None:
    """Or one in each span of so many seconds, on a machine that is slow."""
    with gateway(tmp_path, issuer) as served:
        assert ask(served, issuer.token("alice")).status == 200
        began = monotonic()
        with ThreadPoolExecutor(4) as pool:
            forged = [issuer.token("eve", kid=f"made-up-{number}") for number in range(60)]
            found = list(pool.map(lambda token: ask(served, token), forged))
        assert {message.status for message in found} == {401}
        assert {reason(message) for message in found} == {"auth_invalid"}
        assert all(b"invalid_token" in message.values(b"www-authenticate")[0] for message in found)
        assert {line["reason"] for line in served.wait_lines(60, status=401)} == {"auth_unknown_key"}
        assert ask(served, issuer.token("alice")).status == 200
        caused = len(issuer.asked) - 1
        assert 1 <= caused <= 1 + (monotonic() - began) // EXTRA
    assert set(issuer.asked) == {"/keys"}


Answer = Callable[[str], tuple[int, dict[str, str], bytes]]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        pytest.param(lambda _: (500, {}, b""), "status 500", id="error"),
        pytest.param(
            lambda _: (302, {"Location": "https://elsewhere.test/keys"}, b""),
            "redirects are not followed",
            id="redirect",
        ),
        pytest.param(lambda _: (200, {}, b"<html>"), "not a JSON Web Key Set", id="garbage"),
        pytest.param(lambda _: (200, {}, b'{"keys": []}'), "there is no key in this set", id="no-keys"),
        pytest.param(lambda _: (200, {}, b" " * (1 << 20) + b" "), "larger than 1,048,576 octets", id="huge"),
        pytest.param(lambda _: (200, {"Content-Encoding": "gzip"}, b"x"), "compressed", id="compressed"),
    ],
)
def test_a_provider_that_has_no_keys(tmp_path: Path, issuer: Issuer, answer: Answer, said: str) -> None:
    issuer.answer = answer
    with gateway(tmp_path, issuer) as served:
        served.wait_said(said)
        refused = ask(served, issuer.token("alice"))
        assert (refused.status, reason(refused)) == (503, "keys_unavailable")
        assert 1 <= int(refused.values(b"retry-after")[0]) <= 30
        assert served.line(path="/api")["reason"] == "keys_unavailable"
        # Nobody else is held up, and what needs no key is refused at once.
        assert ask(served, target="/open").status == 200
        assert ask(served, "no.token.at-all").status == 401


def test_a_provider_that_is_down_and_comes_back(tmp_path: Path) -> None:
    with Issuer(tmp_path) as issuer:
        pass
    with gateway(tmp_path, issuer) as served:
        served.wait_said("connection refused; requests get 503 until they can")
        assert ask(served, issuer.token("alice")).status == 503
        with issuer:
            served.wait_said("the keys can be fetched again")
            assert ask(served, issuer.token("alice")).status == 200
        assert ask(served, issuer.token("alice")).status == 200


def test_a_slow_provider_holds_up_its_own_requests_only(tmp_path: Path, issuer: Issuer) -> None:
    released = Event()

    def slowly(path: str) -> tuple[int, dict[str, str], bytes]:
        assert released.wait(20.0)
        return issuer.properly(path)

    issuer.answer = slowly
    with gateway(tmp_path, issuer) as served, served.connect() as waiting, served.connect() as gone:
        issuer.wait_asked(1)
        for sock in (waiting, gone):
            sock.sendall(
                f"GET /api HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {issuer.token('alice')}\r\n\r\n".encode()
            )
        assert ask(served, target="/open").status == 200
        gone.close()
        assert served.line(path="/api")["reason"] == "client_gone"
        released.set()
        answer = read_response(Stream.of(waiting), b"GET")
        assert answer is not None
        assert answer.status == 200
    assert issuer.asked == ["/keys"]


def test_a_stop_does_not_wait_for_keys(tmp_path: Path, issuer: Issuer) -> None:
    released = Event()
    issuer.answer = lambda path: (released.wait(20.0), issuer.properly(path))[1]
    try:
        with gateway(tmp_path, issuer) as served:
            issuer.wait_asked(1)
            served.stop()
    finally:
        released.set()


def test_a_server_that_nobody_vouches_for(tmp_path: Path, issuer: Issuer) -> None:
    (tmp_path / "other").mkdir()
    with Issuer(tmp_path / "other") as other:
        issuer.authority.write_bytes(other.authority.read_bytes())
        with gateway(tmp_path, issuer) as served:
            served.wait_said("its certificate is from an unknown authority")
            assert ask(served, issuer.token("alice")).status == 503
    assert issuer.asked == []


def test_an_issuer_speaks_for_itself_only(tmp_path: Path, issuer: Issuer) -> None:
    document = {"issuer": "https://other.test", "jwks_uri": f"{issuer.url}/keys"}
    issuer.answer = lambda _: (200, {}, json.dumps(document).encode())
    with gateway(tmp_path, issuer, "discover") as served:
        served.wait_said("the discovery document is that of 'https://other.test'")
        document |= {"issuer": issuer.url, "jwks_uri": "http://127.0.0.1:1/keys"}
        issuer.wait_asked(2)
        assert ask(served, issuer.token("alice")).status == 503
    assert set(issuer.asked) == {"/.well-known/openid-configuration"}


def reloads(gateway: Gateway) -> int:
    return sum("reloaded" in line for line in gateway.said)


def reloaded_more_than(gateway: Gateway, times: int) -> bool:
    return reloads(gateway) > times


def test_a_reload_keeps_the_keys_and_forgets_the_tokens(tmp_path: Path, issuer: Issuer) -> None:
    with Upstream(replying(OK)) as upstream:
        text = config(upstream.target, issuer)
        with running(tmp_path, text) as gateway:
            assert ask(gateway, issuer.token("alice", aud="shop")).status == 401
            assert ask(gateway, issuer.token("alice")).status == 200
            token = issuer.token("alice", aud="shop")
            for audience, status in (("shop", 200), ("store", 401), ("shop", 200)):
                said = reloads(gateway)
                (tmp_path / "rawgate.toml").write_text(config(upstream.target, issuer, "", f'audience = "{audience}"'))
                gateway.signal(1)
                gateway.wait(partial(reloaded_more_than, gateway, said))
                assert ask(gateway, token).status == status
            assert issuer.asked == ["/keys"]
            (tmp_path / "rawgate.toml").write_text(config(upstream.target, issuer, f"{issuer.url}/other"))
            gateway.signal(1)
            issuer.wait_asked(2)
            assert ask(gateway, issuer.token("alice")).status == 200
            assert issuer.asked == ["/keys", "/other"]
