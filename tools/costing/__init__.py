"""Looks for the most expensive request within the limits: `tools/worst --help`.

__main__       the command
search         measures every production once, then breeds the costliest at random
grammar        the productions: requests with one part at its largest; bodies
mutation       a request with a random change, or combined from two
configuration  a configuration that turns on every step before a limit
gateway        a gateway with that configuration, and the CPU time that requests take
upstream       the service behind the gateway, as a process
"""
