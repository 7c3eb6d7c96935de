"""Small changes of the program, each of which a test should notice: `tools/mutate --help`.

changes    every change that is made of a module's source
listed     those that change nothing, with the reason for each: `equivalent.toml`
scratch    copies of the tree, in which changed modules are tried by one test run each
covering   which test files run which lines
__main__   the command

Why one of our own. mutmut (3.8) and cosmic-ray (8.7) are the ones that are kept up. mutmut makes of each function a
trampoline and all its variants in the same module, which the tests of layout and of work, and slotted classes, do not
stand; it has no bounded run, and what it is to leave alone is marked in the source. cosmic-ray changes the working tree
itself, runs one command for every change, whatever tests the line, and passes over lines by comments too.
"""

ROOMS = ("wire", "policy", "relay", "net")
"""Of the package: what is changed."""

TESTS = ("wire", "policy", "relay", "net", "fuzz", "config", "offline")
"""The directories of quick tests that should notice."""
