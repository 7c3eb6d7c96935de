"""Asks name servers what the system's look-up cannot tell: for how long an answer holds, and SRV records. The only door
to dnspython, which is optional: `rawgate[names]`.

The servers are asked in their order, and the next one when one fails or is silent: over UDP with EDNS, over TCP when an
answer does not fit. Additional records are not believed: what an answer names is asked for by name.

- Own servers (`gateway.resolver`) are asked for names as they are written.
- Those of the system come from resolv.conf, and so do the domains in which a name is searched, unless it ends in a dot.

dnspython was chosen before aiodns and pycares: it is Python alone, so no answer can crash the process, and it needs
neither a thread nor a library of its own. A question costs it 0.7 ms of CPU time, once in a TTL.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING

from rawgate.net.instances import Instances, Record, UselessError, srv_instances
from rawgate.net.names import Found, LookUpError, interleaved

if TYPE_CHECKING:
    from dns._asyncbackend import Backend
    from dns.asyncresolver import Resolver
    from dns.resolver import Answer

    Question = asyncio.Task[Answer]

PACKAGE = "dns"

NO_SUCH_NAME = "no such name"

PATIENCE = 5.0
"""Seconds for one question, over all servers: what resolv.conf's `timeout` is for one of them."""

ONE_SERVER = 1.0
"""Seconds for one server before the next one is asked."""

OTHER_FAMILY = 0.5
"""Seconds for which the answer for one family waits for that for the other. RFC 8305 section 3 has 50 ms for a person
who waits; here somebody waits for the very first answer only, and a target that is missing costs more."""

PAYLOAD = 1232
"""Octets that an answer over UDP may have (DNS Flag Day 2020): it is not fragmented on its way."""


def is_installed() -> bool:
    """Whether name servers can be asked. Reads what that needs, since the first question should not wait for it."""
    if find_spec(PACKAGE) is None:
        return False
    import dns.asyncresolver  # noqa: F401

    return True


class Nameservers:
    """These servers, in their order; none: the system's. Each is an address and a port."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        self._servers = tuple(servers)
        self._made: Resolver | None = None

    async def addresses(self, host: str, before: Sequence[str] = ()) -> Found:
        """Addresses of both families, asked for at once (RFC 8305 section 3): at least one. Raises LookUpError.

        before: the addresses so far. Where one family cannot be asked for, its part of them stays.
        """
        name = host.lower().removesuffix(".")
        if name == "localhost" or name.endswith(".localhost"):
            return Found(("127.0.0.1", "::1"), 3600.0)  # RFC 6761 section 6.3: no server is asked
        loop = asyncio.get_running_loop()
        six, four = questions = (loop.create_task(self._ask(host, "AAAA")), loop.create_task(self._ask(host, "A")))
        try:
            await asyncio.wait(questions, return_when=asyncio.FIRST_COMPLETED)
            # The second one gets all the time that it needs where the first has brought nothing.
            await asyncio.wait(questions, timeout=OTHER_FAMILY if any(map(_has_records, questions)) else None)
            return _both(six, four, before)
        finally:
            for question in questions:
                question.cancel()

    async def services(self, name: str) -> tuple[Instances, float]:
        """What the SRV records of a name say, and for how many seconds. Raises LookUpError."""
        answer = await self._ask(name, "SRV")
        records = [
            Record(one.priority, one.weight, one.port, one.target.to_text(omit_final_dot=one.target.to_text() != "."))
            for one in answer.rrset or ()
        ]
        if not records:
            raise LookUpError("it has no SRV records")
        try:
            return srv_instances(records), _ttl(answer)
        except UselessError as error:
            raise LookUpError(str(error)) from None

    async def _ask(self, name: str, kind: str) -> "Answer":
        """An answer, which may hold no records. Raises LookUpError."""
        import dns.exception
        import dns.resolver

        try:
            return await self._resolver.resolve(
                name, kind, raise_on_no_answer=False, lifetime=PATIENCE, search=None, backend=_backend()
            )
        except dns.resolver.NXDOMAIN:
            raise LookUpError(NO_SUCH_NAME) from None
        except dns.exception.Timeout:
            raise LookUpError("no name server answers") from None
        except dns.resolver.NoNameservers as error:
            raise LookUpError(_of_use_to_nobody(error.kwargs.get("errors", ()))) from None
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise LookUpError(str(error) or type(error).__name__) from None

    @property
    def _resolver(self) -> "Resolver":
        if self._made is None:
            self._made = self._make()
        return self._made

    def _make(self) -> "Resolver":
        from dns.asyncresolver import Resolver
        from dns.nameserver import Do53Nameserver
        from dns.resolver import NoResolverConfiguration

        try:
            made = Resolver(configure=not self._servers)
        except NoResolverConfiguration as error:
            raise LookUpError("there is no resolv.conf that names a server") from error
        if self._servers:
            made.nameservers = [Do53Nameserver(address, port) for address, port in self._servers]
        made.use_search_by_default = not self._servers
        made.timeout = ONE_SERVER
        made.use_edns(0, 0, PAYLOAD)
        return made


def _of_use_to_nobody(errors: Iterable[Sequence[object]]) -> str:
    """What name servers have said that all failed. errors: dnspython's, with a response's code or an exception fourth
    in each."""
    said = dict.fromkeys(str(error[3]) if isinstance(error[3], str) else "nothing that can be read" for error in errors)
    return f"the name server says {', '.join(said)}" if said else "no name server answers"


def _backend() -> "Backend":
    from dns.asyncbackend import get_backend

    return get_backend("asyncio")


def _has_records(question: "Question") -> bool:
    return question.done() and question.exception() is None and question.result().rrset is not None


def _both(six: "Question", four: "Question", before: Sequence[str]) -> Found:
    """What the two questions have brought; one of them may be under way still."""
    found: dict[str, int] = {}
    ttls: list[float] = []
    why: list[str] = []
    for question, family in ((six, socket.AF_INET6), (four, socket.AF_INET)):
        if not question.done() or isinstance(question.exception(), LookUpError):
            why.append(str(question.exception()) if question.done() else "no name server answers")
            if why[-1] != NO_SUCH_NAME:
                found |= {one: family for one in before if (":" in one) == (family == socket.AF_INET6)}
            continue
        answer = question.result()
        if answer.rrset:
            # In an order of their own: servers turn the records round with each answer.
            found |= {one.address: family for one in sorted(answer.rrset, key=lambda one: ip_address(one.address))}
            ttls.append(_ttl(answer))
    if not ttls:
        raise LookUpError(why[0] if why else "it has no addresses")
    return Found(interleaved(found), min(ttls))


def _ttl(answer: "Answer") -> float:
    """Of all records that led to the answer."""
    return float(answer.chaining_result.minimum_ttl)
