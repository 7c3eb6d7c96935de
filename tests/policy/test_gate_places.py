"""Routes with a path of their own, with `match`, and with a reply of their own, as the gate decides them."""

from ipaddress import ip_network
from typing import Any

import pytest

from policy.test_gate import (
    ALICE,
    CLIENT,
    PROXY,
    answer,
    config,
    decide,
    gate_of,
    lines,
    path_sent,
    problems_of,
    request,
)
from rawgate.config.model import HeaderRules, Match, RateLimit, Redirect, Respond, Route
from rawgate.message import Forward, LocalReply, Peer
from rawgate.wire import reply


def at(path: str, **more: Any) -> Route:
    return Route(path=path, upstream="users", auth="none", **more)


def alone(path: str = "", prefix: str = "", auth: str = "none", **more: Any) -> Route:
    """A route without upstream."""
    return Route(path=path, prefix=prefix, auth=auth, **more)


@pytest.mark.parametrize(
    ("path", "rewrite", "target", "sent"),
    [
        ("/users/{id}", "/v2/u/{id}", "/users/7?x=1", "/v2/u/7?x=1"),
        ("/users/{id}/avatar", "/{id}.png", "/users/a%40b/avatar", "/a%40b.png"),
        ("/a/{x}/{y}", "/{y}/{x}/{y}", "/a/1/2", "/2/1/2"),
        ("/files/{rest*}", "/s3/{rest}", "/files/a/b", "/s3/a/b"),
        ("/files/{rest*}", "/s3/{rest}", "/files/", "/s3/"),
        ("/files/{rest*}", "/{rest}", "/files/", "/"),
        ("/health", "/healthz", "/health", "/healthz"),
        ("/users/{id}", "/static", "/users/7", "/static"),
        # Parameters belong to their segment, and go with it.
        ("/users/{id}/x", "/{id}", "/users/7;a=b/x", "/7;a=b"),
        ("/café/{id}", "/{id}", "/caf%c3%a9/%E9;p", "/%E9;p"),
        ("/a/{rest*}", "/{rest}", "/a/%C3%A9/b;c/d", "/%C3%A9/b;c/d"),
    ],
)
def test_names_in_a_rewrite(path: str, rewrite: str, target: str, sent: str) -> None:
    assert path_sent(decide(gate_of(at(path, rewrite=rewrite)), request(target))) == sent


def test_a_rest_that_begins_with_a_slash_is_no_host() -> None:
    gate = gate_of(at("/a/{rest*}", rewrite="/{rest}"), merge_slashes=False)
    assert path_sent(decide(gate, request("/a//evil.test/x"))) == "/evil.test/x"


def test_a_rewrite_that_makes_a_dot_segment_is_refused() -> None:
    decision = answer(decide(gate_of(at("/a/{x}", rewrite="/b/.{x}")), request("/a/.")))
    assert decision.status == 404  # "/a/." is "/a/"
    decision = answer(decide(gate_of(at("/a/{x}", rewrite="/b/{x}.")), request("/a/;..")))
    assert decision.status == 404  # no segment without its parameters


