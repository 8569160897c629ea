"""Run the child of an engine; started by :mod:`napari_lungseg.engine.process` with its end of the pipe and the parent's process number."""

from __future__ import annotations

import sys

from napari_lungseg.engine.child import main

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
