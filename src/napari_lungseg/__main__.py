"""``python -m napari_lungseg`` is the same as ``napari-lungseg``."""

from napari_lungseg.cli import main

main()
