"""DICOM archives: find series, segment them, store the segmentations, and watch for new ones."""

from napari_lungseg.archive.client import Archive, ArchiveSeries
from napari_lungseg.archive.segmenting import ArchiveSettings, Stored, segment_series
from napari_lungseg.archive.watching import watch

__all__ = ["Archive", "ArchiveSeries", "ArchiveSettings", "Stored", "segment_series", "watch"]
