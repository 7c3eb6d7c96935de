"""Limits that several hosts share: what is asked of the store, what it has answered, and the slots that it has lent.

`serve` sends the questions and brings the answers; here is no I/O and no clock. All hits of one turn of the loop are
sent together, those of one counter as one question. A store may be several servers, each with counters of its own (a
Cluster). One that does not answer is `silent`: it is not asked, and each limit does at once what its `on_failure` says
for the clients that are counted there.

**A lease.** A limit that is `leased` asks for more slots than it has requests, and admits further requests with them
without asking. The store counts all of them in its current sub-window, and says how long that lasts yet. The lease is
good for as long, measured here from the moment at which the question was sent, which is before the store read its
clock, and by a clock that may run slower than the store's (`PACE`): so it ends here not later than there. A request
that takes a slot comes after the answer. So it lies in the sub-window in which it is counted, and the promise is that
of the ring: never more than `max` in any window, over all
hosts. Slots that are left when the sub-window ends are lost: they count until it is released.

**How many** is asked for: half of what is expected yet in this sub-window, so a steady client of n requests asks about
log2(n) times, and what is lost is small. What is expected follows from the sub-window before, and from this one so far.
A client that comes once in a while never leases more than it needs. The store gives at most a quarter of what is free
beyond what is needed (`store_scripts.SHARE`).

Each process has leases of its own. Memory that all workers of a host share would lose fewer slots and ask less, by the
number of workers at most; a lock around each hit, and answers that another process waits for, were not worth it.

What a store says to be full is full until it releases something, so a client that floods a leased limit is refused
here. (Only a request that another limit refuses gives slots back earlier.)
"""

from collections import OrderedDict
from collections.abc import Callable
from math import ceil, inf
from typing import Final

from rawgate.policy.store_scripts import counter_key, key_prefix, width_of

PACE: Final = 0.999
"""How much of a lease's time is used. NTP lets a clock run 500 ppm too fast or too slow at most (ntpd, RFC 5905): two
of them are a thousandth apart."""


class Question:
    """How many requests of one counter may be served. Settled once: by the store, or by its silence.

    key, width, maximum  of the counter: see `store_scripts`
    need       requests that wait for the answer
    extra      slots asked for beyond
    sent       monotonic seconds at which it was sent
    settled    there is an answer, or there will be none
    answered   there is one: the other fields have it
    granted    requests that are served, of those that wait
    free       slots that were free after it
    release    monotonic seconds at which there are more, not too early
    subwindow  the number of that in which they were counted
    """

    __slots__ = (
        "_store",
        "_waiting",
        "answered",
        "extra",
        "free",
        "granted",
        "key",
        "lease",
        "maximum",
        "need",
        "release",
        "sent",
        "settled",
        "subwindow",
        "width",
    )

    def __init__(self, store: "Store", key: bytes, width: int, maximum: int, lease: "Lease | None") -> None:
        self._store: Final = store
        self.key: Final = key
        self.width: Final = width
        self.maximum: Final = maximum
        self.lease: Final = lease
        self.need = 0
        self.extra = 0
        self.sent = 0.0
        self.settled = self.answered = False
        self.granted = self.free = self.subwindow = 0
        self.release = 0.0
        self._waiting: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        state = "answered" if self.answered else "given up" if self.settled else "open"
        return f"<Question {self.key!r}: {self.need} + {self.extra}, {state}>"

    def when_settled(self, call: Callable[[], None]) -> None:
        """Call this once when it is settled."""
        self._waiting.append(call)

    def answer(self, granted: int, free: int, release: int, left: int, subwindow: int, now: float) -> None:
        """What `store_scripts.COUNT` returned; now: monotonic seconds."""
        self.granted, self.free, self.subwindow = min(granted, self.need), free, subwindow
        self.release = now + release / 1e6
        lease = self.lease
        if lease is not None:
            lease.asking -= 1
            self._store.lent += granted - self.granted
            lease.take(granted - self.granted, self.granted, subwindow, self.sent + left / 1e6 * PACE)
            lease.free, lease.release = free, self.release
            lease.full_until = self.sent + release / 1e6 if granted < self.need else 0.0
        self.answered = True
        self._settle()

    def give_up(self) -> None:
        """There is no answer."""
        if self.lease is not None:
            self.lease.asking -= 1
        self._settle()

    def _settle(self) -> None:
        self.settled = True
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()


