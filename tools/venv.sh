# shellcheck shell=bash
# Sourced by the other tools: one .venv for all of them, made on first use and kept up to date.
#
#   prepare run     what serving needs
#   prepare test    that, and what tests and linters need
#
# PYTHON names the interpreter for a .venv that is not there yet. One built with profile-guided optimisation, as those of
# distributions are, takes a tenth less CPU per request than one that was only compiled, as pyenv's are.
#
# A stamp per purpose, a checksum of all that decides what is installed, makes every later call a matter of
# milliseconds. Nothing here writes to standard output, which belongs to the program that is started next.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
pins=$root/tools/requirements-test.txt

fail() {
    printf 'rawgate: %s\n' "$*" >&2
    exit 1
}

# The first Python that is new enough and has these modules. A name may be there and not run: pyenv's shims answer for
# versions that are not selected.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3; do
        if "$candidate" -c "import sys, $1; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    return 1
}

make_venv() {
    local python
    if ! python=$(find_python 'ensurepip, venv'); then
        python=$(find_python sys) || fail 'Python 3.11 or later is needed (looked for python3.11 and python3)'
        fail "$python cannot make virtual environments; on Debian: apt-get install $python-venv"
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# Whole, and made for this place: a tree that was copied or moved has a .venv that runs the old one.
venv_is_ours() {
    [[ -x $venv/bin/python && -x $venv/bin/pip ]] && grep -q "^command = .* $venv\$" "$venv/pyvenv.cfg"
}

install_for() {
    local wanted=(--constraint "$pins" --editable "$root[metrics,names,store,top]")
    if [[ $1 == test ]]; then wanted+=(--requirement "$pins"); fi
    venv_is_ours || make_venv || return
    printf 'rawgate: installing into .venv, once\n' >&2
    # Without mypy for the build, which an editable installation has no use for.
    RAWGATE_CORE=interpreted "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input "${wanted[@]}" >&2
}

is_stamped() {
    venv_is_ours && [[ -f $1 && $(<"$1") == "$2" ]]
}

prepare() {
    local stamp=$venv/stamp-$1 wanted
    wanted=$(cat "$root/pyproject.toml" "$pins" "$root/tools/venv.sh" | cksum)
    # What is there for tests is enough for serving.
    if is_stamped "$stamp" "$wanted" || is_stamped "$venv/stamp-test" "$wanted"; then return; fi
    # One at a time, and who waited finds it done. macOS has no flock: there, let a first call end before the next.
    {
        if command -v flock >/dev/null; then flock 9; fi
        is_stamped "$stamp" "$wanted" || { install_for "$1" && printf '%s\n' "$wanted" >"$stamp"; }
    } 9<"$root" || fail 'installing failed'
}
