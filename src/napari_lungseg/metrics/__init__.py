"""How well a mask agrees with a reference: overlap, surface distances, volumes; for a volume, its slices, and many cases."""

from napari_lungseg.metrics.evaluation import disagreement, evaluate, evaluate_slices
from napari_lungseg.metrics.scores import Scores
from napari_lungseg.metrics.statistics import Statistics, describe
from napari_lungseg.metrics.surface import TOLERANCE_MM

__all__ = ["TOLERANCE_MM", "Scores", "Statistics", "describe", "disagreement", "evaluate", "evaluate_slices"]
