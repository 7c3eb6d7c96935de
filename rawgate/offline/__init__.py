"""Answers questions about a configuration without serving it. They are put to the same gate that would serve, so that
no second implementation can disagree with it.

sample         a made-up request, read as the listener would read it
explain/       what the gateway would do with a request, and why
config_tests   the configuration's own [[tests]]
mint           a token to try things with
page           lines on a terminal or a pipe, and whether in colour
"""