@pytest.mark.parametrize(
    ("route", "key"),
    [
        (at("/users/{id}", rewrite="/{name}"), "rewrite"),
        (at("/users/{id}", rewrite="/a/../{id}"), "rewrite"),
        (alone("/x/{id}", redirect=Redirect(to="/y/{name}")), "redirect"),
        (alone("/x", redirect=Redirect(to="/y/{sub}")), "redirect"),
        (at("/a;b/{id}"), "path"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_at_load(route: Route, key: str) -> None:
    (problem,) = problems_of(config(route))
    assert problem.path[:3] == ("routes", 0, key)


def whole(decision: object, *, head_only: bool = False) -> bytes:
    assert isinstance(decision, LocalReply), decision
    return reply(decision, date=b"D", head_only=head_only, connection=b"")


def test_a_response_of_the_gateways_own() -> None:
    gate = gate_of(
        alone("/health", respond=Respond(body="fine\n")),
        alone(prefix="/", respond=Respond(status=503, body="<p>Back soon", type="text/html")),
    )
    fine = decide(gate, request("/health"))
    assert whole(fine).endswith(b"\r\n\r\nfine\n")
    assert b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n" in whole(fine)
    closed = answer(decide(gate, request("/x", "POST")))
    assert (closed.status, closed.reason.code, closed.route) == (503, "ok", "/")
    assert whole(closed).endswith(b"<p>Back soon")


def test_an_empty_response_is_empty_whatever_its_status() -> None:
    empty = whole(decide(gate_of(alone(prefix="/", respond=Respond(status=404))), request()))
    assert empty.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"Content-Length: 0\r\n" in empty
    assert empty.endswith(b"\r\n\r\n")


def test_a_response_of_the_gateways_own_is_for_who_may_have_it() -> None:
    gate = gate_of(
        alone(prefix="/", auth="jwt.main", respond=Respond(body="x"), rate_limit=RateLimit(max=1, window=60.0))
    )
    assert answer(decide(gate, request())).reason.code == "auth_missing"
    known = request(parsed={"authorization": ALICE})
    assert answer(decide(gate, known)).reason.code == "ok"
    assert answer(decide(gate, known)).reason.code == "rate_limited"


def test_fields_of_a_response_of_the_gateways_own() -> None:
    rules = HeaderRules(set={"Cache-Control": "max-age=60", "X-A": "1", "Content-Type": "x/y", "Date": "never"})
    found = whole(decide(gate_of(alone(prefix="/", respond=Respond(body="x"), response_headers=rules)), request()))
    assert b"Cache-Control: max-age=60\r\n" in found
    assert b"X-A: 1\r\n" in found
    assert b"no-store" not in found
    assert b"x/y" not in found
    assert b"never" not in found


@pytest.mark.parametrize(
    ("path", "to", "target", "location"),
    [
        ("/old/{id}", "/new/{id}", "/old/7?x=1", "/new/7?x=1"),
        ("/old/{id}", "/new?id={id}", "/old/7?x=1", "/new?id=7"),
        ("/a/{rest*}", "https://b.test/{rest}", "/a/b/c", "https://b.test/b/c"),
        ("/a/{rest*}", "https://{host}{path}", "/a/b%2Fc?q", "https://api.test/a/b%2Fc?q"),
        ("/a/{rest*}", "/{rest}", "/a/", "/"),
    ],
)
def test_a_redirect(path: str, to: str, target: str, location: str) -> None:
    gate = gate_of(alone(path, redirect=Redirect(to=to), encoded_slash="keep"))
    decision = answer(decide(gate, request(target, authority=b"API.test:8080")))
    assert (decision.status, decision.reason.code) == (308, "ok")
    assert f"Location: {location}" in lines(decision.fields)


def test_a_redirect_leads_to_no_other_host_than_it_says() -> None:
    gate = gate_of(alone("/a/{rest*}", redirect=Redirect(to="/{rest}")), merge_slashes=False)
    assert "Location: /evil.test" in lines(answer(decide(gate, request("/a//evil.test"))).fields)


def test_a_redirect_to_a_host_that_nobody_named() -> None:
    gate = gate_of(alone(prefix="/", redirect=Redirect(to="https://{host}{path}")))
    assert answer(decide(gate, request(authority=b""))).reason.code == "bad_request"


HTTPS = (
    alone(prefix="/", redirect=Redirect(to="https://{host}{path}"), match=Match(scheme="http")),
    Route(prefix="/api", upstream="users", auth="none", name="api"),
)


@pytest.mark.parametrize(
    ("peer", "told", "outcome"),
    [
        (CLIENT, None, 308),
        (Peer("192.0.2.7", "x", "https"), None, "api"),
        # Only a trusted proxy is believed.
        (CLIENT, b"https", 308),
        (PROXY, b"https", "api"),
        (PROXY, b"HTTPS, http", "api"),
        (PROXY, b"http", 308),
        (PROXY, None, 308),
    ],
)
def test_a_redirect_of_those_who_come_without_tls(peer: Peer, told: bytes | None, outcome: object) -> None:
    gate = gate_of(*HTTPS, trusted_proxies=(ip_network("10.0.0.0/8"),))
    parsed = {} if told is None else {"x-forwarded-proto": told}
    decision = decide(gate, request("/api/x", parsed=parsed), peer)
    assert (decision.options.route if isinstance(decision, Forward) else answer(decision).status) == outcome


def test_the_field_that_selects_a_route_goes_up() -> None:
    gate = gate_of(
        Route(prefix="/", upstream="users", auth="none", name="new", match=Match(headers={"X-Version": "2"})),
        Route(prefix="/", upstream="users", auth="none", name="old"),
    )
    assert b"x-version" in gate.wanted
    new, old = (decide(gate, request(parsed={"x-version": value})) for value in (b"2", b"3"))
    assert isinstance(new, Forward)
    assert isinstance(old, Forward)
    assert (new.options.route, old.options.route) == ("new", "old")
    assert "X-Version: 2" in lines(new.head)
    assert "X-Version: 3" in lines(old.head)


def test_parameters_of_a_path_are_judged_by_the_routes_of_this_request() -> None:
    gate = gate_of(
        Route(prefix="/admin", upstream="users", auth="jwt.main", match=Match(query={"v": "2"})),
        Route(prefix="/", upstream="users", auth="none"),
    )
    assert answer(decide(gate, request("/admin;x/y?v=2"))).reason.code == "bad_request"
    assert isinstance(decide(gate, request("/admin;x/y?v=3")), Forward)
