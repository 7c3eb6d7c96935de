"""Strains a gateway over loopback for minutes, and measures its delays, memory and descriptors.

__main__  the command: `tools/soak --help`
crowd     slow clients: heads and bodies that trickle, responses that are hardly read
probe     a quick client that measures how long its requests take, in a process of its own
hoard     clients that send requests without end and never read
breaks    floods of connections, uploads and upstreams that break off
unrest    a gateway with several workers: kills, reloads, a log that stalls, a full disk, no descriptors; `clock`, which
          it goes by, jumps
gateway   the gateway and its upstream as processes
service   the upstream: responds, takes uploads, sends without end, resets
"""
