"""Wears a gateway out, over loopback, and measures what that does to it.

stage    the gateway and its upstream as processes; their memory and descriptors
service  the upstream: answers, takes uploads, sends without end, resets
crowd    slow clients: heads and bodies that trickle, answers that are hardly read
probe    a quick client that measures how long its requests take, in a process of its own
hoard    clients that ask without end and never read
breaks   floods of connections, uploads and upstreams that break off
"""
