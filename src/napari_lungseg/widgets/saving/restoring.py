"""Work that was saved is found again when its image is opened, offered, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import QObject, Signal

from napari_lungseg.translation import say
from napari_lungseg.widgets.language import tr
from napari_lungseg.widgets.lookup import is_image, result_for, result_of
from napari_lungseg.widgets.notices import show_error, show_warning
from napari_lungseg.widgets.saving.recognition import Found, Offer, Search
from napari_lungseg.widgets.saving.tracking import Tracking
from napari_lungseg.widgets.tasks import run_once
from napari_lungseg.widgets.view import TimeIndex, displayed_time_index, voxel_shape
from napari_lungseg.widgets.worker import Failure, sentence
from napari_lungseg.workspace import Case, Saved, Workspace, damaged

if TYPE_CHECKING:
    import napari.viewer


class Recognition(QObject):
    """Offers the saved work on the images of one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose images are recognised.
    tracking : Tracking
        Of the viewer.

    Attributes
    ----------
    offers : list of Offer
        What was found and is not shown yet.
    unfinished : list of Case
        What a session left that ended unexpectedly.
    """

    #: What is offered has changed.
    changed = Signal()
    #: An image was opened to go on with that the workspace does not know.
    fresh = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, tracking: Tracking) -> None:
        super().__init__(tracking)
        self.offers: list[Offer] = []
        self.unfinished: list[Case] = []
        self.searches: list[Search] = []
        self._viewer, self._tracking = viewer, tracking
        self._resuming = False
        # What was offered for a mask would be mixed with what is begun now.
        tracking.begun.connect(lambda target: self.withdraw(target.layer, target.document.time_index))
        self._viewer.layers.events.inserted.connect(self._inserted)
        self._viewer.layers.events.removed.connect(self._removed)

    def close(self) -> None:
        """Look for nothing any more."""
        self._stop_searches()
        self._viewer.layers.events.inserted.disconnect(self._inserted)
        self._viewer.layers.events.removed.disconnect(self._removed)

    def forget(self) -> None:
        """Offer nothing of a workspace that is left."""
        self._stop_searches()
        self.offers, self.unfinished = [], []
        self.changed.emit()

    def begin(self, unfinished: list[Case]) -> None:
        """Look for the work on all images in a workspace that was opened, and offer what a session left."""
        self.unfinished = [case for case in unfinished if case.path is not None]
        self.changed.emit()
        for layer in self._viewer.layers:
            self.recognise(layer)

    def withdraw(self, layer: Layer, time_index: TimeIndex | None = None) -> None:
        """Offer nothing any more for an image, or for one time point of it."""
        self._withdraw([offer for offer in self.offers if offer.layer == layer and time_index in (None, offer.time_index)])

    def _removed(self, event: Any) -> None:
        self._stop_searches(event.value)
        self.withdraw(event.value)

    def _inserted(self, event: Any) -> None:
        self.recognise(event.value)

    def recognise(self, layer: Layer) -> None:
        """Look for work on an image."""
        workspace = self._tracking.workspace
        if workspace is None or not is_image(layer) or (layer.ndim <= 3 and result_of(layer) is not None):
            return
        orphans = {target.volume.shape for target in self._tracking.targets if target.layer not in self._viewer.layers}
        search = Search(workspace, layer, displayed_time_index(self._viewer, layer), orphans, resume=self._resuming)
        self.searches.append(search)
        run_once(self, say("Looking for saved work on {name}", name=layer.name), search.run, done=self._recognised, failed=show_warning)

    def _stop_searches(self, layer: Layer | None = None) -> None:
        """End the searches for an image, or all."""
        for search in [search for search in self.searches if layer is None or search.layer == layer]:
            search.cancelled = True
            self.searches.remove(search)

    def _recognised(self, searched: tuple[Search, list[Found] | Failure]) -> None:
        search, found = searched
        if search not in self.searches:
            return
        self.searches.remove(search)
        if isinstance(found, Failure):
            show_warning(found.text)
            found = []
        if self._give_back(search.layer, found):
            return
        offers = []
        for one in found:
            if (offer := self._offer(search.layer, one)) is not None:
                offers.append(offer)
                self.offers.append(offer)
        self.unfinished = [case for case in self.unfinished if case not in [offer.case for offer in offers]]
        self.changed.emit()
        if search.resume:
            for offer in offers:
                self.accept(offer)
            if not offers:
                self.fresh.emit(search.layer)

    def _give_back(self, layer: Layer, found: list[Found]) -> bool:
        """Give an image back to the mask that stayed here when it was removed; tells whether there is one."""
        contents = {one.time_index: one.content for one in found}
        for result in self._tracking.watched:
            targets = [target for at in result.documents if (target := self._tracking.known(result, at)) is not None]
            if (
                targets
                and result.image not in self._viewer.layers
                and result_of(layer) is None
                and all(target.content is not None and target.content == contents.get(target.document.time_index) for target in targets)
            ):
                self._tracking.give_image(result, targets, layer)
                return True
        return False

    def _offer(self, layer: Layer, found: Found) -> Offer | None:
        """What can be offered for a volume: a case that is in no other layer, where no work has begun."""
        target = self._tracking.known(result_of(layer), found.time_index)
        if target is not None and (target.case is not None or self._tracking.pending(target)):
            return None
        shown = [target.case for target in self._tracking.targets] + [offer.case for offer in self.offers]
        free = [summary for summary in found.known if summary.case not in shown]
        return Offer(layer, found.time_index, found.volume, free[0].case, free[0], len(free) - 1) if free else None

    def go_on(self, path: Path) -> None:
        """Open an image, with the work on it if there is any."""
        self.unfinished = [case for case in self.unfinished if case.path != path]
        self.changed.emit()
        self._resuming = True
        try:
            self._viewer.open(str(path), plugin="napari-lungseg")
        except Exception as error:
            show_error(sentence(error, say("Opening {name}", name=path.name)))
        finally:
            self._resuming = False

    def pass_over(self) -> None:
        """Leave the work of the last session where it is."""
        self.unfinished = []
        self.changed.emit()

    def accept(self, offer: Offer) -> None:
        """Show the work that was found."""
        workspace = self._tracking.workspace
        assert workspace is not None
        run_once(
            self, say("Loading the work on {name}", name=offer.layer.name), _load, workspace, offer, done=self._loaded, failed=show_error
        )

    def decline(self, offer: Offer) -> None:
        """Leave it in the workspace."""
        self._withdraw([offer])

    def _withdraw(self, offers: list[Offer]) -> None:
        if offers:
            self.offers = [offer for offer in self.offers if offer not in offers]
            self.changed.emit()

    def _loaded(self, loaded: tuple[Offer, Saved | Failure]) -> None:
        offer, saved = loaded
        if offer not in self.offers:
            return
        self.decline(offer)
        if isinstance(saved, Failure):
            show_error(saved.text)
            return
        result = result_for(self._viewer, offer.layer, voxel_shape(offer.layer))
        self._tracking.restoring[result, offer.time_index] = offer.case
        result.restore(self._viewer, offer.time_index, offer.volume, saved)
        del self._tracking.restoring[result, offer.time_index]
        # Whoever shows the volume may have begun its target already.
        target = self._tracking.target(result, offer.time_index)
        target.belong(offer.case)
        self._tracking.saved.emit(target, [])
        if saved.damage:
            show_warning(tr("Not all of {name} is as it was saved: {lost}.", name=offer.case.name, lost=damaged(saved.damage)))


def _load(workspace: Workspace, offer: Offer) -> tuple[Offer, Saved | Failure]:
    try:
        saved = workspace.load(offer.case)
        assert saved is not None
    except Exception as error:
        return offer, Failure(sentence(error, say("Loading the work on {name}", name=offer.layer.name)))
    return offer, saved
