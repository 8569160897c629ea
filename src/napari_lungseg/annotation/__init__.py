"""What is known of masks while they are made and corrected; no Qt, no napari."""

from napari_lungseg.annotation.document import MODEL_CAUSES, Making, MaskDocument

__all__ = ["MODEL_CAUSES", "Making", "MaskDocument"]
