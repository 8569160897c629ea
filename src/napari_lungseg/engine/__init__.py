"""Run heavy work in a child process: the network, training, and whatever works on whole volumes.

The parent imports :mod:`~napari_lungseg.engine.process`, which loads neither torch nor what needs it. The child runs
``python -m napari_lungseg.engine``.
"""
