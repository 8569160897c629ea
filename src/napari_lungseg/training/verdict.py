"""Whether a new model is better on what is new and no worse on what is old."""

from __future__ import annotations

from napari_lungseg.training.updates import Compared, Scores

#: How much Dice on the base's own cases may be lost; less than one reader differs from another by far.
TOLERANCE = 0.002


def better(before: Scores | None, after: Scores | None) -> bool:
    """Whether the scores have risen by any amount."""
    return before is not None and after is not None and after.mean_dice > before.mean_dice


def forgotten(before: Scores | None, after: Scores | None) -> bool:
    """Whether more than :data:`TOLERANCE` of Dice was lost."""
    return before is not None and after is not None and before.mean_dice - after.mean_dice > TOLERANCE


def judge(new: Compared | None, old: Compared | None, no_validation: str) -> tuple[bool, str]:
    """Whether to accept a model, and why.

    Parameters
    ----------
    new : Compared or None
        Validation slices; None where there are none.
    old : Compared or None
        Frozen cases of the base; None where there are none, or what it knows need not be kept.
    no_validation : str
        Why there are no validation slices.

    Returns
    -------
    accepted : bool
        Better on the new by any amount, and worse on the old by at most :data:`TOLERANCE`.
    why : str
        For the person.
    """
    if new is None:
        return False, f"Not accepted by itself: {no_validation}"
    if new.before is None:
        return True, f"A new model: mean Dice {new.after.mean_dice:.3f} on {_slices(new)} that it has not learnt from."
    told = f"Dice {new.before.mean_dice:.3f} before, {new.after.mean_dice:.3f} after on {_slices(new)} that it has not learnt from"
    if old is not None and old.before is not None:
        told += f"; {old.before.mean_dice:.4f} before, {old.after.mean_dice:.4f} after on {_slices(old)} of its old cases"
    if not better(new.before, new.after):
        return False, f"Not accepted, as it is no better than the model before: {told}. Correct more slices, or train longer."
    if old is not None and forgotten(old.before, old.after):
        return (
            False,
            f"Not accepted, as it has forgotten too much: {told}. Train with more replay or a lower rate, "
            "or keep it for these images alone.",
        )
    return True, f"Accepted: {told}."


def _slices(compared: Compared) -> str:
    return f"{compared.slices} slice{'' if compared.slices == 1 else 's'}"
