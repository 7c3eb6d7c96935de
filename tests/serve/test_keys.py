"""When key sets are fetched, and what becomes of a set that changes, fails, or is pushed by somebody else.

The loop is a real one; its timers are kept back, and what is fetched comes from the test.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from harness.issuer import FAR, jwk, sign
from harness.values import Caller
from rawgate.config.model import Config, Gateway, Jwt, KeySetUrl, Route, Secret, Target, Upstream
from rawgate.errors import AUTH_UNKNOWN_KEY, AUTH_WRONG_ISSUER
from rawgate.net.fetch import Document, FetchError
from rawgate.policy.compile import compile_gate
from rawgate.policy.fetched_keys import FetchedKeys
from rawgate.policy.jwt import JwtVerifier
from rawgate.serve.keys import AHEAD, WELL_KNOWN, KeyKeeper, Source, key_set_url, source_of
from rawgate.serve.load import Loaded

URL = "https://idp.test/keys"
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
PATIENCE = 20.0


def document(*numbers: int, **members: str) -> bytes:
    return json.dumps({"keys": [{**jwk(f"k{number}", KEYS[number]), **members} for number in numbers]}).encode()


def token(number: int, **claims: object) -> bytes:
    return sign(KEYS[number], f"k{number}", {"sub": "alice", "exp": FAR, **claims}).encode()


def loaded(**verifiers: Jwt) -> Loaded:
    config = Config(
        gateway=Gateway(listen=()),
        upstreams={"users": Upstream(targets=(Target("127.0.0.1", 9, "127.0.0.1:9"),))},
        routes=(Route(prefix="/", upstream="users", auth="none"),),
        jwt=verifiers,
    )
    gate = compile_gate(config, new_id=lambda: "", date=lambda: b"", problems=[], warnings=[])
    assert gate is not None
    return Loaded(config, gate)


def remote(url: str = URL, **more: Any) -> Jwt:
    return Jwt(**{"algorithm": ("ES256",), "jwks": KeySetUrl(url), **more})


class Timer:
    """A timer that a test lets run."""

    def __init__(self, delay: float, callback: Callable[[], object]) -> None:
        self.delay = delay
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Loop:
    """What a keeper asks of its loop."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.tasks: list[asyncio.Task[None]] = []

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self.tasks.append(asyncio.get_running_loop().create_task(work))
        return self.tasks[-1]

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        self.timers.append(Timer(delay, callback))
        return self.timers[-1]


class Scene:
    """A keeper, and the world around it.

    coming  what the next fetches bring, in order
    asked   the sources that were fetched from
    """

    def __init__(self, *coming: bytes | Document | Exception) -> None:
        self.loop = Loop()
        self.coming = list(coming)
        self.asked: list[Source] = []
        self.said: list[str] = []
        self.keeper = KeyKeeper(
            cast("asyncio.AbstractEventLoop", self.loop),
            self.fetch,
            self.said.append,
        )

    async def fetch(self, source: Source) -> Document:
        self.asked.append(source)
        found = self.coming.pop(0)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Document) else Document(found, None)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        for task in self.loop.tasks:
            await asyncio.wait([task], timeout=PATIENCE)
            assert task.done()

    async def renew(self, ready: Loaded) -> None:
        self.keeper.renew(ready)
        await self.settle()

    async def fire(self) -> float:
        """Let the last timer run. Returns its delay."""
        timer = self.loop.timers[-1]
        assert not timer.is_cancelled
        timer.callback()
        await self.settle()
        return timer.delay


def verifier(ready: Loaded, name: str = "main") -> JwtVerifier:
    found = ready.gate.credentials[f"jwt.{name}"].by
    assert isinstance(found, JwtVerifier)
    return found


def fetched(ready: Loaded, name: str = "main") -> FetchedKeys:
    found = ready.gate.credentials[f"jwt.{name}"].fetched
    assert found is not None
    return found


ALICE = Caller("sub", "alice")


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, PATIENCE))


def test_keys_come_and_change() -> None:
    async def scene() -> None:
        world, ready = Scene(document(0), document(1, 0), document(1)), loaded(main=remote())
        world.keeper.renew(ready)
        assert fetched(ready).is_coming(0.0)
        assert verifier(ready).verify(token(0), 0.0) is AUTH_UNKNOWN_KEY
        await world.settle()
        assert [verifier(ready).verify(token(number), 0.0) for number in (0, 1)] == [ALICE, AUTH_UNKNOWN_KEY]
        await world.fire()
        assert [verifier(ready).verify(token(number), 0.0) for number in (0, 1)] == [ALICE, ALICE]
        await world.fire()
        assert [verifier(ready).verify(token(number), 0.0) for number in (0, 1)] == [AUTH_UNKNOWN_KEY, ALICE]
        assert world.asked == [Source(URL)] * 3
        assert world.said == []

    play(scene())


