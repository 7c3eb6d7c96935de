"""A request, as the steps of the gate know it."""

from typing import Final

from mypy_extensions import mypyc_attr

from rawgate.message import Peer, RequestHead
from rawgate.policy.addresses import PeerAddress
from rawgate.policy.paths import Normal


@mypyc_attr(acyclic=True, free_list_len=1)
class Request:
    """What came, and what the first steps have found out about it.

    target   its path and query, normalised
    sender   who is at the other end of the connection: `peer`, or what stands in its place in the PROXY header
    client   who the request is from: the sender, or who a trusted proxy says
    id       of the request: the trusted sender's, or a new one
    """

    __slots__ = ("client", "head", "id", "peer", "sender", "target")

    def __init__(
        self, head: RequestHead, target: Normal, sender: PeerAddress, peer: Peer, client: PeerAddress, id_: str
    ) -> None:
        self.head: Final = head
        self.target: Final = target
        self.sender: Final = sender
        self.peer: Final = peer
        self.client: Final = client
        self.id: Final = id_
