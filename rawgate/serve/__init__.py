"""What wires the rooms together. The only door to uvloop.

load         a configuration file → a gate that decides, or every finding at once
clock        time of day and request ids, for the rooms that may not read them
service      listening sockets, pools, client connections: `serving`, for `run` and for the demo
run          one process from start to end: signals, drain, exit status
memory       gives back to the system what has been let go
telling      what a person is told, so that it cannot fail what is served
descriptors  how many connections the process can hold
"""
