"""Bearer tokens as they come over the wire: where a token may stand, what a refusal says, what the upstream is told.

The grammar of tokens and claims is tested in tests/policy/test_jwt.py; here a sample of them shows that over HTTP every
bad one looks the same and that none gets through.
"""

import json
import time
from collections.abc import Iterator

import pytest

from harness import configs
from harness.gateway import Gateway, running
from harness.tokens import SECRET, encoded, signed, token
from harness.upstream import OK, Upstream, replying
from harness.wire_reader import Message, Stream, read_response

pytestmark = pytest.mark.process

JWT = configs.jwt('issuer = "https://issuer.test"', 'audience = "api"', 'leeway = "0s"')

FAR = 4_000_000_000
HS256 = b'{"alg":"HS256"}'
NONE = b'{"alg":"none"}'


class Service:
    """A gateway in front of an upstream that answers everything."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self.upstream = upstream

    def ask(self, *lines: str, target: str = "/", body: bytes = b"", method: str = "GET") -> Message:
        """Send a request with these header lines on a connection of its own."""
        head = [f"{method} {target} HTTP/1.1", "Host: api.test", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        with self.gateway.connect() as sock:
            sock.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            message = read_response(Stream.of(sock), method.encode())
        assert message is not None
        return message

    def forwarded(self, response: Message) -> list[Message]:
        """The upstream's requests that belong to this response."""
        (ident,) = response.values(b"x-request-id")
        return [request for request in self.upstream.requests if request.values(b"x-request-id") == [ident]]

    def reason(self, response: Message) -> str:
        """The log's word for what became of it."""
        (ident,) = response.values(b"x-request-id")
        return str(self.gateway.line(requestId=ident.decode())["reason"])

    def assert_accepted(self, response: Message, user: bytes = b"alice") -> None:
        assert response.status == 200
        (request,) = self.forwarded(response)
        assert request.values(b"x-user-id") == [user]

    def assert_refused(self, response: Message, challenge: bytes, public: str, reason: str) -> None:
        assert response.status == 401
        assert response.values(b"www-authenticate") == [challenge]
        assert json.loads(response.body)["reason"] == public
        assert self.forwarded(response) == []
        assert self.reason(response) == reason


