"""Questions to name servers, over real sockets: both families, TTL, SRV, and all the ways in which an answer fails."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import uvloop

from harness.name_server import NameServer
from harness.stalls import again_after_stalls
from rawgate.net import nameservers as module
from rawgate.net.instances import Instance
from rawgate.net.names import Found, LookUpError
from rawgate.net.nameservers import Nameservers

pytestmark = pytest.mark.process

Result = TypeVar("Result")

BOTH = {("a.test", "A"): ["127.0.0.3", "127.0.0.2"], ("a.test", "AAAA"): ["fd00::2", "fd00::1"]}


def ask(script: Callable[[Nameservers], Awaitable[Result]], *servers: NameServer | tuple[str, int]) -> Result:
    async def run() -> Result:
        addresses = [server.address if isinstance(server, NameServer) else server for server in servers]
        return await script(Nameservers(addresses))

    return uvloop.run(run())


def addresses(host: str, *servers: NameServer | tuple[str, int], before: tuple[str, ...] = ()) -> Found:
    return ask(lambda asked: asked.addresses(host, before), *servers)


@again_after_stalls(module.ONE_SERVER / 2)
def test_both_families_take_turns_in_an_order_of_their_own() -> None:
    with NameServer(BOTH, ttl=17) as server:
        assert addresses("a.test", server) == Found(("fd00::1", "127.0.0.2", "fd00::2", "127.0.0.3"), 17.0)
        assert sorted(server.asked) == [("a.test", "A", "udp"), ("a.test", "AAAA", "udp")]


def test_one_family_is_enough() -> None:
    with NameServer({("a.test", "A"): ["127.0.0.2"], ("b.test", "AAAA"): ["fd00::1"]}) as server:
        assert addresses("a.test", server).addresses == ("127.0.0.2",)
        assert addresses("b.test", server).addresses == ("fd00::1",)


@pytest.mark.parametrize("trouble", ["silent", "failing"])
def test_a_family_that_cannot_be_asked_for_keeps_its_last_addresses(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "silent":
        monkeypatch.setattr(module, "OTHER_FAMILY", 0.05)
    with NameServer(BOTH) as server:
        getattr(server, trouble).add("AAAA")
        found = addresses("a.test", server, before=("fd00::9", "127.0.0.9"))
        assert set(found.addresses) == {"fd00::9", "127.0.0.2", "127.0.0.3"}


def test_a_family_that_is_not_there_any_more_goes() -> None:
    with NameServer({("a.test", "A"): ["127.0.0.2"]}) as server:
        assert addresses("a.test", server, before=("fd00::9",)).addresses == ("127.0.0.2",)


@pytest.mark.parametrize(
    ("host", "failing", "why"),
    [
        ("no.test", "", "no such name"),
        ("txt.test", "", "it has no addresses"),
        ("a.test", "A AAAA", "the name server says SERVFAIL"),
        (f"{'a' * 64}.test", "", "A DNS label is > 63 octets long."),
    ],
)
def test_why_there_is_no_address(host: str, failing: str, why: str) -> None:
    with NameServer({**BOTH, ("txt.test", "TXT"): ["x"]}) as server:
        server.failing = set(failing.split())
        with pytest.raises(LookUpError) as raised:
            addresses(host, server)
        assert str(raised.value) == why


@again_after_stalls(0.15)
def test_the_next_server_is_asked_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ONE_SERVER", 0.3)
    with NameServer(BOTH) as failing, NameServer(BOTH) as silent, NameServer(BOTH) as good:
        failing.failing = silent.silent = {"A", "AAAA"}
        assert len(addresses("a.test", failing, silent, good).addresses) == 4
        assert len(failing.asked) == len(silent.asked) == 2


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ONE_SERVER", 0.05)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with NameServer(BOTH) as server:
        server.silent = {"A", "AAAA"}
        with pytest.raises(LookUpError, match="no name server answers"):
            addresses("a.test", server)


def test_an_answer_that_is_too_large_for_udp_comes_over_tcp() -> None:
    many = [f"127.0.{number // 250}.{number % 250 + 1}" for number in range(600)]
    with NameServer({("a.test", "A"): many}) as server:
        server.truncated = {"A"}
        assert set(addresses("a.test", server).addresses) == set(many)
        assert ("a.test", "A", "tcp") in server.asked


def test_localhost_is_asked_of_nobody() -> None:
    with NameServer() as server:
        for host in ("localhost", "LOCALHOST.", "a.localhost"):
            assert addresses(host, server).addresses == ("127.0.0.1", "::1")
        assert server.asked == []


def test_srv() -> None:
    records = ["10 5 8080 a.test.", "20 0 8081 b.test."]
    with NameServer({("_http._tcp.a.test", "SRV"): records, ("none.test", "SRV"): ["0 0 0 ."]}, ttl=9) as server:
        found, ttl = ask(lambda asked: asked.services("_http._tcp.a.test"), server)
        assert found.all == (Instance(False, "a.test", 8080, 5), Instance(True, "b.test", 8081, 1))
        assert ttl == 9.0
        found, _ = ask(lambda asked: asked.services("none.test"), server)
        assert found.all == ()


def test_srv_records_of_which_none_can_be_used() -> None:
    with (
        NameServer({("a.test", "SRV"): ["0 0 0 b.test."]}) as server,
        pytest.raises(LookUpError, match="no instance can be used: 'b\\.test' has no port"),
    ):
        ask(lambda asked: asked.services("a.test"), server)


def test_no_srv_records() -> None:
    with NameServer(BOTH) as server, pytest.raises(LookUpError, match="it has no SRV records"):
        ask(lambda asked: asked.services("a.test"), server)


def test_an_alias_holds_as_long_as_its_shortest_part() -> None:
    with NameServer({("a.test", "A"): ["127.0.0.2"]}, ttl=30) as server:
        server.alias, server.alias_ttl = ("www.test", "a.test"), 4
        assert addresses("www.test", server) == Found(("127.0.0.2",), 4.0)