class Lease:
    """Slots of one counter that this process has in hand, and what it knows of the client's rate. Times are monotonic
    seconds.

    left        slots in hand, until `until`
    until       the end of the sub-window in which they are counted
    used        how many of that sub-window were used
    lately      the same of an earlier one, for each that has passed since
    full_until  the store has none until then
    free, release  as the store said last
    asking      questions under way
    """

    __slots__ = ("_width", "asking", "free", "full_until", "lately", "left", "release", "subwindow", "until", "used")

    def __init__(self, width: int) -> None:
        self._width: Final = width / 1e6
        self.left = self.used = self.asking = self.free = 0
        self.lately = 0.0
        self.subwindow = -1
        self.until = -inf
        self.full_until = self.release = 0.0

    def __repr__(self) -> str:
        return f"<Lease: {self.left} left of sub-window {self.subwindow}, {self.used} used>"

    def take(self, slots: int, needed: int, subwindow: int, until: float) -> None:
        """The store has lent so many, besides those for requests that waited."""
        if subwindow > self.subwindow:
            passed = subwindow - self.subwindow if self.subwindow >= 0 else 1
            self.lately = self.used / passed
            self.left = self.used = 0
            self.subwindow, self.until = subwindow, until
        if subwindow == self.subwindow:
            # Both ends are not later than the store's.
            self.until = max(self.until, until)
            self.left += slots
            self.used += needed

    def appetite(self, now: float) -> int:
        """How many slots to ask for beyond the one that is needed."""
        if self.asking:
            return 0
        width = self._width
        if now < self.until:
            rest = self.until - now
            so_far = min(float(self.used), self.used * rest / max(width - rest, 1e-6))
            return int(max(so_far, self.lately * rest / width) / 2)
        passed = now - self.until
        if passed >= width * 16:
            return 0
        whole = passed // width
        rest = width - (passed - whole * width)
        return int(self.used / (whole + 1) * rest / width / 2)


