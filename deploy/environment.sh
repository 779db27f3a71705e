#!/usr/bin/env bash
# The environment .venv with some extras of the project: environment.sh EXTRA...
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

PYTHON=${PYTHON:-python3}
extras=$(IFS=,; echo "$*")

command -v "$PYTHON" >/dev/null || ensure_packages "Python" python3 python3-venv
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "$("$PYTHON" --version) is too old: Python 3.10 or newer is needed. Name one with make PYTHON=python3.11"
if [ ! -x .venv/bin/pip ]; then
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || ensure_packages "Python's venv" python3-venv
    "$PYTHON" -m venv .venv
fi
command -v cc >/dev/null || ensure_packages "a C compiler" gcc libc6-dev
say "installing fusar[$extras] into .venv"
log=$SERVICES/pip.log
.venv/bin/pip install --disable-pip-version-check --no-input -c constraints.txt -e ".[$extras]" 2>&1 | tee "$log" |
    sed -u -n -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^Installing collected.*/  unpacking/p' -e '/^ERROR/p' >&2 ||
    die "pip failed: see $log"
