"""argv → a call. Each command has one module here, which holds its options and its output. The work is done in `serve`,
`offline`, `demo` and `config`.

main          finds the command, reports errors, returns the exit status
arguments     arguments that several commands share
run           rawgate run
reload        rawgate reload
top           rawgate top: what the admin listener tells, in a terminal. The only door to rich
check         rawgate check: can it be served, and do its own tests pass
demo          rawgate demo
mint          rawgate token
key           rawgate key
explain       rawgate explain
render        lays out an explanation for a person
config_tests  rawgate test
schema        rawgate schema
version       rawgate version

Streams: stdout carries what was asked for, stderr everything else (warnings, errors, usage). So `rawgate token … |
xclip` and `rawgate schema > file` get the result alone, and a message never lands inside it.

Exit status: 0 for done; 1 when the configuration, the start, the output or a check failed; 2 for a wrong command line,
which is argparse's number. `nginx -t` and `envoy --mode validate` also exit with 0 or 1. Only Ctrl-C in
`demo --once` has a status of its own: 130, as shells have it.

A reader that closes stdout early (`rawgate explain … | head -3`) has seen enough: the command ends with the status that
it would have had. CPython ignores SIGPIPE, so such a write raises BrokenPipeError; `offline.page.Page` swallows that
error and no other. A full disk is a failure, because a file that somebody asked for is not whole: status 1.
"""
