"""What happened: the access log, one line of JSON for each finished request; and counts of all of them.

model       the fields of a line, in the promised order
line        Record → Line → JSON. No I/O
access_log  a bounded queue of records and lines, and the thread that writes it out
histogram   latencies in fixed buckets, and percentiles of them
layout      which cell counts what, by the names of the configuration
found_targets
            the cells of targets that are found: they come and go
counters    cells that all workers share, and the sink that counts in them
reading     all counts at one moment, by name
metrics     the promised metrics: names, labels, how each is read
prometheus  the metrics as text, for Prometheus. The only door to prometheus-client
"""
