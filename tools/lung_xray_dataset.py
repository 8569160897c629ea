"""Gather the labelled radiographs that lung-xray learns from, in nnU-Net raw layout.

    python tools/lung_xray_dataset.py DATA OUT [--fold K --folds N]

DATA is the folder of radiographs with masks that docs/model-card-xray.md lists (images, masks, manifest.csv). Patients are put into N folds
by turns; those of fold K go to imagesTs and labelsTs, which no training run reads, the rest to imagesTr and labelsTr. Without a
fold all of them are there to learn from.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from pathlib import Path

MASKS = {"data": "lung masks drawn by people, V7 Labs", "licence": "CC BY 4.0", "doi": ""}


def sources_of(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Where the images come from, and under which licence each is; then the masks."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row["url"], row["license"], row["doi"]), []).append(Path(row["file"]).stem)
    return [
        {"data": f"{', '.join(names)}, via Cohen et al., arXiv 2003.11597: {url}", "licence": licence, "doi": doi}
        for (url, licence, doi), names in found.items()
    ] + [MASKS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    rows = list(csv.DictReader((given.data / "manifest.csv").open()))
    people = sorted({row["patientid"] for row in rows})
    patients, held_out = {}, 0
    for row in rows:
        case = Path(row["file"]).stem
        tested = given.fold is not None and people.index(row["patientid"]) % given.folds == given.fold
        held_out += tested
        end = "Ts" if tested else "Tr"
        for kind, source, name in (("images", "images", f"{case}_0000.png"), ("labels", "masks", f"{case}.png")):
            folder = given.out / f"{kind}{end}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(given.data / source / row["file"], folder / name)
        patients[case] = f"xray_{row['patientid']}"
    description = {
        "channel_names": {"0": "radiograph"},
        "labels": {"background": 0, "lung": 1},
        "numTraining": len(rows) - held_out,
        "file_ending": ".png",
        "patients": patients,
        "sources": sources_of(rows),
    }
    (given.out / "dataset.json").write_text(json.dumps(description, indent=1))
    print(f"{len(rows) - held_out} images to learn from, {held_out} held out, of {len(people)} patients")


if __name__ == "__main__":
    main()
