#!/bin/sh
# Segments the DICOM series of the input folder into the output folder, or runs the command that is given.
set -eu
[ $# -eq 0 ] || exec napari-lungseg "$@"

set -- segment "$HOLOSCAN_INPUT_PATH" --output "$HOLOSCAN_OUTPUT_PATH" --ending .dcm --report "$HOLOSCAN_OUTPUT_PATH/run.json"
# Where a platform mounts models, there need be none.
if [ -f "${HOLOSCAN_MODEL_PATH:-}/card.json" ]; then
    set -- "$@" --model "$HOLOSCAN_MODEL_PATH"
fi
exec napari-lungseg "$@"
