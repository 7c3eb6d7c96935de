"""Weights, hashes and zones, as clients of a gateway with two workers see them."""

import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import configs
from harness.gateway import Gateway, running
from harness.upstream import Upstream, replying, response
from harness.wire_reader import Stream, read_response

pytestmark = pytest.mark.process

NAMES = ("a", "b", "c")


@pytest.fixture
def services() -> Iterator[list[Upstream]]:
    """Three, each of which answers with its name."""
    with ExitStack() as stack:
        yield [stack.enter_context(Upstream(replying(response(name.encode())))) for name in NAMES]


def config(*lines: str, more: str = "") -> str:
    """An upstream with these lines."""
    text = configs.gateway("workers = 2", *([more] if more else []))
    return text + "\n".join(("[upstreams.u]", *lines, "")) + configs.route("/", "u")


def asked(gateway: Gateway, count: int, field: str = "X-A: 1") -> str:
    """Who answers so many requests, each on a connection of its own. All are open at once: both workers have some."""
    with ExitStack() as stack:
        socks = [stack.enter_context(gateway.connect()) for _ in range(count)]
        answers = []
        for sock in socks:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n".encode())
            answer = read_response(Stream.of(sock))
            assert answer is not None
            assert answer.status == 200
            answers.append(answer.body.decode())
        return "".join(answers)


def targets(services: list[Upstream], *extra: str) -> str:
    tables = [f'{{ url = "{one.target}"{more} }}' for one, more in zip(services, extra, strict=True)]
    return f"targets = [{', '.join(tables)}]"


def test_both_workers_together_meet_the_weights_and_a_reload_changes_them(
    tmp_path: Path, services: list[Upstream]
) -> None:
    with running(tmp_path, config(targets(services, ", weight = 3", "", ", backup = true"))) as gateway:
        got = Counter(asked(gateway, 80))
        assert abs(got["a"] - 60) <= 3, got
        assert got["c"] == 0, "the backup is for worse times"
        held = len(services[0].connections)
        (tmp_path / "rawgate.toml").write_text(config(targets(services, "", ", weight = 3", ", backup = true")))
        gateway.signal(signal.SIGHUP)
        gateway.wait_said("changed: upstreams.u")
        got = Counter(asked(gateway, 80))
        assert abs(got["a"] - 20) <= 3, got
        assert len(services[0].connections) == held, "a target that stays keeps its connections"


def test_a_key_leads_every_worker_to_one_target_and_elsewhere_while_that_is_gone(
    tmp_path: Path, services: list[Upstream]
) -> None:
    with running(tmp_path, config(targets(services, "", "", ""), 'balance = { hash = "header:X-Tenant" }')) as gateway:
        # Each endpoint draws its keys by its port, which nobody chose: so many keys that none of three is left out.
        fields = [f"x-tenant: {number}" for number in range(60)]
        before = [asked(gateway, 6, field) for field in fields]
        assert all(len(set(each)) == 1 for each in before), before
        assert len(set("".join(before))) == 3
        services[0].close()
        after = [asked(gateway, 6, field) for field in fields]
        assert all(len(set(each)) == 1 for each in after), after
        assert all(other == one for one, other in zip(before, after, strict=True) if "a" not in one), (
            "nobody else moves"
        )
        assert "a" not in "".join(after)


def test_other_zones_and_then_the_backup_serve_when_the_own_one_is_gone(
    tmp_path: Path, services: list[Upstream]
) -> None:
    text = config(targets(services, ', zone = "here"', ', zone = "there"', ", backup = true"), more='zone = "here"')
    with running(tmp_path, text) as gateway:
        assert asked(gateway, 10) == "a" * 10
        services[0].close()
        assert asked(gateway, 10) == "b" * 10
        services[1].close()
        assert asked(gateway, 10) == "c" * 10
