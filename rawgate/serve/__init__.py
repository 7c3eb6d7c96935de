"""Wires the rooms together and serves. The only door to uvloop.

load         a configuration file → a gate that decides, or every finding at once
clock        the Date field and request ids, for the rooms that may not read clocks
listening    the listening sockets, opened without an event loop
service      pools, client connections: `serving`, used by `run` and by the demo
keys         the keys of identity providers, fetched and kept fresh
discovery    where services are that DNS or Consul tell of
stores       keeps in touch with the store of limits over hosts; `store_client` is what is said to it, the only door to
             redis-py
health_keeper
             which targets work, in one process: `checking` asks them, `health_book` knows it for all processes
reload       a new configuration for a process that serves, without a lost request
changes      what differs between two configurations, by the names that users know
tunnel_terms
             which tunnels go on under a new configuration
control      how `rawgate reload` finds the gateway and speaks to it
run          from start to end: one process alone, or several
alone        one process that serves by itself: signals, commands, exit status
supervisor   the parent of several processes that serve. `crew` keeps them alive, `rollout` brings a new configuration
             to all, `fetch_routing` key sets, `seeking` where services are, `health_routing` what is known of targets;
             `channel` is what they say to each other
worker       one of them; `sharing` is the memory in which they count together, `common_fetch` how one fetches for all
publishing   sets the gauges that only a look can tell: connections, queues, health
status       what the gateway tells of itself, as JSON
admin        the listener that tells it: status page, metrics, health
memory       gives freed memory back to the system
shared_memory
             memory that a process shares with those that it forks, and locks in it
worker_quotas
             what the limits of all workers are counted in, and how one worker wakes another
telling      messages for a person, which can neither fail nor delay what is served
descriptors  how many connections the process can hold, and how many its configuration may ask for
"""
