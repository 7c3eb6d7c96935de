"""argv → a call. One module a command; what a command does lives in `serve` and `config`, how it reads lives here.

main       finds the command, and says what went wrong in one line
arguments  what the commands' parsers have in common
run        rawgate run
check      rawgate check: can it be served, and do its own tests pass
demo       rawgate demo
mint       rawgate token
explain    rawgate explain; `story` lays out the answer for a person
trial      rawgate test
schema     rawgate schema
version    rawgate version
"""
