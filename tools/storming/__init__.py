"""Replays the classic storms over targets that fail, before rawgate, nginx and HAProxy in turn.

__main__    the command: `tools/storms --help`
storms      what happens to the targets, and when
contenders  the gateways, and what each is configured to do about it
clients     an open loop of clients, which measures from when a request was due
report      what clients and targets saw

The targets are those of the tests: `tests/harness/upstreams.py`.
"""
