"""What holds for all tools that make new labels of labels."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_lungseg import edit
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume, scaling

Labels = npt.NDArray[np.integer]
#: The label worked on; 1 and 3 are others.
LABEL = 2

OF_ONE_LABEL: dict[str, Callable[[Labels, tuple[float, ...]], Labels]] = {
    "keep_largest": lambda labels, spacing: edit.keep_largest(labels, LABEL),
    "keep_island": lambda labels, spacing: edit.keep_island(labels, tuple(np.argwhere(labels == LABEL)[0])),
    "remove_island": lambda labels, spacing: edit.remove_island(labels, tuple(np.argwhere(labels == LABEL)[0])),
    "remove_small": lambda labels, spacing: edit.remove_small(labels, LABEL, 0.01, (3.0, 1.0, 1.0)),
    "fill_holes": lambda labels, spacing: edit.fill_holes(labels, LABEL),
    "median": lambda labels, spacing: edit.smooth(labels, LABEL, "median", 2.0, spacing),
    "opening": lambda labels, spacing: edit.smooth(labels, LABEL, "opening", 1.0, spacing),
    "closing": lambda labels, spacing: edit.smooth(labels, LABEL, "closing", 2.0, spacing),
    "gaussian": lambda labels, spacing: edit.smooth(labels, LABEL, "gaussian", 1.5, spacing),
    "grow": lambda labels, spacing: edit.grow(labels, LABEL, 2.0, spacing),
    "shrink": lambda labels, spacing: edit.shrink(labels, LABEL, 1.0, spacing),
    "union": lambda labels, spacing: edit.combine(labels, np.roll(labels, 2, -1), "union", LABEL),
    "intersection": lambda labels, spacing: edit.combine(labels, np.roll(labels, 2, -1), "intersection", LABEL),
    "difference": lambda labels, spacing: edit.combine(labels, np.roll(labels, 2, -1), "difference", LABEL),
    "xor": lambda labels, spacing: edit.combine(labels, np.roll(labels, 2, -1), "xor", LABEL),
    "crop_to_box": lambda labels, spacing: edit.crop_to_box(labels, (slice(1, 4),) * labels.ndim, LABEL),
}
OF_ONE_LABEL_IN_VOLUMES: dict[str, Callable[[Labels, tuple[float, ...]], Labels]] = {
    "fill_between": lambda labels, spacing: edit.fill_between(labels, LABEL, 0, spacing, [0, len(labels) - 1]),
    "copy_slice": lambda labels, spacing: edit.copy_slice(labels, 1, int(np.argwhere(labels == LABEL)[0, 1]), labels.shape[1] - 1, LABEL),
}
OF_ALL_LABELS: dict[str, Callable[[Labels, tuple[float, ...]], Labels]] = {
    "relabel_island": lambda labels, spacing: edit.relabel_island(labels, tuple(np.argwhere(labels == LABEL)[0]), 7),
    "split_islands": lambda labels, spacing: edit.split_islands(labels, LABEL),
    "smooth_joint": lambda labels, spacing: edit.smooth_joint(labels, 1.0, spacing),
    "grow_from_seeds": lambda labels, spacing: edit.grow_from_seeds(labels, np.arange(labels.size).reshape(labels.shape) % 7, spacing),
    "split_left_right": lambda labels, spacing: edit.split_left_right(Volume(labels, scaling(spacing))),
    "crop all": lambda labels, spacing: edit.crop_to_box(labels, (slice(1, 4),) * labels.ndim),
}
WITH_LABEL = {
    "keep_largest": lambda labels, spacing, label: edit.keep_largest(labels, label),
    "remove_small": lambda labels, spacing, label: edit.remove_small(labels, label, 1.0, (1.0, 1.0, 1.0)),
    "split_islands": lambda labels, spacing, label: edit.split_islands(labels, label),
    "fill_holes": lambda labels, spacing, label: edit.fill_holes(labels, label),
    "smooth": lambda labels, spacing, label: edit.smooth(labels, label, "median", 2.0, spacing),
    "grow": lambda labels, spacing, label: edit.grow(labels, label, 2.0, spacing),
    "shrink": lambda labels, spacing, label: edit.shrink(labels, label, 2.0, spacing),
    "split_left_right": lambda labels, spacing, label: edit.split_left_right(Volume(labels, scaling(spacing)), label),
    "crop_to_box": lambda labels, spacing, label: edit.crop_to_box(labels, (slice(0, 2),) * labels.ndim, label),
}
ALL = {**OF_ONE_LABEL, **OF_ONE_LABEL_IN_VOLUMES, **OF_ALL_LABELS}


def some_labels(ndim: int, dtype: str = "uint8") -> Labels:
    """Patches of 1, 2 and 3 with holes and specks; 2 is on the first slice and not on the last."""
    rng = np.random.default_rng(ndim)
    coarse = rng.choice([0, 0, 1, 2, 2, 3], (3, 5, 6)[-ndim:])
    labels = coarse.repeat(3, -1).repeat(3, -2).repeat(3 if ndim == 3 else 1, 0)
    labels[rng.random(labels.shape) < 0.03] = 0
    labels[rng.random(labels.shape) < 0.02] = LABEL
    if ndim == 3:
        labels[-1][labels[-1] == LABEL] = 0
    return labels.astype(dtype)


def spacing_of(labels: Labels) -> tuple[float, ...]:
    return (3.0, 1.0, 0.8)[-labels.ndim :]


def cases(tools: dict[str, Callable[..., Labels]]) -> list[object]:
    return [
        pytest.param(tool, ndim, id=f"{name} {ndim}-D")
        for name, tool in tools.items()
        for ndim in (2, 3)
        if ndim == 3 or name not in OF_ONE_LABEL_IN_VOLUMES
    ]


@pytest.mark.parametrize(("tool", "ndim"), cases(ALL))
def test_the_result_is_a_new_array_of_the_same_shape_and_type(tool: Callable[..., Labels], ndim: int) -> None:
    labels = some_labels(ndim, "int16")
    labels.flags.writeable = False
    before = labels.copy()
    after = tool(labels, spacing_of(labels))
    assert np.array_equal(labels, before)
    assert (after.shape, after.dtype) == (labels.shape, labels.dtype)
    assert not np.shares_memory(after, labels)
    assert not np.array_equal(after, labels)


@pytest.mark.parametrize(("tool", "ndim"), cases(ALL))
def test_the_order_in_memory_makes_no_difference(tool: Callable[..., Labels], ndim: int) -> None:
    labels = some_labels(ndim)
    other_way = np.asfortranarray(labels)
    assert np.array_equal(tool(other_way, spacing_of(labels)), tool(labels, spacing_of(labels)))


@pytest.mark.parametrize(("tool", "ndim"), cases({**OF_ONE_LABEL, **OF_ONE_LABEL_IN_VOLUMES}))
def test_other_labels_are_respected(tool: Callable[..., Labels], ndim: int) -> None:
    labels = some_labels(ndim)
    after = tool(labels, spacing_of(labels))
    changed = after != labels
    assert set(np.unique(labels[changed])) <= {0, LABEL}
    assert set(np.unique(after[changed])) <= {0, LABEL}


@settings(deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6), elements=st.integers(0, 3)))
def test_other_labels_are_respected_in_any_labels(labels: Labels) -> None:
    if not (labels == LABEL).any():
        labels.flat[0] = LABEL
    tools = [tool for name, tool in OF_ONE_LABEL.items() if name != "crop_to_box" or min(labels.shape) > 1]
    for tool in tools:
        after = tool(labels, spacing_of(labels))
        changed = after != labels
        assert np.isin(labels[changed], (0, LABEL)).all()
        assert np.isin(after[changed], (0, LABEL)).all()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("tool", WITH_LABEL.values(), ids=WITH_LABEL)
def test_a_label_that_is_nowhere_is_refused(tool: Callable[..., Labels], ndim: int) -> None:
    labels = some_labels(ndim)
    with pytest.raises(InputError, match=r"[Ll]abel 9"):
        tool(labels, spacing_of(labels), 9)
    for impossible in (0, -1, 300):
        with pytest.raises(InputError, match="is no label that uint8 can hold"):
            tool(labels, spacing_of(labels), impossible)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, float("nan"))])
@pytest.mark.parametrize("name", ["median", "gaussian", "grow", "shrink", "smooth_joint", "grow_from_seeds"])
def test_a_spacing_that_makes_no_sense_is_refused(name: str, spacing: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="spacing must be 2 positive numbers"):
        ALL[name](some_labels(2), spacing)


@pytest.mark.parametrize("wrong", [np.ones((4, 4), bool), np.ones((4, 4)), np.ones(4, int), np.ones((2, 2, 2, 2), int)])
def test_what_is_no_label_image_is_refused(wrong: npt.NDArray[np.generic]) -> None:
    with pytest.raises(InputError, match="Labels must be whole numbers on two or three axes"):
        edit.fill_holes(wrong, 1)


class CancelledError(Exception):
    pass


LONG = {
    "grow": lambda labels, progress: edit.grow(labels, 1, 3.0, (1.0, 1.0, 1.0), progress),
    "shrink": lambda labels, progress: edit.shrink(labels, 1, 3.0, (1.0, 1.0, 1.0), progress),
    "smooth": lambda labels, progress: edit.smooth(labels, 1, "median", 2.0, (1.0, 1.0, 1.0), progress),
    "smooth_joint": lambda labels, progress: edit.smooth_joint(labels, 1.0, (1.0, 1.0, 1.0), progress),
    "fill_between": lambda labels, progress: edit.fill_between(labels, 1, 0, (1.0, 1.0, 1.0), [5, 20, 40], progress),
    "fill_between_by_image": lambda labels, progress: edit.fill_between_by_image(
        labels * np.isin(np.arange(len(labels)), (6, 16))[:, None, None], labels * 100, 1, 0, (1.0, 1.0, 1.0), progress
    ),
    "grow_from_seeds": lambda labels, progress: edit.grow_from_seeds(labels, labels * 100, (1.0, 1.0, 1.0), progress=progress),
}


@pytest.mark.parametrize("tool", LONG.values(), ids=LONG)
def test_long_work_tells_its_progress_and_can_be_cancelled(tool: Callable[..., Labels]) -> None:
    labels = np.zeros((48, 150, 150), np.uint8)
    labels[4:44, 10:140, 10:140] = 1
    labels[10:20, 50:60, 50:60] = 2
    told: list[tuple[int, int]] = []
    tool(labels, lambda done, total: told.append((done, total)))
    assert len(told) > 3
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    assert len({total for _, total in told}) == 1

    def cancel(done: int, total: int) -> None:
        calls.append(done)
        if 2 * done >= total:
            raise CancelledError

    calls: list[int] = []
    with pytest.raises(CancelledError):
        tool(labels, cancel)
    assert 2 * calls[-1] < 1.5 * told[-1][1]
