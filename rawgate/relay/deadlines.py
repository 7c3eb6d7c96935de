"""Until when an exchange waits, for whom, and how it ends if nothing comes.

A deadline runs only against the side that is waited for, and from the moment when that side last made progress. The
first line that applies says which side that is:

    it is in the queue              a free connection: `queue_timeout`, or `pool.GRACE` without a place there
    the client is full              the client: `send_timeout`, and `body_rate` octets a second
    the upstream is full            the upstream: `idle_timeout`; when it has responded already: `REST_TIMEOUT`
    the request's body is missing   the client: `body_timeout`, and `body_rate` octets a second over each `RATE_SPAN`
    the response's head is missing  the upstream: `response_timeout`
    the response's body is missing  the upstream: `idle_timeout`

`total_timeout` runs beside all of these. A dial has a deadline of its own, `connect_timeout`, since it may serve
another lessee in the end.

These are functions and no methods of `Exchange`, since they decide nothing: they look at an exchange, and keep only the
book of its pace (`waiting_since`, `upstream_pace`).
"""

from math import inf
from typing import TYPE_CHECKING

from rawgate import errors
from rawgate.errors import Reason
from rawgate.relay.pace import Pace
from rawgate.relay.phases import AWAITING, LEASING, SENDING, UPLOADING
from rawgate.relay.pool import GRACE
from rawgate.relay.upload import RATE_SPAN

if TYPE_CHECKING:
    from rawgate.relay.exchange import Exchange
    from rawgate.relay.ports import UpstreamPort

REST_TIMEOUT = 5.0
"""Seconds in which an upstream that has responded must take some of the rest of the request. If it takes none it has no
use for it, and a client that reads only when it has sent all would wait for nothing. nginx waits as long for a client
that need not send on (`lingering_timeout`)."""


def deadline(exchange: "Exchange") -> tuple[float, Reason]:
    """When the time is over, in monotonic seconds, and the reason with which the exchange ends then."""
    due, reason = _deadline_of_side(exchange)
    total = exchange.pool.options.total_timeout
    if total is not None and exchange.started + total < due:
        return exchange.started + total, errors.UPSTREAM_CUT if exchange.status else errors.UPSTREAM_TIMEOUT
    return due, reason


def _deadline_of_side(exchange: "Exchange") -> tuple[float, Reason]:
    options, upload, phase, since = exchange.pool.options, exchange.upload, exchange.phase, exchange.waiting_since
    if phase is LEASING:
        return _end_of_waiting(exchange, options.queue_timeout)
    if exchange.client_pace is not None:
        return since + exchange.client_options.send_timeout, errors.CLIENT_GONE
    if exchange.upstream_full:
        reason = errors.UPSTREAM_CUT if exchange.status else errors.UPSTREAM_TIMEOUT
        return since + (REST_TIMEOUT if phase is UPLOADING else options.idle_timeout), reason
    if (phase is SENDING or phase is UPLOADING) and upload is not None and not upload.awaits_100:
        due = since + exchange.client_options.body_timeout
        if exchange.client_options.body_rate:
            due = min(due, upload.rate_since + RATE_SPAN)
        return due, errors.BODY_TIMEOUT
    if phase is SENDING or phase is AWAITING:
        own = exchange.forward.options.response_timeout
        return since + (options.response_timeout if own is None else own), errors.UPSTREAM_TIMEOUT
    return since + options.idle_timeout, errors.UPSTREAM_CUT


def _end_of_waiting(exchange: "Exchange", queue_timeout: float) -> tuple[float, Reason]:
    """The deadline of one that has no connection yet. A dial has its own."""
    pool, since = exchange.pool, exchange.waiting_since
    if not pool.queued(exchange):
        return inf, errors.QUEUE_TIMEOUT
    if pool.has_place(exchange):
        return since + queue_timeout, errors.QUEUE_TIMEOUT
    return since + min(queue_timeout, GRACE), errors.QUEUE_FULL


def past_total(exchange: "Exchange", now: float) -> bool:
    """Whether `total_timeout` is over."""
    total = exchange.pool.options.total_timeout
    return total is not None and now >= exchange.started + total


def has_progressed(exchange: "Exchange", reason: Reason, now: float) -> bool:
    """The deadline with this reason is over. Looks closer: the side may have taken or sent enough meanwhile, and one
    that had no place in the queue may have one now."""
    if reason is errors.QUEUE_FULL:
        return not past_total(exchange, now) and exchange.pool.find_place(exchange, now)
    upload = exchange.upload
    if reason is errors.BODY_TIMEOUT and upload is not None:
        on_time = now < exchange.waiting_since + exchange.client_options.body_timeout
        return on_time and upload.reaches(exchange.client_options.body_rate, now)
    if past_total(exchange, now) or not _takes(exchange, now):
        return False
    exchange.waiting_since = now
    return True


def _takes(exchange: "Exchange", now: float) -> bool:
    """Whether the side that is waited for has taken some of what was written to it."""
    pace = exchange.client_pace
    if pace is not None:
        return exchange.client_takes(pace, exchange.client_options.body_rate, now)
    upstream = exchange.upstream
    if upstream is None:
        return False
    if exchange.upstream_full:
        return exchange.upstream_takes(now)
    return exchange.phase is AWAITING and exchange.bytes_in > 0 and _takes_request(exchange, upstream, now)


def _takes_request(exchange: "Exchange", upstream: "UpstreamPort", now: float) -> bool:
    """Whether the upstream still takes the request. `response_timeout` does not run meanwhile, since what we wrote may
    lie in the kernel for minutes. The upstream has to have taken some of the body before the first look, so that one
    that is not there at all is noticed in time, and then some more in each `idle_timeout`."""
    left, pace = upstream.write_backlog(), exchange.upstream_pace
    if pace is None:
        if not 0 < left < exchange.bytes_in:
            return False
        exchange.upstream_pace = Pace(left, now)
        return True
    pace.look(left, now)
    if not left:
        exchange.upstream_pace = None
        return True
    return now < pace.moved + exchange.pool.options.idle_timeout
