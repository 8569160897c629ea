#!/bin/sh
# Sees to what pip cannot bring: a new enough Python that can make environments, shared libraries of Qt and OpenGL, Xvfb.
# As root on Debian and Ubuntu installs what is missing; otherwise says in one sentence what is, and stops where that is certain.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

stop() {
    echo "$*" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    stop "napari-lungseg needs Python 3.11 or newer, and '$python' is not; name one with: make PYTHON=/path/to/python3 ..."

[ "$(uname -s)" = Linux ] || exit 0

packages=""
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    packages=" $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
# The list is the demo's own, which needs nothing but Python itself.
packages="$packages$(PYTHONPATH=src "$python" -B -c '
import ctypes
from napari_lungseg.widgets.demo import LIBRARIES
for library, package in LIBRARIES.items():
    try:
        ctypes.CDLL(library)
    except OSError:
        print(end=f" {package}")
')"
# A virtual display is wanted where there is no other.
command -v Xvfb >/dev/null || [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] || packages="$packages xvfb"

# A DICOM archive for its tests, which are skipped without it. Only where what is installed does not start by itself, as in containers.
if [ "${1:-}" = test ] && [ ! -x /usr/sbin/Orthanc ] && [ -x /usr/sbin/policy-rc.d ] && [ "$(id -u)" -eq 0 ]; then
    { apt-get update -q && apt-get install --no-install-recommends -y -q orthanc orthanc-dicomweb; } >/dev/null 2>&1 ||
        echo "Orthanc could not be installed; the tests that need it are skipped."
fi

[ -n "$packages" ] || exit 0

line="apt-get install --no-install-recommends$packages"
if ! command -v apt-get >/dev/null; then
    echo "These seem to be missing, by their Debian names; if something does not start, install them:$packages" >&2
elif [ "$(id -u)" -ne 0 ]; then
    stop "System packages are missing; install them with: sudo $line"
else
    echo "Installing system packages:$packages"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if ! { apt-get update -q && $line -y -q; } >"$log" 2>&1; then
        cat "$log" >&2
        stop "System packages could not be installed; this failed: $line"
    fi
    rm -f "$log"
fi
