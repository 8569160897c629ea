"""The Measure module: sizes, shapes and densities of a mask, and its surfaces, by one button each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog

from napari_lungseg.files import write_whole
from napari_lungseg.measurement import Measurements, as_rows
from napari_lungseg.tables import as_csv
from napari_lungseg.translation import mark, say
from napari_lungseg.widgets.forms import fill_module
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import image_of, is_image, is_mask
from napari_lungseg.widgets.measure.controls import MeasureControls
from napari_lungseg.widgets.measure.plots import area_curves, density_curves
from napari_lungseg.widgets.measure.work import Chosen, measuring, reporting, saving
from napari_lungseg.widgets.notices import show_error, show_info
from napari_lungseg.widgets.panel import Panel
from napari_lungseg.widgets.saving.session import session_of
from napari_lungseg.widgets.tasks import Request, Task
from napari_lungseg.widgets.view import displayed_time_index
from napari_lungseg.widgets.views.viewing import viewing_of
from napari_lungseg.widgets.watch import MaskWatch

if TYPE_CHECKING:
    import napari.viewer

NOTHING = mark("Segment an image first, or add a labels layer.")
CHANGED = mark("The mask has changed since; press Measure for its measures of now.")
SURFACE_FILES = mark("STL (*.stl);;Wavefront (*.obj);;PLY with colours (*.ply);;glTF with colours (*.glb)")
#: The name of a surface file where the person gives none of these.
ENDING = ".stl"


class MeasureWidget(Panel):
    """Measure a label layer and show it in 3-D.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Given by napari.
    """

    #: Nothing is running any more. The text says what went wrong, and is empty if nothing did.
    idle = Signal(str)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        # From now on all masks are saved.
        session_of(viewer, self)
        self.controls = MeasureControls(self._masks, self._images)
        #: What the table shows, and the layer it is of.
        self.measured: Measurements | None = None
        self._of: Layer | None = None
        self._done: Callable[[Any], None] | None = None
        self._task = Task(self, say("The measurement"))
        self._task.returned.connect(self._returned)
        self._task.failed.connect(self._failed)
        self._running = False
        self._watched: MaskWatch | None = None
        self._viewing = viewing_of(viewer, self)
        fill_module(self, self.controls)
        self._connect()
        self._follow()
        self._mask_changed()

    def _connect(self) -> None:
        controls = self.controls
        controls.mask.changed.connect(self._mask_changed)
        for button, slot in (
            (controls.run, self._measure),
            (controls.csv, self._save_csv),
            (controls.report, self._save_report),
            (controls.show_surfaces, self._show_surfaces),
            (controls.save_surfaces, self._save_surfaces),
        ):
            button.clicked.connect(slot)
        self.listen_to_layers(self._layers_changed)
        self.listen(self.viewer.layers.selection.events.active, self._follow)

    # ---- which mask

    def _masks(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self.viewer.layers if is_mask(layer)]

    def _images(self, _: Any = None) -> list[Layer]:
        return [layer for layer in self.viewer.layers if is_image(layer)]

    def _layers_changed(self, _: Any = None) -> None:
        before = self.controls.mask.value
        self.controls.mask.reset_choices()
        self.controls.image.reset_choices()
        if self.controls.mask.value is not before:
            self._mask_changed()
        elif before is not None and self.controls.image.value is None:
            self.controls.image.value = image_of(self.viewer, before)

    def _follow(self) -> None:
        active = self.viewer.layers.selection.active
        if active is not None and active in self.controls.mask.choices:
            self.controls.mask.value = active

    def _mask_changed(self) -> None:
        mask = self.controls.mask.value
        self.controls.image.value = None if mask is None else image_of(self.viewer, mask)
        self._forget()
        self.controls.show_running(self._running, ready=mask is not None)
        self.controls.tell(NOTHING if mask is None else "")

    def _chosen(self) -> Chosen:
        mask, image = self.controls.mask.value, self.controls.image.value
        return Chosen(
            mask, image, displayed_time_index(self.viewer, mask), () if image is None else displayed_time_index(self.viewer, image)
        )

    # ---- the buttons

    def _measure(self) -> None:
        chosen = self._chosen()
        self._start(tr("Measuring …"), say("The measurement"), partial(self._show, chosen.mask), measuring, chosen)

    def _save_report(self) -> None:
        path = self._ask(tr("A page about the mask"), ".html", "HTML (*.html)")
        if path is not None:
            chosen = self._chosen()
            done = partial(self._reported, chosen.mask, path)
            self._start(tr("Measuring and writing …"), say("Writing the report"), done, reporting, chosen, path)

    def _save_csv(self) -> None:
        path = self._ask(tr("All measures as a table"), ".csv", "CSV (*.csv)")
        if path is None or self.measured is None or self._of is None:
            return
        try:
            write_whole(path, as_csv(as_rows(self.measured, self._of.name)))
        except ValueError as error:
            show_error(tr(str(error)))
            return
        show_info(tr("Saved {path}.", path=path))

    def _show_surfaces(self) -> None:
        self._begin(tr("Making the surfaces …"))
        self._viewing.solid.made.connect(self._shown)
        self._viewing.solid.show(self.controls.mask.value)

    def _shown(self, why: str) -> None:
        self._viewing.solid.made.disconnect(self._shown)
        self._end(why)

    def _save_surfaces(self) -> None:
        path = self._ask(tr("The surfaces of all labels, in mm"), ENDING, tr(SURFACE_FILES))
        if path is not None:
            self._start(tr("Making the surfaces …"), say("Writing the surface"), self._saved, saving, self._chosen(), path)

    def _ask(self, title: str, ending: str, kinds: str) -> Path | None:
        mask = self.controls.mask.value
        path, kind = QFileDialog.getSaveFileName(self, title, f"{mask.name}{ending}", kinds)
        if not path:
            return None
        # Some desktops leave it to the program to add the ending that was chosen.
        return Path(path) if Path(path).suffix else Path(path).with_suffix(kind.partition("*")[2].rstrip(")") or ending)

    # ---- in the background

    def _start(self, text: str, what: str, done: Callable[[Any], None], function: Callable[..., Request], *args: Any) -> None:
        self._begin(text)
        self._done, self._task.what = done, what
        self._task.run(function, *args)

    def _returned(self, outcome: Any) -> None:
        done, self._done = self._done, None
        assert done is not None
        self._end("", partial(done, outcome))

    def _failed(self, text: str) -> None:
        self._done = None
        show_error(text)
        self._end(text)

    def _begin(self, text: str) -> None:
        self._running = True
        self.controls.show_running(True, ready=True)
        self.controls.tell(text)

    def _end(self, why: str, done: Callable[[], None] = lambda: None) -> None:
        self._running = False
        self.controls.show_running(False, ready=self.controls.mask.value is not None)
        self.controls.tell(why)
        done()
        self.idle.emit(why)

    def _show(self, mask: Layer, measured: Measurements) -> None:
        """Show the measures in the dock, and give them to the layer, for napari's own table of features."""
        if mask not in self.viewer.layers or mask != self.controls.mask.value:
            return
        self.measured, self._of = measured, mask
        self.controls.show_table(measured)
        labels = [region.label for region in measured.regions if region.label is not None]
        colours = {label: [round(255 * part) for part in mask.get_color(label)[:3]] for label in labels}
        self.controls.areas.show_curves(area_curves(measured, colours))
        self.controls.densities.show_curves(density_curves(measured, colours))
        _set_features(mask, measured)
        self._watch(mask)

    def _reported(self, mask: Layer, path: Path, measured: Measurements) -> None:
        self._show(mask, measured)
        show_info(tr("Saved {path}.", path=path))

    def _saved(self, path: Path) -> None:
        show_info(tr("Saved {path}.", path=path))

    # ---- whether the table is still true

    def _forget(self) -> None:
        self._unwatch()
        self.measured = self._of = None
        self.controls.show_table(None)
        for plot in (self.controls.areas, self.controls.densities):
            plot.show_curves({})

    def _watch(self, mask: Layer) -> None:
        self._unwatch()
        self._watched = MaskWatch(self.viewer, mask, self._changed)

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._watched.end()
            self._watched = None

    def _changed(self) -> None:
        self._watched = None
        self.controls.tell(CHANGED)

    def let_go(self) -> None:
        """Hear of the mask no more."""
        self._unwatch()


def _set_features(mask: Labels, measured: Measurements) -> None:
    """Write a row for each label, beside the columns that the layer has already."""
    import pandas as pd

    rows = [row for row in as_rows(measured, mask.name) if row["label"] is not None]
    found = (
        pd.DataFrame(rows).drop(columns=["case", "name"]).rename(columns={"label": "index"}).dropna(axis=1, how="all").set_index("index")
    )
    before = mask.features
    if "index" in before:
        kept = before.set_index("index")
        found = found.combine_first(kept[[name for name in kept if name not in found]])
    # Of labels without a row, the background's too, napari says under the cursor that it knows nothing.
    mask.features = found.reindex(sorted({0, *found.index})).rename_axis("index").reset_index()
