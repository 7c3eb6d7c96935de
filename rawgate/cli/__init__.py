"""argv → a call. One module a command; how a command reads lives here, what it does lives in `serve`, `offline`, `demo`
and `config`.

main          finds the command, and says what went wrong in one line
arguments     what the commands' parsers have in common
run           rawgate run
check         rawgate check: can it be served, and do its own tests pass
demo          rawgate demo
mint          rawgate token
explain       rawgate explain; `render` lays out the explanation for a person
config_tests  rawgate test
schema        rawgate schema
version       rawgate version
"""