class Store:
    """What a process asks, and what it has in hand.

    server_of  key → the name of the server that has this counter; "" where there is but one
    silent     servers that are not asked, since they do not answer
    wake       is called when there is something to send to a server, and nothing was before
    leases     by key and maximum, the longest unused first: at most `capacity`, beyond which slots in hand are lost
    asked      requests that waited for an answer; `spared`: those decided here by a lease
    lent, used  slots that were lent in advance, and those of them that a request has used
    fallbacks  requests that were decided without the store: since it did not answer in time ("late"), or was not asked
               since it did not answer others ("down")
    """

    __slots__ = (
        "_undone",
        "_unsent",
        "asked",
        "capacity",
        "fallbacks",
        "leases",
        "lent",
        "server_of",
        "silent",
        "spared",
        "used",
        "wake",
    )

    def __init__(self, capacity: int = 100_000) -> None:
        self.capacity: Final = capacity
        self.silent = {""}
        self.server_of: Callable[[bytes], str] = only_server
        self.wake: Callable[[], None] | None = None
        self.leases: OrderedDict[tuple[bytes, int], Lease] = OrderedDict()
        self.asked = self.spared = self.lent = self.used = 0
        self.fallbacks: dict[str, int] = {"late": 0, "down": 0}
        self._unsent: dict[str, dict[tuple[bytes, int], Question]] = {}
        self._undone: dict[str, list[Undone]] = {}

    def __repr__(self) -> str:
        unsent = sum(map(len, self._unsent.values()))
        return f"<Store {'up' if self.is_up else 'down'}, {len(self.leases)} leases, {unsent} unsent>"

    @property
    def is_up(self) -> bool:
        """All of its servers are asked."""
        return not self.silent

    def asks(self, key: bytes) -> bool:
        """Whether the server that has this counter is asked."""
        return not self.silent or self.server_of(key) not in self.silent

    def question(self, key: bytes, width: int, maximum: int, lease: Lease | None, extra: int) -> Question:
        """The question that one more request waits for: its place in it is `need - 1`."""
        server = self.server_of(key)
        unsent = self._unsent.get(server)
        question = None if unsent is None else unsent.get((key, maximum))
        if question is None:
            self._wake(server)
            question = Question(self, key, width, maximum, lease)
            self._unsent.setdefault(server, {})[key, maximum] = question
            if lease is not None:
                lease.asking += 1
        question.need += 1
        question.extra = max(question.extra, extra)
        self.asked += 1
        return question

    def lease(self, key: bytes, width: int, maximum: int) -> Lease:
        """What is in hand of a counter. Slots that were lent to one plan are not another's."""
        lease = self.leases.get((key, maximum))
        if lease is None:
            if len(self.leases) >= self.capacity:
                self.leases.popitem(last=False)
            lease = self.leases[key, maximum] = Lease(width)
        else:
            self.leases.move_to_end((key, maximum))
        return lease

    def take_back(self, question: Question) -> None:
        """A request that the store has counted is not served, because another limit refuses it. A server that is not
        asked goes on counting it."""
        server = self.server_of(question.key)
        if server in self.silent:
            return
        self._wake(server)
        self._undone.setdefault(server, []).append(Undone(question.key, question.width, question.subwindow))

    def _wake(self, server: str) -> None:
        if server not in self._unsent and server not in self._undone and self.wake is not None:
            self.wake()

    def waiting(self) -> list[str]:
        """Servers for which there is something to send."""
        return list(dict.fromkeys([*self._unsent, *self._undone]))

    def take_questions(self, most: int, server: str = "") -> list[Question]:
        """What is to be sent to that server now, at most so many; the others stay."""
        unsent = self._unsent.pop(server, {})
        if len(unsent) <= most:
            return list(unsent.values())
        keys = list(unsent)[:most]
        taken = [unsent.pop(key) for key in keys]
        self._unsent[server] = unsent
        return taken

    def take_undone(self, server: str = "") -> "list[Undone]":
        """What that server is to be told of beside it."""
        return self._undone.pop(server, [])

    def silence(self, server: str) -> None:
        """Do not ask that server from now on. Who waits for an answer to what was not sent gets none; slots in hand
        stay good."""
        self.silent.add(server)
        self._undone.pop(server, None)
        for question in self._unsent.pop(server, {}).values():
            question.give_up()

    def close(self) -> None:
        """Ask nothing from now on."""
        for server in self.waiting():
            self.silence(server)
        self.silent, self.server_of = {""}, only_server


def only_server(key: bytes) -> str:
    """The `Store.server_of` of a store that is one server."""
    return ""


class Undone:
    """A request that was counted in that sub-window and was not served."""

    __slots__ = ("key", "subwindow", "width")

    def __init__(self, key: bytes, width: int, subwindow: int) -> None:
        self.key: Final = key
        self.width: Final = width
        self.subwindow: Final = subwindow


class StoredRule:
    """At most `maximum` requests of a client in any window, over all hosts that have the same limit.

    leased  slots are taken in advance
    """

    __slots__ = ("_prefix", "_width", "leased", "maximum", "store")

    def __init__(self, store: Store, name: str, maximum: int, window: float, leased: bool) -> None:
        self.store: Final = store
        self.maximum: Final = maximum
        self.leased: Final = leased
        self._prefix: Final = key_prefix(name, window)
        self._width: Final = width_of(window)

    def key(self, client: str) -> bytes:
        """Of the client's counter."""
        return counter_key(self._prefix, client)

    def lease(self, key: bytes) -> Lease | None:
        """What is in hand of that counter, where slots are taken in advance."""
        return self.store.lease(key, self._width, self.maximum) if self.leased else None

    def ask(self, key: bytes, lease: Lease | None, now: float) -> Question:
        """Wait for the store's answer."""
        extra = 0 if lease is None else lease.appetite(now)
        return self.store.question(key, self._width, self.maximum, lease, extra)


def seconds_until(moment: float, now: float) -> int:
    """Whole seconds, rounded up, at least 1."""
    return max(1, ceil(moment - now))
