"""DICOM archives: find series, segment them, store the segmentations, and watch for new ones."""
