"""Long fuzz runs: `tools/fuzz --help`.

corpus    messages to begin with, from `tests/cases`
lanes     what is fuzzed: each lane plays one input and says what is wrong with it
coverage  the same lanes, led by atheris
__main__  the command
"""

NAMES = ("requests", "responses", "chunks", "shell")
"""The lanes. Named here, since for `coverage` what they import must not have been imported before."""
