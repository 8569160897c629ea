"""Options of the augmentation of training views; they need no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from napari_lungseg.errors import InputError


@dataclass(frozen=True)
class SpatialSettings:
    """Ranges of the geometric augmentation; a probability of 0 or a range of 0 switches a part off.

    Attributes
    ----------
    any_rotation : float
        Probability of a rotation through the full circle (patients on their side or belly).
    rotation_deg : float
        Else a rotation within plus or minus this.
    translation_mm : float
        Shift of the view's centre from the body's.
    log_scale : float
        The zoom is exp(u) with u within plus or minus this.
    log_aspect : float
        Stretch of one axis against the other.
    flip : float
        Probability of a left-right flip.
    elastic : float
        Probability of an elastic deformation.
    elastic_mm : float
        Standard deviation of its displacements.
    """

    any_rotation: float = 0.35
    rotation_deg: float = 20.0
    translation_mm: float = 35.0
    log_scale: float = 0.25
    log_aspect: float = 0.1
    flip: float = 0.5
    elastic: float = 0.3
    elastic_mm: float = 5.0


@dataclass(frozen=True)
class IntensitySettings:
    """Probabilities of the changes of intensity, 0 switches one off, and how far they go.

    Attributes
    ----------
    kernel : float
        Softer (blur) or sharper reconstruction.
    kernel_px : float
        Largest standard deviation of the blur, in pixels of the view.
    noise : float
        Grainy noise.
    noise_hu : float
        Its largest standard deviation.
    low_resolution : float
        Coarser sampling.
    low_resolution_times : float
        How many times coarser at most.
    brightness : float
        Shifted to brighter or darker.
    brightness_hu : float
        By at most so much.
    contrast : float
        Scaled about the darkest grey.
    log_contrast : float
        By exp(u) with u within plus or minus this.
    gamma : float
        Grey curve bent.
    log_gamma : float
        Its exponent is exp(u) with u within plus or minus this.
    eight_bit : float
        Seen through a random window with 256 greys (HU images only).
    recolour : float
        Every density gets a random new grey, so that shape and place must be learnt.
    """

    kernel: float = 0.35
    kernel_px: float = 1.8
    noise: float = 0.35
    noise_hu: float = 120.0
    low_resolution: float = 0.12
    low_resolution_times: float = 4.0
    brightness: float = 0.3
    brightness_hu: float = 60.0
    contrast: float = 0.3
    log_contrast: float = 0.08
    gamma: float = 0.15
    log_gamma: float = 0.35
    eight_bit: float = 0.2
    recolour: float = 0.1


@dataclass(frozen=True)
class AugmentSettings:
    """Everything that may happen to a slice; probabilities, 0 switches a part off.

    Attributes
    ----------
    strength : float
        Multiplies all probabilities and ranges, but for the flip.
    spatial : SpatialSettings
        Rotation, translation, flip, scale, elastic.
    intensity : IntensitySettings
        Kernel, noise, window, contrast.
    disease : float
        Disease drawn into the lung (HU images of models that know the lung, as the next four).
    gas : float
        Gas outside the lung.
    arms, table : float
        Things beside the body.
    cut_off : float
        A circular field of view.

    Raises
    ------
    InputError
        When one is negative, or a probability is above 1.
    """

    strength: float = 1.0
    spatial: SpatialSettings = field(default_factory=SpatialSettings)
    intensity: IntensitySettings = field(default_factory=IntensitySettings)
    disease: float = 0.45
    gas: float = 0.25
    arms: float = 0.1
    table: float = 0.15
    cut_off: float = 0.12

    def __post_init__(self) -> None:
        for group in (self, self.spatial, self.intensity):
            for setting in fields(group):
                value: Any = getattr(group, setting.name)
                largest = 1.0 if setting.name not in RANGES else float("inf")
                if isinstance(value, (int, float)) and not 0.0 <= value <= largest:
                    raise InputError(f"The augmentation's {setting.name.replace('_', ' ')} cannot be {value:g}; 0 switches it off.")

    @classmethod
    def off(cls) -> AugmentSettings:
        """Settings under which nothing happens."""
        return cls(0.0, SpatialSettings(flip=0.0))


#: Settings that are no probabilities.
RANGES = frozenset(
    {
        "strength",
        "rotation_deg",
        "translation_mm",
        "log_scale",
        "log_aspect",
        "elastic_mm",
        "kernel_px",
        "noise_hu",
        "low_resolution_times",
        "brightness_hu",
        "log_contrast",
        "log_gamma",
    }
)
