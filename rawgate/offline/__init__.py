"""What can be known of a configuration without serving it. Each command asks the gate that would serve.

sample         a request that nobody sent, read as the listener would read it
explain/       what the gateway would do with a request, and why
config_tests   the configuration's own [[tests]]
mint           a token to try things with
page           how lines look on a terminal, and when in colour
"""
