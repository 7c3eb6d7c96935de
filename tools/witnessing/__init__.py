"""What applications see behind the gateway: `tools/witness --help`.

The servers, the list of spellings and the judgement are those of the tests, in `tests/witnesses`.

__main__  the command
"""
