"""Which case of many a person should look at first, and the page that shows them all."""

from napari_lungseg.cases.likeness import unlike_training
from napari_lungseg.cases.ranking import CaseMeasures, Oddity, measure_case, rank_cases
from napari_lungseg.cases.sheet import CASES_CSV, CASES_HTML, CASES_PARQUET, Entry, coronal_picture, read_cases, write_cases

__all__ = [
    "CASES_CSV",
    "CASES_HTML",
    "CASES_PARQUET",
    "CaseMeasures",
    "Entry",
    "Oddity",
    "coronal_picture",
    "measure_case",
    "rank_cases",
    "read_cases",
    "unlike_training",
    "write_cases",
]
