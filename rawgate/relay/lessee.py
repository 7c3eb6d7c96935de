"""Who leases a connection from a pool: an exchange, as the pool sees it. Tests fake it."""

from abc import ABC, abstractmethod

from mypy_extensions import trait

from rawgate.errors import Reason
from rawgate.relay.endpoints import Endpoint
from rawgate.relay.ports import UpstreamPort


@trait
class Lessee(ABC):
    """Asks a pool for a connection, may wait for it, and holds it until the pool gets it back.

    A base class for the reason that ports are (see `ports`). It is a trait, mypyc's word for a second base, since an
    exchange has another base already. A trait has no slots of its own.
    """

    __slots__ = ()

    unrepeatable: bool
    """Its request cannot be sent a second time, so its connection is looked at before the request goes out."""

    @property
    @abstractmethod
    def address(self) -> str:
        """The client's address, as a limiter's bucket. Connections are shared out among addresses."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What its upstream divides requests by, where it does so by hash; "" for nothing."""

    @property
    @abstractmethod
    def stalled_since(self) -> float:
        """Monotonic time since when it has held a connection and waited for its own client; `inf` while it does not
        wait for its client."""

    @abstractmethod
    def leased(self, upstream: UpstreamPort, now: float) -> None:
        """The connection that it waited for is leased to it."""

    @abstractmethod
    def lease_failed(self, reason: Reason, now: float, detail: str = "", endpoint: Endpoint | None = None) -> None:
        """It waited, and gets no connection. detail: why, for the log. endpoint: where a dial failed last."""

    @abstractmethod
    def make_way(self, now: float) -> None:
        """End now, and give the connection back: others wait for one."""
