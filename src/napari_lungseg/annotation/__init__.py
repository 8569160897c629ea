"""What is known of masks while they are made and corrected; no Qt, no napari."""

from napari_lungseg.annotation.document import MODEL_CAUSES, MaskDocument
from napari_lungseg.annotation.making import Making

__all__ = ["MODEL_CAUSES", "Making", "MaskDocument"]
