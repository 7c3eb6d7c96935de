"""A server of the store is lost while clients ask, and another takes its place: what they see until then.

One gateway of two workers with `on_failure = "refuse"`, so that each reply without a count is a 503. Clients ask for
`exact` limits that are never full. Of a Cluster those who are counted on the lost node are told apart from the others.
"""

import http.client
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from redis.crc import key_slot

from rawgate.policy.store_scripts import counter_key, key_prefix
from tools.storing.groups import SLOTS, Cluster, Watched, cluster, watched
from tools.storing.proof import WINDOW, configuration, gateways
from tools.storing.server import store_program

CLIENTS, CONNECTIONS, PAUSE = 60, 4, 0.01
BEFORE, AFTER = 1.0, 15.0
"""Seconds of asking before the loss, and after it."""
TIMEOUT = "250ms"
"""What a store that works keeps on a busy host."""


class Note(NamedTuple):
    """One request. Times are seconds since the loss."""

    client: int
    at: float
    took: float
    status: int


class Case(NamedTuple):
    """name; where the store is; what loses a server; whether that server has the client's counter."""

    name: str
    url: str
    lose: Callable[[], None]
    is_lost: Callable[[int], bool]


def on_first_node(client: int) -> bool:
    """The first third of the slots, as `Cluster.join` gives them out."""
    key = counter_key(key_prefix("/exact", WINDOW), f"header.x-client:c{client}")
    return key_slot(key) < SLOTS // 3


def of_cluster(name: str, nodes: Cluster, lose: Callable[[], None]) -> Case:
    return Case(f"a master of a Cluster {name}", nodes.url, lose, on_first_node)


def of_sentinels(name: str, group: Watched, lose: Callable[[], None]) -> Case:
    return Case(f"a master with Sentinels {name}", group.url, lose, lambda client: True)


def tell() -> bool:
    """Play all of it and print the table. Returns whether each one was served again, and nobody else ever was not."""
    program, good = store_program(), True
    columns = f"{'asked':>8}{'503':>6}{'s until served':>16}{'503 after':>11}{'other':>7}{'slowest s':>11}"
    print(f"{'':55}{'clients':>12}{columns}")
    with tempfile.TemporaryDirectory(prefix="rawgate-failover-") as name:
        folder = Path(name)
        with cluster(program, folder / "killed") as nodes:
            good &= play(of_cluster("is killed", nodes, nodes.nodes[0].stop), folder / "1")
        with cluster(program, folder / "hangs") as nodes:
            good &= play(of_cluster("hangs", nodes, nodes.nodes[0].pause), folder / "2")
        with watched(program, folder / "gone") as group:
            good &= play(of_sentinels("is killed", group, group.servers[0].stop), folder / "3")
        with watched(program, folder / "stuck") as group:
            # Two of three still agree on a new master. The one that hangs is the first in the URL.
            group.sentinels[0].pause()
            good &= play(of_sentinels("hangs, and so does one of them", group, group.servers[0].pause), folder / "4")
    return good


def play(case: Case, folder: Path) -> bool:
    """One of them: print its rows."""
    folder.mkdir()
    text = configuration(case.url, 1_000_000, 2, "refuse", TIMEOUT)
    with gateways([text], folder) as (gateway,):
        notes = _ask(gateway.address(), case.lose)
        said = [line for line in gateway.said if "count" in line]
    good = True
    for whose, lost in (("of the lost", True), ("others", False)):
        mine = [note for note in notes if note.at + note.took > 0 and case.is_lost(note.client) is lost]
        mine.sort(key=lambda note: note.at)
        if not mine:
            continue
        without = [note for note in mine if note.status == 503]
        other = sum(note.status not in {200, 503} for note in mine)
        first = min((note.at for note in without), default=0.0)
        served = [note.at for note in mine if note.status == 200 and note.at > first]
        back = min(served, default=AFTER) if without else 0.0
        after = sum(note.at > back for note in without)
        good &= not other and not after and bool(served) and (lost or not without)
        print(
            f"{case.name:55}{whose:>12}{len(mine):8,}{len(without):6,}{back:16.1f}{after:11}{other:7}"
            f"{max(note.took for note in mine):11.3f}"
        )
    good &= any("does not count" in line for line in said)
    return good


def _ask(address: tuple[str, int], lose: Callable[[], None]) -> list[Note]:
    began = time.monotonic() + BEFORE
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        asking = [pool.submit(_client, address, number, began) for number in range(CONNECTIONS)]
        time.sleep(BEFORE)
        lose()
        return [note for notes in asking for note in notes.result()]


def _client(address: tuple[str, int], number: int, began: float) -> list[Note]:
    notes: list[Note] = []
    with closing(http.client.HTTPConnection(*address, timeout=10 * (BEFORE + AFTER))) as connection:
        while (before := time.monotonic()) < began + AFTER:
            number = (number + CONNECTIONS) % CLIENTS
            connection.request("GET", "/exact", headers={"X-Client": f"c{number}"})
            response = connection.getresponse()
            response.read()
            notes.append(Note(number, before - began, time.monotonic() - before, response.status))
            time.sleep(PAUSE)
    return notes
