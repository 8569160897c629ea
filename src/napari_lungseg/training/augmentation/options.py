"""Set what may happen to a training view; no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from napari_lungseg.setting import check, setting
from napari_lungseg.translation import mark

#: Probability that something happens; 0 switches it off.
_chance = partial(setting, at_least=0, at_most=1, unit="%", step=5)
#: How far something goes; 0 switches it off.
_amount = partial(setting, at_least=0, step=5, shown_to=1000)
#: As exp(u) with u within plus or minus this; forms show it as about so many percent.
_factor = partial(_amount, unit="%", shown_to=100, either_way=True)


@dataclass(frozen=True)
class SpatialSettings:
    """Set the geometric augmentation.

    ``any_rotation``, ``flip`` and ``elastic`` are probabilities. The view is turned within plus or minus ``rotation_deg``, its centre
    moved within ``translation_mm``, zoomed by exp(u) with u within ``log_scale``, and one axis stretched against the other within
    ``log_aspect``; ``elastic_mm`` is the standard deviation of the displacements.
    """

    any_rotation: float = _chance(0.35, "Any rotation", "How often turned through the full circle: patients on their side or belly.")
    rotation_deg: float = _amount(20.0, "Rotation", "Turned within this range to either side.", unit="°", shown_to=180, either_way=True)
    translation_mm: float = _amount(35.0, "Translation", "Moved within this range.", unit="mm", either_way=True)
    log_scale: float = _factor(0.25, "Scale", "Enlarged or made smaller by up to about this.")
    log_aspect: float = _factor(0.1, "Stretch", "One axis stretched against the other by up to about this.")
    flip: float = _chance(0.5, "Flip", "How often left and right are exchanged.")
    elastic: float = _chance(0.3, "Elastic", "How often bent.")
    elastic_mm: float = _amount(5.0, "Elastic", "How far bent.", unit="mm")


@dataclass(frozen=True)
class IntensitySettings:
    """Set the changes of intensity: how often each happens, and how far it goes at most.

    ``kernel_px`` is the largest standard deviation of a blur in pixels of the view, ``noise_hu`` that of the noise. The grey curve's
    exponent is exp(u) with u within ``log_gamma``, the contrast about the darkest grey exp(u) with u within ``log_contrast``.
    ``eight_bit`` is for HU images only. ``recolour`` leaves shape and place alone to be learnt from.
    """

    kernel: float = _chance(0.35, "Sharpness", "How often softer or sharper.")
    kernel_px: float = _amount(1.8, "Sharpness", "How much softer or sharper.", unit="px", step=0.5, shown_to=20)
    noise: float = _chance(0.35, "Noise", "How often grainy.")
    noise_hu: float = _amount(120.0, "Noise", "How grainy at most.", unit="HU")
    low_resolution: float = _chance(0.12, "Low resolution", "How often coarser.")
    low_resolution_times: float = _amount(
        4.0, "Low resolution", "How many times coarser at most.", unit=mark("times"), step=0.5, shown_to=20
    )
    brightness: float = _chance(0.3, "Brightness", "How often brighter or darker.")
    brightness_hu: float = _amount(60.0, "Brightness", "How much brighter or darker at most.", unit="HU", either_way=True)
    contrast: float = _chance(0.3, "Contrast", "How often with more or less contrast.")
    log_contrast: float = _factor(0.08, "Contrast", "How much more or less at most, about.")
    gamma: float = _chance(0.15, "Gamma", "How often the curve of greys is bent.")
    log_gamma: float = _factor(0.35, "Gamma", "How far it is bent at most, about.")
    eight_bit: float = _chance(0.2, "Window", "How often seen through a random window, with 256 greys.")
    recolour: float = _chance(0.1, "New greys", "How often every density gets a random new grey.")


@dataclass(frozen=True)
class AugmentSettings:
    """Set everything that may happen to a slice.

    ``strength`` multiplies all probabilities and ranges, but for the flip. Disease, gas, air in soft tissue, arms, table and cut-off field
    of view are drawn into HU images of models that know the lung.

    Raises
    ------
    InputError
        When one is negative, or a probability is above 1.
    """

    strength: float = _amount(1.0, "Augmentation", "Strength of the augmentation, but for the flip; 0 for none.", unit="%")
    spatial: SpatialSettings = field(default_factory=SpatialSettings)
    intensity: IntensitySettings = field(default_factory=IntensitySettings)
    disease: float = _chance(0.45, "Disease", "How often disease is drawn into the lung: consolidation, masses, fluid, air.")
    gas: float = _chance(0.25, "Gas outside", "How often gas is drawn outside the lung.")
    dissecting_air: float = _chance(0.12, "Air in tissue", "How often air is drawn between muscles, under the skin or in the mediastinum.")
    arms: float = _chance(0.1, "Arms", "How often arms lie beside the body.")
    table: float = _chance(0.15, "Table", "How often a table is drawn.")
    cut_off: float = _chance(0.12, "Cut off", "How often the field of view is a circle.")

    def __post_init__(self) -> None:
        for group in (self, self.spatial, self.intensity):
            check(group, "augmentation")

    @classmethod
    def off(cls) -> AugmentSettings:
        """Make settings under which nothing happens."""
        return cls(0.0, SpatialSettings(flip=0.0))

    def for_classes(self, names: Iterable[str]) -> AugmentSettings:
        """Keep right and left what they are, where classes are called by sides: a mirrored right lung would be learnt as a right one."""
        words = {word for name in names for word in name.lower().replace("_", " ").replace("-", " ").split()}
        if not words & {"left", "right"}:
            return self
        return replace(self, spatial=replace(self.spatial, flip=0.0, any_rotation=0.0))