@pytest.mark.parametrize(
    ("fresh_for", "delay"),
    [
        (None, 480.0),
        (0.0, 48.0),
        (59.0, 48.0),
        (61.0, 61 * AHEAD),
        (3600.0, 2880.0),
        (1e9, 2880.0),
    ],
)
def test_the_next_fetch_comes_before_the_set_is_stale(fresh_for: float | None, delay: float) -> None:
    async def scene() -> None:
        world = Scene(Document(document(0), fresh_for))
        await world.renew(loaded(main=remote()))
        assert [timer.delay for timer in world.loop.timers] == [pytest.approx(delay)]

    play(scene())


def test_the_last_good_keys_stay_and_failures_are_told_seldom() -> None:
    async def scene() -> None:
        failing: list[bytes | Document | Exception] = [
            FetchError("status 500"),
            document(0, kty="oct"),
            b"garbage",
            *[FetchError("refused")] * 5,
        ]
        world, ready = Scene(document(0), *failing, document(0)), loaded(main=remote())
        await world.renew(ready)
        delays = [await world.fire() for _ in range(8)]
        assert delays[1:] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        assert [verifier(ready).verify(same, 0.0) for same in [token(0)] * 2] == [ALICE] * 2
        assert len(verifier(ready).keys.memory) == 1
        assert world.said == [f"jwt.main: the keys at {URL} cannot be fetched: status 500; the last ones are used"]
        assert not fetched(ready).empty
        await world.fire()
        assert world.said[1:] == ["jwt.main: the keys can be fetched again"]
        # The same document as before: what is remembered stays.
        assert len(verifier(ready).keys.memory) == 1

    play(scene())


def test_without_keys_there_is_a_time_to_come_back() -> None:
    async def scene() -> None:
        world, ready = Scene(FetchError("status 500"), document(0)), loaded(main=remote())
        await world.renew(ready)
        assert world.said == [
            f"jwt.main: the keys at {URL} cannot be fetched: status 500; requests get 503 until they can"
        ]
        assert fetched(ready).empty
        assert not fetched(ready).is_coming(1e9)
        await world.fire()
        assert not fetched(ready).empty

    play(scene())


def test_a_mistake_of_ours_is_a_failure_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    async def scene() -> None:
        world, ready = Scene(RuntimeError("oops"), document(0)), loaded(main=remote())
        await world.renew(ready)
        assert "a mistake of the gateway" in world.said[0]
        assert "oops" in capsys.readouterr().err
        await world.fire()
        assert verifier(ready).verify(token(0), 0.0) == ALICE

    play(scene())


def test_skipped_keys_are_told_once() -> None:
    async def scene() -> None:
        both = json.dumps({"keys": [jwk("k0", KEYS[0]), {**jwk("k1", KEYS[1]), "x": "AA"}]}).encode()
        world = Scene(both, both)
        await world.renew(loaded(main=remote()))
        await world.fire()
        assert world.said == ["jwt.main: key 2 is no point of P-256; it is passed over"]

    play(scene())


def test_verifiers_of_one_source_share_a_fetch() -> None:
    async def scene() -> None:
        other = remote(issuer=("https://idp.test",))
        world, ready = Scene(document(0)), loaded(main=remote(), other=other)
        await world.renew(ready)
        assert verifier(ready).verify(token(0), 0.0) == ALICE
        assert verifier(ready, "other").verify(token(0), 0.0) is AUTH_WRONG_ISSUER
        assert len(world.asked) == 1

    play(scene())


def test_one_verifier_that_finds_no_key_does_not_hold_up_the_other() -> None:
    async def scene() -> None:
        world, ready = Scene(document(0)), loaded(main=remote(), other=remote(algorithm=("RS256",)))
        await world.renew(ready)
        assert verifier(ready).verify(token(0), 0.0) == ALICE
        assert (fetched(ready).empty, fetched(ready, "other").empty) == (False, True)
        assert "no key in this set may verify RS256" in world.said[0]

    play(scene())


def test_a_reload_keeps_keys_of_the_same_source_and_no_memory() -> None:
    async def scene() -> None:
        world, ready = Scene(document(0), document(2)), loaded(main=remote())
        await world.renew(ready)
        assert verifier(ready).verify(token(0), 0.0) == ALICE
        stricter = loaded(main=remote(issuer=("https://idp.test",)))
        await world.renew(stricter)
        assert verifier(stricter).verify(token(0), 0.0) is AUTH_WRONG_ISSUER
        assert len(world.asked) == 1
        moved = loaded(main=remote(f"{URL}/new"))
        await world.renew(moved)
        assert world.asked == [Source(URL), Source(f"{URL}/new")]
        assert verifier(moved).verify(token(2), 0.0) == ALICE
        assert world.loop.timers[0].is_cancelled
        await world.renew(loaded())
        assert world.loop.timers[-1].is_cancelled

    play(scene())


