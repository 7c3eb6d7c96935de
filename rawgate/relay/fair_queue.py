"""The queue for the connections of one upstream: who waits, whose turn is next, and how many each client address holds.

While nobody waits, one address may hold all connections. While others wait, the queue is fair between addresses:

- A free slot goes to the address that holds the fewest connections. Among equals, who came first is first.
- When more wait than may, the address that waits most often loses its newest lessee (longest queue drop, as the buffers
  of fair queueing have it).
- The queue knows which addresses hold more than their share, so that the pool can ask them to make way.

Counting begins when somebody has to wait, and ends some time after nobody does. A request that finds a connection at
once therefore costs no counting.

The next turn is found in a heap whose entries are never changed. What changes for an address pushes a new entry; an old
entry is recognised when it comes up, and skipped. So a turn costs a few comparisons, however many wait.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from rawgate.relay.lessee import Lessee


class Client:
    """One client address.

    held     connections that it holds, or that are dialed for it
    waiting  who waits, each with its number in the order of arrival
    """

    __slots__ = ("held", "waiting")

    def __init__(self) -> None:
        self.held = 0
        self.waiting: dict[Lessee, int] = {}

    def first(self) -> int:
        """The number of the lessee that has waited longest."""
        return next(iter(self.waiting.values()))


class FairQueue:
    """The queue of one pool.

    share     connections that an address may hold while others wait
    waiting   how many wait
    counting  whether connections are counted, so whether `hold` and `release` are to be called
    """

    __slots__ = ("_clients", "_heap", "_number", "_over", "counting", "share", "waiting")

    def __init__(self, share: int) -> None:
        self.share = share
        self.waiting = 0
        self.counting = False
        self._clients: dict[str, Client] = {}
        self._over: dict[str, None] = {}  # the addresses that hold more than their share
        self._heap: list[tuple[int, int, Client]] = []  # (held, number of the first that waits, client)
        self._number = 0

    def __contains__(self, lessee: Lessee) -> bool:
        if not self.waiting:
            return False
        client = self._clients.get(lessee.address)
        return client is not None and lessee in client.waiting

    # ── counting ──

    def start_counting(self, holders: Iterable[str]) -> None:
        """holders: the address behind each connection that is leased, and behind each dial."""
        self.counting = True
        for address in holders:
            self.hold(address)

    def reshare(self, share: int) -> None:
        """From now on an address may hold so many connections while others wait."""
        self.share = share
        self._over = {address: None for address, client in self._clients.items() if client.held > share}

    def stop_counting(self) -> None:
        """Forget all counts, unless somebody waits."""
        if not self.waiting:
            self.counting = False
            self._clients.clear()
            self._over.clear()
            self._heap.clear()

    def hold(self, address: str) -> None:
        """This address holds one connection more, or one more is dialed for it."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = Client()
        client.held += 1
        if client.held == self.share + 1:
            self._over[address] = None
        self._changed(client)

    def release(self, address: str) -> None:
        """This address holds one connection less."""
        client = self._clients[address]
        client.held -= 1
        if client.held == self.share:
            del self._over[address]
        self._changed(client)
        self._drop(address, client)

    def held(self, address: str) -> int:
        """How many connections this address holds; 0 unless they are counted."""
        client = self._clients.get(address)
        return 0 if client is None else client.held

    def others_over(self, address: str) -> bool:
        """Whether any other address holds more than its share."""
        return len(self._over) > (address in self._over)

    # ── waiting ──

    def join(self, lessee: Lessee) -> None:
        """Wait, behind all others of the same address."""
        client = self._clients.get(lessee.address)
        if client is None:
            client = self._clients[lessee.address] = Client()
        self._number += 1
        self.waiting += 1
        client.waiting[lessee] = self._number
        if len(client.waiting) == 1:
            self._changed(client)

    def leave(self, lessee: Lessee) -> None:
        """Wait no longer. Does nothing for a lessee that does not wait."""
        if lessee in self:
            address = lessee.address
            client = self._clients[address]
            del client.waiting[lessee]
            self.waiting -= 1
            self._changed(client)
            self._drop(address, client)

    def take(self) -> Lessee | None:
        """Take the lessee whose turn it is out of the queue. None: nobody waits."""
        while self._heap:
            held, number, client = heappop(self._heap)
            if client.waiting and client.held == held and client.first() == number:
                lessee = next(iter(client.waiting))
                self.leave(lessee)
                return lessee
        return None

    def newest_of_longest(self, newcomer: Lessee) -> Lessee:
        """The newest lessee of the address that waits most often: it has to leave for the newcomer, who has joined
        already. The newcomer itself, unless another address waits as often as the newcomer's at least."""
        own = self._clients[newcomer.address]
        longest = own
        for client in self._clients.values():
            if client is not own and len(client.waiting) >= len(longest.waiting):
                longest = client
        return next(reversed(longest.waiting))

    # ── inside ──

    def _changed(self, client: Client) -> None:
        """Push an entry for the client. When most entries are old ones, make the heap anew."""
        if not client.waiting:
            return
        if len(self._heap) > 4 * self.waiting + 64:
            self._heap = [(one.held, one.first(), one) for one in self._clients.values() if one.waiting]
            heapify(self._heap)
        else:
            heappush(self._heap, (client.held, client.first(), client))

    def _drop(self, address: str, client: Client) -> None:
        """Forget an address that neither holds nor waits."""
        if not client.held and not client.waiting:
            del self._clients[address]