@pytest.fixture(scope="module", params=["fast", "h11"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("jwt")
    with Upstream(replying(OK)) as upstream:
        config = (
            configs.gateway(f'parser = "{request.param}"')
            + JWT
            + configs.upstream("service", upstream.target)
            + configs.route("/", "service", auth="jwt.main")
        )
        with running(directory, config, {"JWT_SECRET": SECRET}) as gateway:
            yield Service(gateway, upstream)


def good(**claims: object) -> str:
    return token({"iss": "https://issuer.test", "aud": "api", "sub": "alice", "exp": FAR, **claims})


MISSING = (b'Bearer realm="rawgate"', "auth_missing", "auth_missing")
INVALID = b'Bearer realm="rawgate", error="invalid_token"'


def test_a_good_token(service: Service) -> None:
    service.assert_accepted(service.ask(f"Authorization: Bearer {good()}"))


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEARER"])
def test_scheme_in_any_case(service: Service, scheme: str) -> None:
    """RFC 9110 section 11.1."""
    service.assert_accepted(service.ask(f"authorization: {scheme} {good()}"))


def test_no_authorization(service: Service) -> None:
    """RFC 6750 section 3.1: without a credential the challenge has no error code."""
    service.assert_refused(service.ask(), *MISSING)


@pytest.mark.parametrize("line", ["Authorization: Bearer", "Authorization: Bearer    ", "Authorization:"])
def test_no_token(service: Service, line: str) -> None:
    response = service.ask(line)
    assert response.status == 401
    assert response.values(b"www-authenticate")[0].startswith(b"Bearer")
    assert service.forwarded(response) == []


def two_tokens() -> list[list[str]]:
    one, two = good(), good(sub="bob")
    return [
        [f"Authorization: Bearer {one} {two}"],
        [f"Authorization: Bearer {one}, Bearer {two}"],
        [f"Authorization: Bearer {one}", f"Authorization: Bearer {two}"],
        [f"Authorization: Bearer {one}", f"authorization: Bearer {one}"],
    ]


@pytest.mark.parametrize("lines", two_tokens(), ids=["blank", "comma", "lines", "same-twice"])
def test_two_tokens(service: Service, lines: list[str]) -> None:
    response = service.ask(*lines)
    assert response.status in {400, 401}
    assert service.forwarded(response) == []


@pytest.mark.parametrize("scheme", ["Basic", "DPoP", "Token", "BearerX"])
def test_other_scheme(service: Service, scheme: str) -> None:
    response = service.ask(f"Authorization: {scheme} {good()}")
    assert response.status == 401
    assert response.values(b"www-authenticate")[0].startswith(b"Bearer")
    assert service.forwarded(response) == []


def test_token_in_the_query_is_no_credential(service: Service) -> None:
    response = service.ask(target=f"/q?access_token={good()}")
    service.assert_refused(response, *MISSING)
    (ident,) = response.values(b"x-request-id")
    assert "access_token" not in json.dumps(service.gateway.line(requestId=ident.decode()))


def test_token_in_a_form_is_no_credential(service: Service) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"
    service.assert_refused(service.ask(form, method="POST", body=f"access_token={good()}".encode()), *MISSING)


def test_token_of_8_kb(service: Service) -> None:
    service.assert_accepted(service.ask(f"Authorization: Bearer {good(pad='x' * 6000)}"))


@pytest.mark.parametrize("size", [64_000, 1_000_000])
def test_token_beyond_the_limit_of_a_head(service: Service, size: int) -> None:
    """Refused before all of it is read."""
    response = service.ask(f"Authorization: Bearer {'x' * size}")
    assert response.status == 431
    assert service.forwarded(response) == []


def bad_tokens() -> dict[str, tuple[str, str]]:
    """Name → (token, the log's word)."""
    whole = good()
    head, payload, mac = whole.split(".")
    claims = json.loads(b'{"iss":"https://issuer.test","aud":"api","sub":"alice","exp":4000000000}')
    body = json.dumps(claims).encode()
    return {
        "two segments": (f"{head}.{payload}", "auth_malformed"),
        "four segments": (f"{whole}.", "auth_malformed"),
        "empty signature": (f"{head}.{payload}.", "auth_malformed"),
        "padded signature": (f"{whole}=", "auth_malformed"),
        "stray bits": (whole[:-1] + chr(ord(whole[-1]) + 1), "auth_malformed"),
        "another secret": (token(claims, "another secret of at least 32 octets"), "auth_bad_signature"),
        "another payload": (f"{head}.{encoded(body.replace(b'alice', b'root'))}.{mac}", "auth_bad_signature"),
        "alg none": (encoded(NONE) + f".{payload}.", "auth_bad_signature"),
        "alg HS512": (signed(b'{"alg":"HS512"}', body), "auth_bad_signature"),
        "crit": (signed(b'{"alg":"HS256","crit":["x"],"x":1}', body), "auth_malformed"),
        "payload is no object": (signed(HS256, b"[]"), "auth_malformed"),
        "payload is UTF-16": (signed(HS256, body.decode().encode("utf-16")), "auth_malformed"),
        "duplicate claim": (signed(HS256, body.replace(b"{", b'{"exp":1,')), "auth_malformed"),
        "exp is a string": (good(exp=str(FAR)), "auth_bad_claim"),
        "exp is true": (good(exp=True), "auth_bad_claim"),
        "exp is too large a number": (signed(HS256, body.replace(b"4000000000", b"1e400")), "auth_bad_claim"),
        "no exp": (token({"iss": "https://issuer.test", "aud": "api", "sub": "alice"}), "auth_malformed"),
        "nbf in the future": (good(nbf=FAR - 1), "auth_not_yet_valid"),
        "another issuer": (good(iss="https://issuer.test/"), "auth_wrong_issuer"),
        "another audience": (good(aud=["other"]), "auth_wrong_audience"),
        "sub is a number": (good(sub=7), "auth_bad_claim"),
        "sub has a line end": (good(sub="alice\r\nX-Admin: 1"), "auth_bad_claim"),
        "forged and expired": (token({"exp": 1}, "another secret of at least 32 octets"), "auth_bad_signature"),
    }


def test_every_bad_token_gets_the_same_answer(service: Service) -> None:
    """Whoever guesses learns nothing: not one octet differs but the request's id. The log knows the reason."""
    answers: dict[str, tuple[object, ...]] = {}
    logged: dict[str, str] = {}
    for name, (text, _) in bad_tokens().items():
        response = service.ask(f"Authorization: Bearer {text}")
        (ident,) = response.values(b"x-request-id")
        fields = [(key, value) for key, value in response.fields if key not in {b"X-Request-Id", b"Date"}]
        answers[name] = (response.start, fields, response.body.replace(ident, b"ID"))
        logged[name] = service.reason(response)
        assert service.forwarded(response) == []
        assert response.values(b"www-authenticate") == [INVALID], name
    first = next(iter(answers.values()))
    assert answers == dict.fromkeys(answers, first)
    assert logged == {name: reason for name, (_, reason) in bad_tokens().items()}


def test_expired(service: Service) -> None:
    """The one thing that a client with a good signature is told, so that it can fetch a new token."""
    service.assert_refused(service.ask(f"Authorization: Bearer {good(exp=1)}"), INVALID, "auth_expired", "auth_expired")


def test_a_remembered_token_expires_all_the_same(service: Service) -> None:
    """Asked again and again until it is refused: accepted only before `exp`, refused only after."""
    accepted = 0
    # The third time it is a remembered one. On a busy machine the first one may be over by then.
    for lasts in (0.6, 3.0, 15.0):
        exp = time.time() + lasts
        line = f"Authorization: Bearer {good(exp=exp)}"
        accepted = 0
        while True:
            sent = time.time()
            response = service.ask(line)
            if response.status != 200:
                break
            assert sent < exp
            accepted += 1
        assert time.time() >= exp
        service.assert_refused(response, INVALID, "auth_expired", "auth_expired")
        if accepted > 2:
            break
    assert accepted > 2


def test_a_remembered_token_vouches_for_no_other_signature(service: Service) -> None:
    whole = good(sub="carol")
    for _ in range(2):
        service.assert_accepted(service.ask(f"Authorization: Bearer {whole}"), b"carol")
    head, payload, mac = whole.split(".")
    other = f"{head}.{payload}.{'A' if mac[0] != 'A' else 'B'}{mac[1:]}"
    response = service.ask(f"Authorization: Bearer {other}")
    service.assert_refused(response, INVALID, "auth_invalid", "auth_bad_signature")


@pytest.mark.parametrize(
    "lines",
    [
        ["X-User-Id: mallory"],
        ["x-user-id: mallory", "X-USER-ID: eve"],
        ["X_User_Id: mallory"],
        ["X-User_Id: mallory"],
        ["X-User-Id:"],
    ],
)
def test_identity_from_the_client_is_not_forwarded(service: Service, lines: list[str]) -> None:
    """Nor anything that a server would take for the same name after `_` → `-`."""
    response = service.ask(*lines, f"Authorization: Bearer {good()}")
    service.assert_accepted(response)
    (request,) = service.forwarded(response)
    names = [name.lower().replace(b"_", b"-") for name, _ in request.fields]
    assert names.count(b"x-user-id") == 1


def test_identity_cannot_be_taken_away_by_connection(service: Service) -> None:
    response = service.ask("Connection: X-User-Id", f"Authorization: Bearer {good()}")
    assert response.status == 400
    assert service.forwarded(response) == []
