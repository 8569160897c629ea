#!/bin/sh
# Makes a machine ready for `make demo` and `make test`: system packages (those of the tests too where "test" is given), and a private tox in .tools/.
set -eu
cd "$(dirname "$0")/.."
tools/system_packages.sh "$@"

# tox lives apart from whatever Python environment is in use, and stays as long as it works.
if ! .tools/bin/python -c 'import tox' 2>/dev/null; then
    echo "Installing tox into .tools"
    "${PYTHON:-python3}" -m venv --clear .tools
    .tools/bin/python -m pip install --quiet --disable-pip-version-check "tox>=4.24"
fi
