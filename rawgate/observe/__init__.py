"""What the gateway tells its operator.

shape       what a line holds
line        one finished request → one line of JSON. No I/O
access_log  a bounded queue and the thread that writes it out
"""
