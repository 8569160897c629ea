"""Settings: described once, and read by checks, the terminal and the documentation."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import typer

from napari_lungseg.cli import app
from napari_lungseg.errors import InputError
from napari_lungseg.mask import MaskSettings
from napari_lungseg.setting import Setting, settings_of
from napari_lungseg.training.augmentation import AugmentSettings, IntensitySettings, SpatialSettings
from napari_lungseg.training.settings import TrainSettings

DOCS = Path(__file__).resolve().parents[1] / "docs" / "howto" / "train.md"


def outside(about: Setting) -> list[object]:
    """Values that a setting must not have."""
    if about.choices:
        return ["none of them"]
    if about.kind is bool:
        return ["yes"]
    low = about.above if about.above is not None else about.at_least - 0.001
    return [low, float("nan"), float("inf"), "1", *([about.at_most + 0.001] if about.at_most is not None else [])]


def shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def row(name: str, about: Setting) -> str:
    """A setting as a row of the table in the documentation."""
    tuned = about.default if about.fine_tuning is ... else about.fine_tuning
    choices = f" ({', '.join(about.choices)})" if about.choices else ""
    return f"| `{name}` | {shown(about.default)} | {shown(tuned)} | {about.text.removesuffix('.')}{choices} |"


def made_with(group: type, name: str, value: object) -> object:
    """A group of settings; those of the augmentation are checked as parts of it."""
    parts = {SpatialSettings: "spatial", IntensitySettings: "intensity"}
    made = group(**{name: value})
    return AugmentSettings(**{parts[group]: made}) if group in parts else made


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (group, name)
        for group in (TrainSettings, MaskSettings, SpatialSettings, IntensitySettings, AugmentSettings)
        for name in settings_of(group)
    ],
)
def test_a_value_outside_of_its_range_is_refused_by_name(group, name):
    about = settings_of(group)[name]
    for value in outside(about):
        with pytest.raises(InputError, match=name.split("_")[0]) as refused:
            made_with(group, name, value)
        assert "\n" not in str(refused.value)


def test_every_training_setting_is_described():
    assert settings_of(TrainSettings).keys() | {"augmentation"} == {field.name for field in fields(TrainSettings)}


def test_defaults_are_in_their_ranges():
    assert TrainSettings.fine_tuning() != TrainSettings()
    assert TrainSettings.fine_tuning(epochs=7).epochs == 7
    with pytest.raises(InputError, match="no training setting 'epoch'"):
        TrainSettings.fine_tuning(epoch=7)


def test_options_of_the_terminal_are_the_described_settings():
    options = {option.name: option for option in typer.main.get_command(app).commands["train"].params}
    for name, about in settings_of(TrainSettings).items():
        assert (name in options) == about.terminal
        if about.terminal:
            assert options[name].default is None
            assert options[name].help.startswith(about.text.removesuffix("."))


def test_the_threshold_of_the_terminal_is_that_of_the_mask():
    (option,) = (option for option in typer.main.get_command(app).commands["segment"].params if option.name == "threshold")
    about = settings_of(MaskSettings)["threshold"]
    assert (option.help, option.default) == (about.text, about.default)


def test_the_table_of_settings_in_the_documentation_is_what_the_code_says():
    if not DOCS.is_file():
        pytest.skip("the documentation is not beside the tests")
    expected = [row(name, about) for name, about in settings_of(TrainSettings).items()]
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith("| `")]
    assert found == expected, "put these lines into docs/howto/train.md:\n" + "\n".join(expected)
    assert max(map(len, found)) <= 120
