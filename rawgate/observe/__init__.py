"""What the gateway tells its operator.

model       what a line holds
line        one finished request → one line of JSON. No I/O
access_log  a bounded queue and the thread that writes it out
"""
