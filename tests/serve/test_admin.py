"""Who is told what the gateway tells of itself, and what is told where a package is missing."""

import asyncio
import sys
from pathlib import Path

import pytest

from harness import configs
from rawgate.config.load import load
from rawgate.config.model import Config
from rawgate.message import NO_BODY, LocalReply, Peer, RequestHead
from rawgate.observe import prometheus
from rawgate.observe.access_log import AccessLog
from rawgate.observe.counters import Decisions
from rawgate.serve.admin import Admin, Plan, warnings_of
from rawgate.serve.clock import HttpDate, RequestIds
from rawgate.serve.load import compile_draft
from rawgate.serve.publishing import Publisher
from rawgate.serve.service import Service

BUILD = {"version": "1", "python": "3", "core": "compiled"}


def read_config(folder: Path, *gateway_has: str) -> Config:
    path = folder / "rawgate.toml"
    path.write_text(configs.one_route("http://127.0.0.1:1", gateway_has=gateway_has))
    draft = load(path, {})
    assert draft.config is not None, draft.problems
    return draft.config


# ── who may ask ──


class Asking:
    """An admin listener that is asked directly."""

    def __init__(self, admin: Admin) -> None:
        self.admin = admin

    def __call__(self, address: str, authority: bytes = b"localhost", path: bytes = b"/readyz") -> int:
        head = RequestHead(b"GET", path, 1, authority, {}, [], NO_BODY, False, False, b"", 0)
        found = self.admin.decide(head, Peer(address, address), 0.0, 0.0)
        assert isinstance(found, LocalReply)
        return found.status


def asking(folder: Path, *gateway_has: str) -> Asking:
    """It never listens: no address of this host is anybody else's."""
    path = folder / "rawgate.toml"
    path.write_text(configs.one_route("http://127.0.0.1:1", gateway_has=gateway_has))
    new_id, date = RequestIds(), HttpDate()
    loaded = compile_draft(load(path, {}), new_id=new_id, date=date)

    async def make() -> Admin:
        loop = asyncio.get_running_loop()
        plan = Plan(loaded.config, 1, Decisions())
        counting = plan.counting(0, AccessLog(sys.stderr.fileno()), loop)
        service = Service(loop, loaded, counting.sink, new_id, date)
        publisher = Publisher(loop, service, counting)
        admin = Admin(loop, service, plan, publisher, new_id=new_id, date=date, build=BUILD)
        admin.close()
        plan.close()
        service.close()
        return admin

    return Asking(asyncio.run(make()))


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("127.9.9.9", 200), ("::1", 200), ("unix", 200), ("10.1.2.3", 403), ("2001:db8::1", 403)],
)
def test_loopback_alone_unless_networks_are_named(tmp_path: Path, address: str, status: int) -> None:
    assert asking(tmp_path, 'admin = "127.0.0.1:0"')(address) == status


@pytest.mark.parametrize(
    ("address", "status"),
    [("127.0.0.1", 200), ("10.1.2.3", 200), ("10.2.0.1", 403), ("2001:db8::1", 200), ("2001:db9::1", 403)],
)
def test_networks_that_are_named(tmp_path: Path, address: str, status: int) -> None:
    ask = asking(tmp_path, 'admin = "0.0.0.0:0"', 'admin_allow = ["10.1.0.0/16", "2001:db8::/32"]')
    assert ask(address) == status
    assert ask(address, b"gateway.internal:9901") == status, "a scraper may know it by a name"


@pytest.mark.parametrize(
    ("authority", "status"),
    [
        (b"localhost:9901", 200),
        (b"127.0.0.1:9901", 200),
        (b"[::1]", 200),
        (b"evil.example", 421),
        (b"localhost.evil.example", 421),
        (b"127.0.0.1.evil.example:9901", 421),
        (b"", 421),
        (b"[evil]", 421),
    ],
)
def test_a_name_may_be_anybody_s(tmp_path: Path, authority: bytes, status: int) -> None:
    ask = asking(tmp_path, 'admin = "127.0.0.1:0"')
    assert ask("127.0.0.1", authority) == status
    assert ask("unix", authority) == 200


# ── without prometheus-client ──


def test_without_the_package_all_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask = asking(tmp_path, 'admin = "127.0.0.1:0"')
    assert ask("127.0.0.1", path=b"/metrics") == 200
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    assert ask("127.0.0.1", path=b"/metrics") == 501
    assert ask("127.0.0.1", path=b"/status") == 200


def test_a_missing_package_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(tmp_path, 'admin = "127.0.0.1:9901"')
    assert warnings_of(config) == []
    monkeypatch.setattr(prometheus, "PACKAGE", "no_such_package_is_installed")
    (warning,) = warnings_of(config)
    assert "pip install 'rawgate[metrics]'" in warning
    assert warnings_of(read_config(tmp_path)) == []