def test_requests_from_before_a_reload_are_served_by_the_fetch_that_was_under_way() -> None:
    async def scene() -> None:
        world, old, new = Scene(document(0)), loaded(main=remote()), loaded(main=remote())
        called: list[str] = []
        world.keeper.renew(old)
        fetched(old).subscribe(lambda: called.append("old"))
        world.keeper.renew(new)
        assert fetched(new).is_coming(0.0)
        fetched(new).subscribe(lambda: called.append("new"))
        await world.settle()
        assert called == ["old", "new"]
        assert [verifier(ready).verify(token(0), 0.0) for ready in (old, new)] == [ALICE, ALICE]
        assert len(world.asked) == 1

    play(scene())


def test_an_unknown_key_fetches_ahead_of_time() -> None:
    async def scene() -> None:
        world, ready = Scene(document(0), document(0, 1)), loaded(main=remote())
        await world.renew(ready)
        assert fetched(ready).is_coming(100.0)
        await world.settle()
        assert verifier(ready).verify(token(1), 0.0) == ALICE
        assert not fetched(ready).is_coming(109.0)
        # The timer of the first fetch has made room for that of the second.
        assert [timer.is_cancelled for timer in world.loop.timers] == [True, False]

    play(scene())


def test_what_somebody_else_has_fetched_is_taken() -> None:
    async def scene() -> None:
        world, ready = Scene(FetchError("down")), loaded(main=remote())
        await world.renew(ready)
        world.keeper.take(Source(URL), Document(document(1), 3600.0))
        await world.settle()
        assert verifier(ready).verify(token(1), 0.0) == ALICE
        assert world.loop.timers[-1].delay == pytest.approx(2880.0)
        world.keeper.take(Source("https://unknown.test"), Document(b"", None))
        assert len(world.asked) == 1

    play(scene())


def test_what_is_taken_comes_before_a_fetch_that_is_under_way() -> None:
    async def scene() -> None:
        world, ready = Scene(document(0)), loaded(main=remote())
        world.keeper.renew(ready)
        world.keeper.take(Source(URL), Document(document(1), None))
        await world.settle()
        assert verifier(ready).verify(token(1), 0.0) == ALICE
        assert world.asked == []

    play(scene())


def test_the_end_lets_all_go() -> None:
    async def scene() -> None:
        world, ready = Scene(document(0)), loaded(main=remote())
        called: list[str] = []
        world.keeper.renew(ready)
        fetched(ready).subscribe(lambda: called.append("let go"))
        world.keeper.close()
        await world.settle()
        assert called == ["let go"]
        assert world.asked == []
        assert world.loop.timers == []
        assert not fetched(ready).is_coming(0.0)

    play(scene())


def test_sources() -> None:
    authority = Secret("file:ca.pem", b"PEM")
    issuer = ("https://idp.test/realm/",)
    assert source_of(Jwt(algorithm=("HS256",), secret=(Secret("s", b"s" * 32),))) is None
    assert source_of(remote(jwks_ca=authority, issuer=issuer)) == Source(URL, "", "PEM")
    assert source_of(remote("", issuer=issuer)) == Source(f"https://idp.test/realm{WELL_KNOWN}", issuer[0])


@pytest.mark.parametrize(
    ("found", "issuer", "said"),
    [
        (b"<html>", "https://a.test", "not a discovery document"),
        (b'{"issuer": "https://a.test"}', "https://a.test", "not a discovery document"),
        (b'{"issuer": "https://a.test/", "jwks_uri": "https://a.test/k"}', "https://a.test", "is that of"),
        (b'{"issuer": "https://a.test", "jwks_uri": "http://a.test/k"}', "https://a.test", "comes in the clear"),
        (b'{"issuer": "https://a.test", "jwks_uri": "http://127.0.0.1/k"}', "https://a.test", 'no "https://" URL'),
        (b'{"issuer": "https://a.test", "jwks_uri": "file:///etc/passwd"}', "https://a.test", "is not a URL"),
        (b'{"issuer": "https://a.test", "jwks_uri": "https://a.test/k\\r\\nX: y"}', "https://a.test", "is not a URL"),
    ],
)
def test_discovery_documents_that_are_not_believed(found: bytes, issuer: str, said: str) -> None:
    with pytest.raises(FetchError, match=said):
        key_set_url(found, issuer)


def test_a_discovery_document_names_the_set_wherever_it_is() -> None:
    found = b'{"issuer": "https://a.test", "jwks_uri": "https://keys.test/k", "x": 1}'
    assert key_set_url(found, "https://a.test") == "https://keys.test/k"
    local = b'{"issuer": "http://localhost:1", "jwks_uri": "http://127.0.0.1:2/k"}'
    assert key_set_url(local, "http://localhost:1") == "http://127.0.0.1:2/k"
