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
- The measured servers run on one core (`taskset`), load generator and upstream on the others.
- All contenders of a workload run at the same time. Each round measures each of them once, in rotating order, so that
  disturbances by the rest of the machine are spread over all.
- CPU time per request is that of all processes of the contender, user and system, from /proc/PID/stat. Requests per
  second would say little, since often the generator is the busy one.
- The upstream counts requests too, and its count is compared with the generator's.
- A ratio is taken within each round. The report has their median, lowest and highest.
"""
