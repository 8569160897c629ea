"""The window: the only room that imports napari, qtpy or magicgui."""
