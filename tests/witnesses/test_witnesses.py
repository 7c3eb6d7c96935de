"""Through the gateway no spelling reaches what its plain spelling may not, whatever server stands behind it, and no
field that the gateway vouches for can be said by the client.

A part of what `tools/witness` does: the servers that start quickly, and of the list every STEP-th spelling, by each
parser lane another part. See README.md.
"""

import os
from collections.abc import Iterator

import pytest

from witnesses.fronts import ALICE, Address, rawgate
from witnesses.judge import findings, octets, reported, wrongs
from witnesses.servers import LOCAL, SERVERS, Report, Server, serving
from witnesses.spellings import KINDS, MARKER, Spelling, everything

SPELLINGS = everything()
STEP = 7
LANES = {"fast": 0, "h11": 2}
"""Lane → where its part begins."""

PLAIN = {
    "admin": Spelling("paths", target=b"/admin"),
    "change": Spelling("methods", b"DELETE", b"/items/1"),
    "items": Spelling("paths", target=b"/items/1"),
    "open": Spelling("paths", target=b"/x"),
}


@pytest.fixture(scope="module", params=[server for server in SERVERS if server.part], ids=str)
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.param
    if missing := found.missing():
        if os.environ.get("RAWGATE_REQUIRE") == "1":
            pytest.fail(f"{missing}, and RAWGATE_REQUIRE=1 asks for it")
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def port(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(server, tmp_path_factory.mktemp("server")) as port:
        yield port


@pytest.mark.process
def test_asked_directly_it_gives_all_away(server: Server, port: int) -> None:
    """So what follows could fail: the plain spellings are understood, and of each kind some others too."""
    for handler, spelling in PLAIN.items():
        report = reported(server, (LOCAL, port), spelling)
        assert report is not None
        assert report["handler"] == handler
    report = reported(server, (LOCAL, port), Spelling("hosts", host=b"admin.test"))
    assert report is not None
    assert report["site"] == "admin.test"
    through = findings(server, (LOCAL, port), SPELLINGS[::STEP], guarded=False)
    assert {one.spelling.kind for one in through} == set(KINDS)


@pytest.fixture(scope="module", params=LANES)
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def address(server: Server, port: int, lane: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with rawgate(server, port, tmp_path_factory.mktemp(lane), lane) as address:
        yield address


@pytest.mark.process
def test_what_may_come_in_does_and_nothing_else_gets_through(server: Server, lane: str, address: Address) -> None:
    known = Spelling("fields", target=b"/admin", credential="alice")
    report = reported(server, address, known)
    assert report is not None
    assert report["handler"] == "admin"
    assert list(wrongs(server, known, report)) == []
    for handler in ("items", "open"):
        report = reported(server, address, PLAIN[handler])
        assert report is not None
        assert report["handler"] == handler
    closed = [PLAIN["admin"], PLAIN["change"], Spelling("hosts", host=b"admin.test")]
    through = findings(server, address, [*closed, *SPELLINGS[LANES[lane] :: STEP]])
    assert not through, "\n".join([f"{len(through)} got through:", *map(str, through)])


@pytest.mark.process
def test_what_one_client_says_is_not_in_the_request_of_the_next(server: Server, address: Address) -> None:
    """aiohttp 3.14 takes the trailers of one request for fields of the next one on the connection."""
    said = ((b"X-Mine", MARKER.encode()),)
    reported(server, address, Spelling("fields", b"POST", b"/x", trailers=said))
    report = reported(server, address, PLAIN["open"])
    assert report is not None
    assert MARKER not in str(report)


# ── the list and the judge themselves ──


def test_the_list_is_the_same_every_time_and_a_longer_one_holds_it() -> None:
    assert everything() == SPELLINGS
    assert everything(seed=2) != SPELLINGS
    assert len(set(SPELLINGS)) == len(SPELLINGS)
    assert {one.kind for one in SPELLINGS} == set(KINDS)


@pytest.mark.parametrize(
    ("spelling", "seen"),
    [
        (PLAIN["admin"], {"handler": "admin"}),
        (PLAIN["change"], {"handler": "change"}),
        (Spelling("hosts"), {"site": "admin.test"}),
        (Spelling("methods"), {"fields": [["HTTP_X_HTTP_METHOD", "DELETE"]]}),
        (Spelling("fields"), {"fields": [["HTTP_X_REAL_IP", MARKER]]}),
        (Spelling("fields"), {"fields": [["HTTP_X_REAL_IP", f"127.0.0.1,{MARKER}"]]}),
        (Spelling("fields"), {"fields": [["HTTP_VIA", f"1.1 rawgate, {MARKER}"]]}),
        (Spelling("fields"), {"fields": [["REMOTE_USER", MARKER]]}),
        (Spelling("fields"), {"remote": MARKER}),
        (Spelling("fields", credential="alice"), {"fields": []}),
        (Spelling("fields", credential="alice"), {"fields": [["HTTP_X_USER_ID", "alice"], ["HTTP_X_USER_ID", "bob"]]}),
        (Spelling("fields", credential="partner"), {"fields": [["HTTP_X_API_KEY", MARKER]]}),
    ],
)
def test_the_judge_sees_what_may_not_be(spelling: Spelling, seen: Report) -> None:
    assert list(wrongs(CGI, spelling, REPORT | seen))


@pytest.mark.parametrize(
    ("spelling", "seen"),
    [
        (PLAIN["admin"], {}),
        (Spelling("paths", credential="alice"), {"handler": "admin", "site": "admin.test"}),
        (Spelling("fields"), {"fields": [["HTTP_X_REAL_IP", "127.0.0.1"], ["HTTP_MINE", MARKER]]}),
        (Spelling("fields"), {"fields": [["HTTP_VIA", f"{MARKER}, 1.1 rawgate"]]}),
        (Spelling("fields", credential="alice"), {"fields": [["HTTP_X_USER_ID", "alice"]]}),
    ],
)
def test_the_judge_lets_pass_what_may_be(spelling: Spelling, seen: Report) -> None:
    assert list(wrongs(CGI, spelling, REPORT | seen)) == []


CGI = Server("CGI", lambda _, __: [], environ=True)
REPORT: Report = {"handler": "open", "site": "", "remote": "127.0.0.1", "method": "GET", "path": "/", "fields": []}


def test_a_spelling_is_sent_as_it_is_written() -> None:
    spelling = Spelling("fields", b"POST", b"/a b", b"h", ((b"X", b"1"),), "alice", ((b"T", b"2"),))
    assert octets(spelling) == (
        b"POST /a b HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer %b\r\nX: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: 2\r\n\r\n" % ALICE.encode()
    )
