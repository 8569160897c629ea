"""Several readers of the same images, each with a workspace of their own, in which nobody sees another's mask: agreement and consensus."""

from napari_lungseg.readers.agreement import Agreement, compare_readings
from napari_lungseg.readers.consensus import ConsensusReport, make_consensus
from napari_lungseg.readers.reading import Reading, check_names, find_reading, only, shared_cases

__all__ = [
    "Agreement",
    "ConsensusReport",
    "Reading",
    "check_names",
    "compare_readings",
    "find_reading",
    "make_consensus",
    "only",
    "shared_cases",
]
