"""Change slices at random before a model learns from them; the options need no torch, the views do."""

from napari_lungseg.training.augmentation.options import AugmentSettings, IntensitySettings, SpatialSettings

__all__ = ["AugmentSettings", "IntensitySettings", "SpatialSettings"]
