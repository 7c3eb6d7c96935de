"""The sliding window of `limiter` as scripts that a store runs (Redis or Valkey): limits that several hosts share.

One string for each counter holds the ring: the number of the sub-window that was current at the latest count, and 17
counters, the current sub-window's first. A script runs as a whole before anything else, so those who ask at the same
time are counted one after the other. It reads the store's clock: the clocks of the hosts do not matter.

**Rounding.** Sub-windows are whole microseconds wide, a sixteenth of the window rounded up: a request may count a few
microseconds longer than in process, never shorter. All numbers stay below 2**53, up to which Lua's are exact.

**The store's clock** is its time of day. Where it is set back, time stands still for a counter until it has caught up,
as in `limiter`; but set back by more than a window the counter begins anew, or its clients would be refused for hours.
Set forward it releases early. So the promise needs a clock that is slewed, as NTP does it once it runs.

**Keys expire by themselves**, when the last of what they count is released. Each script touches one key, so that a
Cluster, which spreads keys over its nodes, runs it wherever the key is.

Rejected: a hash with a field for each sub-window (three times the memory, and several commands a hit); an estimate from
two counters, or a leaky bucket, which keep another promise than the one that holds in process; a log of times, whose
memory grows with `max`.
"""

from hashlib import sha256
from math import ceil
from typing import Final

from rawgate.policy.limiter import COUNTERS, SUBWINDOWS

SHARE: Final = 4
"""One question gets at most this part of what is free, beyond what it needs. So no host takes so much in advance that
others find nothing, and leases get smaller towards the end of a limit."""

_READ: Final = """
local width, last = tonumber(ARGV[1]), nil
local ring = {}
local raw = redis.call('GET', KEYS[1])
if raw then
  ring = {struct.unpack(FORMAT, raw)}
  last = table.remove(ring, 1)
end
""".replace("FORMAT", f"'>I7{'I4' * COUNTERS}'")

_WRITE: Final = f"struct.pack('>I7{'I4' * COUNTERS}', current, unpack(ring, 1, {COUNTERS}))"

CLOCK: Final = "redis.call('TIME')"
"""How `COUNT` reads the time: seconds and microseconds. Tests have their own clock in its place; nothing else of the
script is different there."""

COUNT: Final = f"""
local time = {CLOCK}
local now = time[1] * 1000000 + time[2]
{_READ}
local most, need, extra = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local current = math.floor(now / width)
local passed = current - (last or current)
if passed < 0 and passed >= -{COUNTERS} then
  current, passed = last, 0
elseif passed < 0 then
  ring, passed = {{}}, 0
end
local counted = 0
for age = {SUBWINDOWS}, 0, -1 do
  local count = age >= passed and ring[age - passed + 1] or 0
  ring[age + 1] = count
  counted = counted + count
end
local free = most - counted
local granted = 0
if free > 0 then
  granted = math.min(free, need)
  granted = granted + math.min(extra, math.floor((free - granted) / {SHARE}))
  ring[1] = ring[1] + granted
  free = free - granted
  redis.call('SET', KEYS[1], {_WRITE}, 'PX', math.ceil({COUNTERS} * width / 1000) + 1)
end
local age, above = {SUBWINDOWS}, math.max(-free, 0)
while age > 0 and above >= ring[age + 1] do
  above = above - ring[age + 1]
  age = age - 1
end
local release = (current - age + {COUNTERS}) * width - now
return {{granted, math.max(free, 0), release, (current + 1) * width - now, current}}
"""
"""KEYS: the counter. ARGV: width of a sub-window in microseconds, `max`, how many requests wait for an answer, and how
many slots are asked for beyond. Returns how many were granted (and counted), how many are free after that,
microseconds until there are more, microseconds until the current sub-window ends, and its number."""

TAKE_BACK: Final = f"""
{_READ}
if not last then return 0 end
local current, count = last, tonumber(ARGV[3])
local age = math.max(current - tonumber(ARGV[2]), 0)
if age > {SUBWINDOWS} then return 0 end
ring[age + 1] = math.max(ring[age + 1] - count, 0)
redis.call('SET', KEYS[1], {_WRITE}, 'KEEPTTL')
return 1
"""
"""KEYS: the counter. ARGV: the width, the number of the sub-window in which they were counted, how many."""

LONGEST: Final = 128
"""Octets of a client in a key; of a longer one the digest stands there."""

_ESCAPED: Final = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%:{}"})
"""In the names of limits: what parts a key, and the braces with which a Cluster would keep all counters of a limit on
one node (routes are called by their paths, and those may be templates: "/users/{id}")."""


def width_of(window: float) -> int:
    """Microseconds of a sub-window."""
    return ceil(round(window * 1_000_000) / SUBWINDOWS)


def key_prefix(name: str, window: float) -> bytes:
    """What the counters of a limit begin with. Whoever has the same limit under the same name counts with us; another
    window is another ring, as in process."""
    return f"rawgate:{name.translate(_ESCAPED)}:{width_of(window)}:".encode("utf-8", "surrogatepass")


def counter_key(prefix: bytes, client: str) -> bytes:
    """The key of a client's counter. It has no braces: clients do not choose the node of a Cluster."""
    octets = client.encode("utf-8", "surrogatepass")
    if len(octets) <= LONGEST and b"{" not in octets and b"}" not in octets:
        return prefix + octets
    return prefix + b"sha256:" + sha256(octets).hexdigest().encode()
