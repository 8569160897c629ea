"""Write the slices of labelled images to disk: everything is read once, before the training begins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from napari_lungseg.card import Card, read_card
from napari_lungseg.errors import InputError
from napari_lungseg.library import CARD_FILE, find_model
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.run_files import FOLDER, PLAN, SAMPLES, remove_empty, remove_files
from napari_lungseg.training.plan import Classes, Plan, choose_classes, write_plan
from napari_lungseg.training.samples import LabelledSlice, SampleWriter, Side, slices_of
from napari_lungseg.training.settings import TrainSettings
from napari_lungseg.training.sources import LeftOut, TrainingSource
from napari_lungseg.training.split import Part, SliceRef, Split, hidden_key, make_split, without_names
from napari_lungseg.training.updates import Overview, Progress
from napari_lungseg.translation import SPACE, say, say_all

#: Slices of one case that nobody has judged, from which is learnt what the starting model knows; more bring nothing new.
MOST_UNJUDGED = 12
#: Of cases with the same note so many are named.
MOST_NAMED = 3


@dataclass(eq=False)
class _Found:
    """Collect what was seen of the cases."""

    refs: list[SliceRef] = field(default_factory=list)
    values: list[frozenset[int]] = field(default_factory=list)
    unjudged: int = 0
    cases: set[str] = field(default_factory=set)
    patients: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    @property
    def labels(self) -> set[int]:
        return set().union(*self.values)


def look_over(source: TrainingSource, *, base: str | None, settings: TrainSettings) -> Iterator[Progress | Overview]:
    """Count what there is to learn from; the Overview comes last.

    Parameters
    ----------
    source : TrainingSource
        Labelled images.
    base : str or None
        Name or folder of the model to start from.
    settings : TrainSettings
        Say how it is split.

    Raises
    ------
    InputError
        When there is nothing to learn, or the base is not usable.
    """
    card = _card(base)
    found = _Found()
    yield from _read(source, card, settings, found, None)
    yield _overview(found, *_decide(source, found, card, settings))


def prepare(
    source: TrainingSource,
    folder: str | os.PathLike[str],
    *,
    base: str | None,
    preset: str = "small",
    name: str | None = None,
    settings: TrainSettings | None = None,
    command: str = "",
) -> Iterator[Progress | Overview]:
    """Read all cases and write what a training run needs; the Overview comes last.

    Parameters
    ----------
    source : TrainingSource
        Labelled images.
    folder : path
        Of the new model; plan, slices and checkpoints lie in ``training`` inside.
    base : str or None
        Name or folder of the model to start from; None for new weights.
    preset : str
        Architecture of a new model.
    name : str, optional
        Of the new model; the folder's by default.
    settings : TrainSettings, optional
        How to train; by default :meth:`TrainSettings.fine_tuning` with a base, else the defaults.
    command : str
        For the card.

    Raises
    ------
    InputError
        When there is a model, an unfinished run or another folder ``training`` in the folder already, there is nothing to learn, the
        base is not usable, or the disk refuses. Then what was written is removed, and nothing else.
    """
    folder = Path(folder)
    if (folder / CARD_FILE).exists():
        raise InputError(say("There is a model in {folder} already; choose another name or folder for the new one.", folder=folder))
    if (folder / PLAN).exists():
        raise InputError(
            say("There is an unfinished training run in {folder}; go on with it (--resume) or remove the folder.", folder=folder)
        )
    if (folder / FOLDER).exists() and not _is_empty(folder / FOLDER):
        raise InputError(
            say("{folder} is there already and is no training run; choose another folder, or move it away.", folder=folder / FOLDER)
        )
    settings = settings or (TrainSettings() if base is None else TrainSettings.fine_tuning())
    card, found = _card(base), _Found()
    if settings.pixel_mm is not None and card is not None and settings.keep_old and settings.pixel_mm != card.preprocessing.spacing_mm:
        raise InputError(
            say(
                "A model that keeps what {name} knows keeps its pixel size of {pixel_mm:g} mm too; leave the pixel "
                "size, or train something else (do not keep what the starting model knows).",
                name=card.name,
                pixel_mm=card.preprocessing.spacing_mm,
            )
        )
    made = [path for path in (folder / SAMPLES, folder / FOLDER, folder, *folder.parents) if not path.exists()]
    try:
        with SampleWriter(folder / SAMPLES) as writer:
            yield from _read(source, card, settings, found, writer)
            classes, split = _decide(source, found, card, settings)
            refs = {(ref.case, ref.index): ref for ref in found.refs}

            def side(item: LabelledSlice) -> Side | None:
                ref = refs.get((item.case, item.index))
                return "unjudged" if ref is None else split.part(ref)

            writer.finish(side, classes.index)
        overview = _overview(found, classes, split)
        known = split.having_learnt(found.refs)
        own_name = name or folder.name
        write_plan(
            Plan(own_name, base, preset, source.title, command, settings, classes, known, found.patients, overview, list(source.licences)),
            folder,
        )
    except BaseException as error:
        left = _undo(folder, made)
        if isinstance(error, OSError):
            why = say(
                "The slices to learn from cannot be written to {folder} ({reason}); choose another folder.",
                folder=folder,
                reason=error.strerror or error,
            )
            raise InputError(say_all(filter(None, (why, left)), SPACE)) from error
        if isinstance(error, InputError) and left:
            raise InputError(say_all((str(error), left), SPACE)) from error
        if left:
            error.add_note(left)
        raise
    yield overview


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _undo(folder: Path, made: list[Path]) -> str:
    """Remove what was written to a folder, and folders that were made for it; returns what could not be removed, as a sentence."""
    try:
        remove_files(folder)
        remove_empty(made)
    except OSError as error:
        return say(
            "What was written to {folder} could not be removed ({reason}); remove it: it holds images.",
            folder=folder / FOLDER,
            reason=error.strerror or error,
        )
    return ""


def _card(base: str | None) -> Card | None:
    if base is None:
        return None
    card = read_card(find_model(base) / CARD_FILE)
    _ = card.unet  # others cannot be trained
    return card


def _read(
    source: TrainingSource, card: Card | None, settings: TrainSettings, found: _Found, writer: SampleWriter | None
) -> Iterator[Progress]:
    """Read every slice of every case, and write it."""
    preprocessing = card.preprocessing if card is not None else Preprocessing()
    unjudged = MOST_UNJUDGED if card is not None and settings.distillation > 0 else 0
    for number, case in enumerate(source):
        yield Progress(say("Reading the cases"), number, len(source))
        if isinstance(case, LeftOut):
            found.problems.append(
                say("{name}: {problem}.", name=case.name, problem=case.why.rstrip(".") if case.why.endswith(".") else case.why)
            )
            continue
        for note in dict.fromkeys((*case.image.notes, *case.labels.notes)):
            found.notes.setdefault(note, []).append(case.name)
        before = len(found.refs)
        upright = case.image.reorient()[0]
        step = upright.spacing[0] if upright.ndim == 3 and upright.spacing_known else None
        # What is kept, first beside the slices and then in the model's card, holds no name.
        key, patient = hidden_key(case.key), hidden_key(case.patient or case.key)
        try:
            for item in slices_of(key, case.image, case.labels, preprocessing, unjudged):
                if item.is_judged:
                    found.refs.append(SliceRef(key, patient, item.index, None if step is None else item.index * step))
                    found.values.append(item.classes)
                if writer is not None:
                    writer.add(item)
        except InputError as error:
            found.problems.append(say("{name}: {problem}", name=case.name, problem=error))
            continue
        if len(found.refs) == before:
            found.problems.append(say("{name}: nobody has annotated any slice of it.", name=case.name))
            continue
        found.cases.add(key)
        found.patients[key] = patient
        # More than are written, of which a few are enough.
        found.unjudged += (upright.shape[0] if upright.ndim == 3 else 1) - (len(found.refs) - before)


def _decide(source: TrainingSource, found: _Found, card: Card | None, settings: TrainSettings) -> tuple[Classes, Split]:
    if not found.refs:
        reasons = say_all(found.problems, SPACE) or say("there is no case.")
        raise InputError(say("There is nothing to learn from: {reasons} Review or correct some slices first.", reasons=reasons))
    classes = choose_classes({label: source.names.get(label, "") for label in found.labels}, card, keep_old=settings.keep_old)
    earlier = _earlier(card)
    if source.watched is None:
        return classes, make_split(found.refs, settings.validation_share, settings.seed, earlier)
    aside = {hidden_key(key) for key in source.watched}
    people: dict[str, Part] = {ref.patient: "validation" if ref.case in aside else "train" for ref in found.refs}
    watched = sum(side == "validation" for side in people.values())
    split = Split(
        people,
        why=say(
            "The data set's own split: {learnt} to learn from, {watched} for validation.", learnt=len(people) - watched, watched=watched
        ),
    )
    return classes, split


def _earlier(card: Card | None) -> Split | None:
    """Read the split that the base was trained with from its card; None where there is none."""
    if card is None or "split" not in card.training:
        return None
    try:
        return without_names(TypeAdapter(Split).validate_python(card.training["split"]))
    except ValidationError:
        return None


def _listed(names: list[str]) -> str:
    listed, more = ", ".join(names[:MOST_NAMED]), len(names) - MOST_NAMED
    return say("{names} and {count} more", names=listed, count=more) if more > 0 else listed


def _overview(found: _Found, classes: Classes, split: Split) -> Overview:
    parts = [split.part(ref) for ref in found.refs]
    seen = [{classes.of_label[value] for value in values} for values in found.values]
    return Overview(
        cases=len(found.cases),
        slices=len(found.refs),
        unjudged=found.unjudged,
        classes={name: sum(number in one for one in seen) for number, name in enumerate(classes.names, 1)},
        train=parts.count("train"),
        validation=parts.count("validation"),
        split=split.why,
        problems=tuple(found.problems),
        notes=tuple(say("{name}: {problem}", name=_listed(names), problem=note) for note, names in found.notes.items()),
    )
