#!/bin/sh
# Runs the demo out of tox's environment: in a window, or, without a display or with a picture's path, as a picture.
set -eu
cd "$(dirname "$0")/.."
picture=${1:-}
program=.tox/py/bin/napari-lungseg

display=${DISPLAY:-}${WAYLAND_DISPLAY:-}
if [ "$(uname -s)" = Linux ] && [ -z "$display" ]; then
    picture=${picture:-build/demo.png}
    command -v Xvfb >/dev/null || { echo "There is no display, and Xvfb, which stands in for one, is not installed." >&2; exit 1; }
fi

# For a picture a virtual display is better even where there is a real one: nothing covers the window.
if [ -n "$picture" ] && command -v Xvfb >/dev/null; then
    number=$(mktemp)
    Xvfb -displayfd 3 -screen 0 1366x768x24 -nolisten tcp 3>"$number" >/dev/null 2>&1 &
    server=$!
    trap 'kill "$server" 2>/dev/null; rm -f "$number"' EXIT
    waited=0
    until [ -s "$number" ]; do
        kill -0 "$server" 2>/dev/null && [ "$waited" -lt 300 ] || { echo "Xvfb did not start." >&2; exit 1; }
        sleep 0.1
        waited=$((waited + 1))
    done
    unset WAYLAND_DISPLAY
    DISPLAY=":$(cat "$number")"
    export DISPLAY QT_QPA_PLATFORM=xcb
fi

if [ -n "$picture" ]; then
    mkdir -p "$(dirname "$picture")"
    rm -f "$picture"
    "$program" demo --screenshot "$picture"
    [ -s "$picture" ] || { echo "The demo left no picture at $picture." >&2; exit 1; }
    echo "The picture of the window is $(cd "$(dirname "$picture")" && pwd)/$(basename "$picture")"
else
    "$program" demo
fi
