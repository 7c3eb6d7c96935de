"""The benchmark suite: rawgate beside other servers that do the same job, on one machine, in one run.

    machine      which programs and cores there are
    processes    start a server on a core, read its CPU time and memory, stop it
    contenders   how each server is started from its configuration file in contenders/
    tokens       pools of HS256 tokens
    generators   wrk and h2load: a load in, a `Sample` out
    workloads    what is measured: which contenders, which load, the ratio of what to what, and the bar
    rounds       contenders in turn, round after round
    special      what is no load: idle connections, the start, delays at a held rate
    report       the table, the JSON, and ratios
    page         the HTML page

Method
- The servers measured run on one core (`taskset`), the load generator and the upstream on the others.
- All contenders of a workload are up at the same time; each round measures each of them once, in an order that turns,
  so that whatever else the machine does meets all of them.
- CPU time a request is that of all processes of the contender, user and system, from /proc/PID/stat: requests per
  second say little when the generator, and not the server, is what is busy.
- A ratio is taken within each round; what is reported is the median of these, with the lowest and the highest.
"""
