"""Looks for the most expensive request within the limits: `tools/worst --help`.

grammar   what requests are made of, each part at its largest; bodies
mutation  a request changed by chance, or made of two
setting   a configuration that turns on every step before a limit
stage     a gateway with it and its upstream, and the CPU time that requests take
upstream  what answers behind it, as a process
search    every production once, then chance, led by what costs most
__main__  the command
"""
