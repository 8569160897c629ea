#!/bin/sh
# Makes a machine ready for `make demo` and `make test`: Python, shared libraries of Qt and OpenGL, a private tox.
# Installs missing system packages as root on Debian and Ubuntu; elsewhere says in one sentence what is missing.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

stop() {
    echo "$*" >&2
    exit 1
}

# The names of the packages that are missing, for apt; filled by the checks below.
packages=""

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    stop "napari-lungseg needs Python 3.11 or newer, and '$python' is not; name one with: make PYTHON=/path/to/python3 ..."

if [ ! -x .tools/bin/python ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    packages="$packages $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi

if [ "$(uname -s)" = Linux ]; then
    ldconfig=$(command -v ldconfig || echo /sbin/ldconfig)
    known=$("$ldconfig" -p 2>/dev/null || true)
    while read -r library package; do
        case "$known" in
            *"$library "*) ;;
            *) packages="$packages $package" ;;
        esac
    done <<LIBRARIES
libGL.so.1 libgl1
libEGL.so.1 libegl1
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-shape.so.0 libxcb-shape0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libglib-2.0.so.0 libglib2.0-0
LIBRARIES
    command -v Xvfb >/dev/null || packages="$packages xvfb"
fi

if [ -n "$packages" ]; then
    line="apt-get install --no-install-recommends$packages"
    if ! command -v apt-get >/dev/null; then
        echo "These are missing here, by their Debian names; if a window does not open, install them:$packages" >&2
    elif [ "$(id -u)" -ne 0 ]; then
        stop "System packages are missing; install them with: sudo $line"
    else
        echo "Installing system packages:$packages"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq && $line -y -qq >/dev/null || stop "System packages could not be installed; this failed: $line"
    fi
fi

# tox lives apart from whatever Python environment is in use, and stays as long as it works.
if ! .tools/bin/python -c 'import tox' 2>/dev/null; then
    echo "Installing tox into .tools"
    "$python" -m venv --clear .tools
    .tools/bin/python -m pip install --quiet --disable-pip-version-check "tox>=4.24"
fi
