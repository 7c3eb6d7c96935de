"""Long fuzz runs: `tools/fuzz --help`.

__main__  the command
lanes     what is fuzzed: each lane makes inputs, plays them and says what is wrong
corpus    messages to begin with, from `tests/cases`
coverage  the same lanes, guided by coverage with atheris
"""

NAMES = ("requests", "responses", "chunks", "shell")
"""Names of the lanes. They stand here because `coverage` must instrument what `lanes` imports before it is imported."""
