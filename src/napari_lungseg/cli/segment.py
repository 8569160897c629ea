"""``napari-lungseg segment``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from napari_lungseg import __version__
from napari_lungseg.architecture import DEFAULT_MODEL
from napari_lungseg.cli.terminal import SOME_FAILED, UNUSABLE, Device, complain, printable, say

if TYPE_CHECKING:
    from napari_lungseg.one_scan import Outcome

#: Names of labels that are lung.
LUNGS = {"right", "left", "lungs"}


def segment(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files, DICOM folders, folders of scans, or lists (.csv).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A file (its ending decides the format) or, for several scans, a folder.")],
    model: Annotated[str, typer.Option(help="Name or folder of a model.")] = DEFAULT_MODEL,
    device: Device = "auto",
    # As at MaskSettings, whose module takes a second to import; the tests hold both together.
    threshold: Annotated[float, typer.Option(help="Probability, 0 to 1, from which on a voxel is lung, or another class.")] = 0.5,
    save_probability: Annotated[bool, typer.Option("--save-probability", help="Write the probability (percent) as well.")] = False,
    no_postprocess: Annotated[bool, typer.Option("--no-postprocess", help="Only threshold.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what was done to this JSON file.")] = None,
    jobs: Annotated[int, typer.Option(help="Scans at a time, each in a process of its own.")] = 1,
    scheduler: Annotated[str, typer.Option(help="Segment on the workers of the Dask cluster of this scheduler: tcp://host:8786.")] = "",
    series: Annotated[str | None, typer.Option(help="Which series (number or description) or point of time, if several.")] = None,
    fill_gaps: Annotated[bool, typer.Option("--fill-gaps", help="Interpolate where DICOM slices are missing or uneven.")] = False,
    unit: Annotated[Literal["HU", "arbitrary"] | None, typer.Option(help="What the numbers mean, where it is told wrongly.")] = None,
    summary: Annotated[bool, typer.Option("--summary", help="Write a table and a page of all cases beside the masks.")] = False,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write --summary's table as Parquet as well.")] = False,
    ending: Annotated[str, typer.Option(help="Ending of the masks in a folder, which decides their format, such as .dcm.")] = "",
    again: Annotated[bool, typer.Option("--again", help="Segment also the scans that an earlier run has done already.")] = False,
) -> int:
    """Segment the lungs: label 1 is the right lung, 2 the left. Other models have the labels of their cards."""
    from tqdm import tqdm

    from napari_lungseg.batch_paths import BatchItem, plan_batch
    from napari_lungseg.cohort import segment_files, write_report, write_summary
    from napari_lungseg.files import new_path
    from napari_lungseg.mask import MaskSettings
    from napari_lungseg.one_scan import CohortSettings, Outcome
    from napari_lungseg.tables import require_parquet

    mask = MaskSettings.without_postprocessing(threshold) if no_postprocess else MaskSettings(threshold=threshold)
    settings = CohortSettings(model, device, mask, jobs, series, fill_gaps, unit, summary or parquet, again)
    if report is not None:
        new_path(report)
    if parquet:
        require_parquet()
    tasks, unusable = plan_batch(inputs, output, save_probability=save_probability, ending=ending)
    outcomes = [Outcome(path, {}, error) for path, error in unusable]
    elsewhere, by_scan = None, jobs > 1 or bool(scheduler)
    if scheduler:
        from napari_lungseg.cluster import segment_on_cluster

        elsewhere = partial(segment_on_cluster, scheduler)
    several = len(tasks) + len(outcomes) > 1
    bar = tqdm(disable=None, unit=" scans" if by_scan else " slices", total=len(tasks), file=sys.stderr, leave=False)

    def progress(task: BatchItem, done: int, total: int) -> None:
        if done == 1:
            bar.reset(total)
            bar.set_description(printable(task.source.name), refresh=False)
        bar.update(done - bar.n)

    with bar:
        for outcome in segment_files(tasks, settings, progress, elsewhere):
            outcomes.append(outcome)
            if by_scan:
                bar.update()
            with tqdm.external_write_mode():
                for notice in () if outcome.done_before else outcome.record.get("notices", ()):
                    say(f"{outcome.source}: {notice}", err=True)
                if outcome.record:
                    say(_summary(outcome))
    places = {task.source: place for place, task in enumerate(tasks)}
    outcomes.sort(key=lambda one: (places.get(one.source, -1), one.record.get("output", "")))
    if before := sum(outcome.done_before for outcome in outcomes):
        say(f"{before} of {len(outcomes)} {'was' if len(outcomes) == 1 else 'were'} done already; --again segments all anew.", err=True)
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        complain(outcome.error)
    if len(failed) == len(outcomes):
        return UNUSABLE
    if report is not None:
        write_report(report, __version__, outcomes)
    if settings.summary:
        table, page = write_summary(output if output.is_dir() else tasks[0].labels.parent, outcomes, parquet=parquet)
        say(f"{table} and {page}: the cases that need a look first.")
    if failed and several:
        say(f"{len(failed)} of {len(outcomes)} scans failed.", err=True)
    return SOME_FAILED if failed else 0


def _summary(outcome: Outcome) -> str:
    record = outcome.record
    voxels, volumes = record["voxels"], record["volume_ml"]
    if volumes is not None:
        # Lungs have liters, a tumour may have less than one mL.
        found = [f"{name} {volume:.{0 if name in LUNGS else 1}f} mL" for name, volume in volumes.items()]
    elif voxels.keys() <= LUNGS:
        found = [f"{sum(voxels.values())} voxels of lung"]
    else:
        found = [f"{name} {count} voxels" for name, count in voxels.items()]
    took = "done already" if outcome.done_before else f"{record['seconds']:.1f} s"
    return f"{record['output']}: {', '.join(found)} ({took})"
