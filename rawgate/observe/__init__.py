"""The access log: one line of JSON for each finished request.

model       the fields of a line, in the promised order
line        Record → Line → JSON. No I/O
access_log  a bounded queue, and the thread that writes it out
"""
