"""The benchmark suite: rawgate beside other servers that do the same job, on one machine, in one run.

    machine      which programs and cores there are
    processes    start a server on a core, read its CPU time and memory, stop it
    generators   wrk, h2load, programs of ours: a load in, a `Sample` and what the server spent out
    contenders   how each server is started from its file in contenders/; the upstreams
    tokens       pools of tokens and API keys
    workloads    what is measured: which contenders, which load, the ratio of what to what, and the bar
    rounds       contenders in turn, round after round
    special      what is no load: delays at held rates, idle connections, the start
    report       the table, the JSON, and the bars
    plots        SVG
    page         the HTML page

Beside it: contenders/ (a file for each), upstream/ (the services behind them), wrk/ (scripts) and clients/ (programs
that do what wrk cannot), stages.py, limiter_compare.py and jwt_compare.py (one function beside another, no server),
whole.py and count.py (a whole request without sockets: its time, its instructions).

Method
- The servers measured run on one core (`taskset`), the load generator and the upstream on the others.
- All contenders of a workload are up at the same time; each round measures each of them once, in an order that turns,
  so that whatever else the machine does meets all of them.
- CPU time a request is that of all processes of the contender, user and system, from /proc/PID/stat: requests per
  second say little when the generator, and not the server, is what is busy.
- The upstream counts too: what reaches it is held against what the generator saw.
- A ratio is taken within each round; what is reported is the median of these, with the lowest and the highest.
"""
