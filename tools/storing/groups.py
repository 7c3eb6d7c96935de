"""Several servers on this host that are one store: a Cluster, and a server whose place a replica takes when Sentinels
say so. They notice soon that one of them is gone, so that nobody waits long."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from harness.upstream import free_port
from tools.storing.server import RedisServer, redis_server

SLOTS = 16384
SILENCE = 500
"""Milliseconds after which a server that says nothing counts as gone. Its replica takes its place soon after."""

PATIENCE = 30.0
"""Seconds until what must happen has happened."""


class Cluster:
    """Three masters, each with a replica: `nodes[:3]` and `nodes[3:]`, in the same order."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def join(self, buses: list[int]) -> None:
        """Make one of them. buses: the port of each at which nodes speak with one another."""
        masters, replicas = self.nodes[:3], self.nodes[3:]
        for number, node in enumerate(self.nodes):
            node.say("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            if node in masters:
                first, end = SLOTS * number // 3, SLOTS * (number + 1) // 3
                node.say("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
        for node, bus in zip(self.nodes[1:], buses[1:], strict=True):
            self.nodes[0].say("CLUSTER", "MEET", "127.0.0.1", str(node.port), str(bus))
        for node in self.nodes:
            node.wait_for("cluster_state:ok", "CLUSTER", "INFO")
            node.wait_for("cluster_known_nodes:6", "CLUSTER", "INFO")
        for master, replica in zip(masters, replicas, strict=True):
            name = _name(master)
            replica.wait_for(name, "CLUSTER", "NODES")
            replica.say("CLUSTER", "REPLICATE", name)
        for replica in replicas:
            replica.wait_for("master_link_status:up", "INFO", "replication")
        for node in self.nodes:
            wait_until(partial(_knows_replicas, node), "all know the replicas")

    def move(self, slot: int, source: RedisServer, target: RedisServer, keys: list[str]) -> None:
        """A slot with its keys, from one master to another, as `redis-cli --cluster reshard` does."""
        target.say("CLUSTER", "SETSLOT", str(slot), "IMPORTING", _name(source))
        source.say("CLUSTER", "SETSLOT", str(slot), "MIGRATING", _name(target))
        for key in keys:
            source.say("MIGRATE", "127.0.0.1", str(target.port), key, "0", "5000")
        for node in (target, source):
            node.say("CLUSTER", "SETSLOT", str(slot), "NODE", _name(target))

    def wait_for_master(self, replica: RedisServer) -> None:
        """Until it has taken its master's place, and all others know."""
        for node in self.nodes:
            if node.is_running:
                wait_until(partial(_takes_for_master, node, replica), "a replica has taken its master's place")


def _knows_replicas(node: RedisServer) -> bool:
    return sum("slave " in line for line in _told(node)) == 3


def _takes_for_master(node: RedisServer, other: RedisServer) -> bool:
    """It is a master in that node's eyes, and has slots."""
    mine = [line for line in _told(node) if f":{other.port}@" in line]
    return any("master" in line and "-" in line.rpartition("connected")[2] for line in mine)


def _name(node: RedisServer) -> str:
    return node.say("CLUSTER", "MYID").split(b"\r\n")[1].decode()


def _told(node: RedisServer) -> list[str]:
    return node.say("CLUSTER", "NODES").decode().splitlines()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Nothing tells when servers have agreed."""
    ends = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > ends:
            raise RuntimeError(f"not in time: {what}")
        time.sleep(0.02)


@contextmanager
def cluster(program: str, folder: Path) -> Iterator[Cluster]:
    """One that runs while the block lasts."""
    with ExitStack() as stack:
        nodes, buses = [], [free_port() for _ in range(6)]
        for number, bus in enumerate(buses):
            (folder / str(number)).mkdir(parents=True)
            words = [*("--cluster-enabled", "yes"), *("--cluster-port", str(bus))]
            words += ["--cluster-node-timeout", str(SILENCE)]
            words += [*("--repl-diskless-sync-delay", "0"), *("--cluster-replica-validity-factor", "0")]
            words += ["--cluster-require-full-coverage", "no"]  # the others go on counting
            nodes.append(stack.enter_context(redis_server(program, folder / str(number), *words)))
        made = Cluster(nodes)
        made.join(buses)
        yield made


class Watched:
    """A master with a replica, and three Sentinels that watch them. Two of these agree that it is gone.

    servers    the master, then its replica
    sentinels  ports
    """

    def __init__(self, servers: list[RedisServer], sentinels: list[RedisServer]) -> None:
        self.servers = servers
        self.sentinels = sentinels

    @property
    def url(self) -> str:
        return "redis+sentinel://" + ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels) + "/main"

    def wait_ready(self) -> None:
        """Until the Sentinels know one another and the replica."""
        for one in self.sentinels:
            one.wait_for("num-other-sentinels\r\n$1\r\n2", "SENTINEL", "MASTER", "main")
            one.wait_for("num-slaves\r\n$1\r\n1", "SENTINEL", "MASTER", "main")
        self.servers[1].wait_for("master_link_status:up", "INFO", "replication")

    def wait_for_master(self, server: RedisServer) -> None:
        """Until all Sentinels name it."""
        for one in self.sentinels:
            if one.is_running:
                one.wait_for(f"port\r\n${len(str(server.port))}\r\n{server.port}", "SENTINEL", "MASTER", "main")


@contextmanager
def watched(program: str, folder: Path) -> Iterator[Watched]:
    """One that runs while the block lasts."""
    with ExitStack() as stack:
        for name in ("0", "1", "a", "b", "c"):
            (folder / name).mkdir(parents=True)
        quick = ("--repl-diskless-sync-delay", "0")
        master = stack.enter_context(redis_server(program, folder / "0", *quick))
        follows = ("--replicaof", "127.0.0.1", str(master.port), *quick)
        replica = stack.enter_context(redis_server(program, folder / "1", *follows))
        sentinels = []
        for name in ("a", "b", "c"):
            file = folder / name / "sentinel.conf"
            file.write_text(
                f"sentinel monitor main 127.0.0.1 {master.port} 2\n"
                f"sentinel down-after-milliseconds main {SILENCE}\nsentinel failover-timeout main 2000\n"
            )
            sentinels.append(stack.enter_context(redis_server(program, folder / name, sentinel=file)))
        made = Watched([master, replica], sentinels)
        made.wait_ready()
        yield made
