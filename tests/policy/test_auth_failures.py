"""Wrong credentials by address: who is slowed down, and who is not, whatever others at that address do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.test_gate import API_KEY, CLIENT, WALL, answer, decide, gate_of, lines, request, route, token
from rawgate.config.model import AuthFailures
from rawgate.message import Decision, Forward, LocalReply, Peer, Pending
from rawgate.policy.auth_failures import GUESSES
from rawgate.policy.gate import Gate

OTHER = Peer("192.0.2.8", "192.0.2.8:1")
GOOD = {"authorization": b"Bearer " + token(sub="alice")}
FORGED = {"authorization": b"Bearer " + token(sub="alice")[:-4] + b"AAAA"}
MALFORMED = {"authorization": b"Bearer x"}
EXPIRED = {"authorization": b"Bearer " + token(sub="alice", exp=WALL - 1000)}
NONE: dict[str, bytes] = {}


def gate(auth: str = "jwt.main", **terms: object) -> Gate:
    spec = AuthFailures(**{"max": 2, "window": 60.0, **terms})  # type: ignore[arg-type]
    return gate_of(route("/", auth=auth, rate_limit=None), auth_failures=spec)


def ended(decision: Decision) -> Forward | LocalReply:
    """The decision, where it waits when it has waited."""
    if isinstance(decision, Pending):
        return decision.refused(decision.reason)
    return decision


def code(gate: Gate, fields: dict[str, bytes], peer: Peer = CLIENT, now: float = 100.0) -> str:
    found = ended(decide(gate, request(parsed=fields), peer, now))
    return "ok" if isinstance(found, Forward) else found.reason.code


def test_beyond_the_limit_a_wrong_credential_is_refused_late() -> None:
    limited = gate(delay=3.0)
    for _ in range(2):
        reply = answer(decide(limited, request(parsed=FORGED)))
        assert (reply.status, reply.reason.code) == (401, "auth_bad_signature")
    late = decide(limited, request(parsed=FORGED))
    assert isinstance(late, Pending)
    assert late.deadline == 103.0
    assert (late.route, late.client_id) == ("/", "192.0.2.7")
    for end in (late.refused(late.reason), late.resume(103.0, WALL)):
        assert isinstance(end, LocalReply)
        assert (end.status, end.reason.code, end.note) == (429, "auth_limited", "The credential: auth_bad_signature.")
        assert [line.partition(":")[0] for line in lines(end.fields)] == ["Retry-After"]


def test_without_delay_it_is_refused_at_once() -> None:
    limited = gate(max=1, delay=0.0)
    assert [code(limited, FORGED), answer(decide(limited, request(parsed=FORGED))).status] == [
        "auth_bad_signature",
        429,
    ]


def test_retry_after_is_kept() -> None:
    limited = gate(max=1)
    code(limited, FORGED)
    reply = ended(decide(limited, request(parsed=FORGED)))
    assert isinstance(reply, LocalReply)
    seconds = int(lines(reply.fields)[0].partition(":")[2])
    assert code(limited, FORGED, now=100.0 + seconds) == "auth_bad_signature"


def test_keys_that_are_unknown_are_counted_and_those_that_are_known_pass() -> None:
    limited = gate("api_keys.partners", max=1)
    wrong, right = {"x-api-key": b"guess"}, {"x-api-key": API_KEY.encode()}
    assert [code(limited, each) for each in (wrong, wrong, right, wrong)] == [
        "api_key_unknown",
        "auth_limited",
        "ok",
        "auth_limited",
    ]


def test_ipv6_is_counted_by_its_network() -> None:
    limited = gate(max=1)
    peers = [Peer(address, address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]
    assert [code(limited, FORGED, peer) for peer in peers] == [
        "auth_bad_signature",
        "auth_limited",
        "auth_bad_signature",
    ]


def test_in_the_shadow_it_is_in_the_log_alone() -> None:
    limited = gate(max=1, shadow=True)
    replies = [answer(decide(limited, request(parsed=FORGED))) for _ in range(2)]
    assert [(reply.status, reply.reason.code, reply.shadow) for reply in replies] == [
        (401, "auth_bad_signature", ()),
        (401, "auth_bad_signature", ("auth_limited",)),
    ]


def test_guessers_have_places_of_their_own() -> None:
    limited = gate()
    code(limited, FORGED)
    assert [len(limited.limiters.failures), len(limited.limiters.addresses)] == [1, 0]


ASKED = st.tuples(
    st.sampled_from([GOOD, FORGED, MALFORMED, EXPIRED, NONE]), st.sampled_from([CLIENT, OTHER]), st.floats(0.0, 40.0)
)


@given(st.lists(ASKED, max_size=40), st.integers(1, 4))
def test_it_changes_nothing_for_who_does_not_guess(
    asked: list[tuple[dict[str, bytes], Peer, float]], most: int
) -> None:
    """Against a gate without the limit: every other request ends the same; and in no window more wrong ones than `max`
    get their 401."""
    limited, free = gate(max=most), gate_of(route("/", auth="jwt.main", rate_limit=None))
    now, answered = 0.0, []
    for fields, peer, step in asked:
        now += step
        got, without = code(limited, fields, peer, now), code(free, fields, peer, now)
        if without in GUESSES:
            assert got in {without, "auth_limited"}
            if got == without:
                answered.append((peer, now))
        else:
            assert got == without
    for peer, start in answered:
        assert len([1 for one, at in answered if one is peer and start <= at < start + 60.0]) <= most


@pytest.mark.parametrize("missing", [NONE, {"authorization": b"Basic x"}])
def test_a_request_without_a_credential_is_not_counted(missing: dict[str, bytes]) -> None:
    limited = gate(max=1)
    assert {code(limited, missing) for _ in range(5)} == {"auth_missing"}
