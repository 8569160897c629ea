"""Gather the labelled CT that the default model learns from, in nnU-Net raw layout.

    python tools/lung_ct_dataset.py DATA OUT

DATA is the folder of real CT with lung masks that docs/model-card.md lists. Patients named in HELD_OUT go
to imagesTs and labelsTs, which no training run reads; the rest to imagesTr and labelsTr. How sure each slice's mask is goes to
quality.csv, for benchmarks/accuracy.py.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import SimpleITK as sitk

#: Never trained on; they make the scores of the model card. Chosen by hand before any training, so that every kind of difficulty
#: is present on both sides: consolidation, masses at the wall, prone, sharp kernels, bases, apices, slices without lung.
HELD_OUT = {
    "Lung_Dx-A0002", "LIDC-IDRI-0002", "CMB-CRC-MSB-01068",
    "SBU-A002304", "SBU-A046441", "SBU-A056642", "SBU-A072894", "SBU-A027284", "SBU-A058062",
    "TCGA-60-2695", "TCGA-60-2716", "TCGA-92-8064", "TCGA-34-5234", "TCGA-50-8459", "TCGA-17-Z054", "TCGA-17-Z021",
    "TCGA-17-Z051", "TCGA-50-6673", "TCGA-92-8063", "TCGA-60-2724", "TCGA-60-2722", "TCGA-60-2723",
    "LungCT-Diagnosis-R_004",
}  # fmt: skip
#: Watched during training to see that it goes well.
VALIDATION = {"TCGA-17-Z036", "TCGA-34-A5IX", "TCGA-92-7340"}
#: Masks that quality.csv calls poor.
LEFT_OUT = {"tcga_051_TCGA-50-6591"}

#: Attribution that travels with the data set into every model trained on it.
SOURCES = [
    {"data": "LIDC-IDRI (0001, 0002, 1011)", "licence": "CC BY 3.0", "doi": "10.7937/k9/tcia.2015.lo9ql9sx"},
    {"data": "Lung-PET-CT-Dx (A0001, A0002)", "licence": "CC BY 4.0", "doi": "10.7937/TCIA.2020.NNC2-0461"},
    {"data": "TCGA-LUAD", "licence": "CC BY 3.0", "doi": "10.7937/k9/tcia.2016.jgnihep5"},
    {"data": "TCGA-LUSC", "licence": "CC BY 3.0", "doi": "10.7937/k9/tcia.2016.tygkkfmq"},
    {"data": "ACRIN-FLT-Breast (013)", "licence": "CC BY 3.0", "doi": "10.7937/k9/tcia.2017.ol20zmxg"},
    {"data": "CMB-CRC (MSB-01068)", "licence": "CC BY 4.0", "doi": "10.7937/djg7-gz87"},
    {"data": "Lung-Fused-CT-Pathology, LungCT-Diagnosis (neck slices)", "licence": "CC BY 3.0", "doi": "10.1007/s10278-013-9622-7"},
    {"data": "COVID-19-NY-SBU", "licence": "CC BY 4.0", "doi": "10.7937/TCIA.BBAG-2923"},
    {"data": "pyradiomics 3.0.1 package data (lung1)", "licence": "BSD-3-Clause", "doi": "10.1158/0008-5472.CAN-17-0339"},
    {"data": "lung masks: thresholding and morphology, corrected by hand, not by a radiologist", "licence": "as their images", "doi": ""},
]


def cases(data: Path) -> list[tuple[str, str, Path, Path]]:
    """Case, patient, image (file or DICOM folder) and mask of everything that has a mask."""
    found = [
        ("lidc_1011", "LIDC-IDRI-1011", data / "lidc_1011/ct.nii.gz", data / "lidc_1011/lungs.nii.gz"),
        ("lung_dx_a0001", "Lung_Dx-A0001", data / "lung_dx_a0001/ct.nii.gz", data / "lung_dx_a0001/lungs.nii.gz"),
        ("lung_dx_a0002", "Lung_Dx-A0002", data / "lung_dx_a0002/dicom_b40f", data / "lung_dx_a0002/lungs.nii.gz"),
        ("pyradiomics_lung1", "pyradiomics-lung1", data / "pyradiomics_lung1/ct.nrrd", data / "pyradiomics_lung1/lungs.nii.gz"),
        ("acrin_013", "ACRIN-FLT-Breast-013", data / "acrin_013/ct_every2.nii.gz", data / "acrin_013/lungs.nii.gz"),
        ("cmb_crc_01068", "CMB-CRC-MSB-01068", data / "cmb_crc_01068/ct_every4.nii.gz", data / "cmb_crc_01068/lungs.nii.gz"),
    ]
    more = data / "lidc_more"
    found.append(("lidc_0001", "LIDC-IDRI-0001", more / "LIDC-IDRI-0001_ct_full_256.nii.gz", more / "LIDC-IDRI-0001_full_256_lungs.nii.gz"))
    found.append(("lidc_0002", "LIDC-IDRI-0002", more / "LIDC-IDRI-0002_ct_every6.nii.gz", more / "LIDC-IDRI-0002_lungs.nii.gz"))
    neck = data / "neck_negative"
    for stem, patient in (("LungCT-Diagnosis-R_004_no_lung", "LungCT-Diagnosis-R_004"), ("LungFCP-01-0006_3slices", "LungFCP-01-0006")):
        found.append((f"neck_{patient}", patient, neck / f"{stem}.nii.gz", neck / f"{stem}_lungs.nii.gz"))
    for image in sorted((data / "tcga_slices").glob("*.nii.gz")):
        case = image.name.removesuffix(".nii.gz")
        found.append((case, case.split("_")[2], image, data / "tcga_slices/lungs" / image.name))
    for image in sorted((data / "sbu_covid/axial").glob("*.dcm")):
        mask = data / "sbu_covid/lungs" / f"{image.stem}.nii.gz"
        found.append((f"sbu_{image.stem}", f"SBU-{image.stem.split('_')[0]}", image, mask))
    return [case for case in found if case[0] not in LEFT_OUT]


def load(path: Path) -> sitk.Image:
    """Image file or DICOM folder."""
    if path.is_dir():
        return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return sitk.ReadImage(str(path))


def ratings(mask: Path, slices: int) -> list[str]:
    """What the quality.csv beside a mask says of each of its slices, feet first: good or fair."""
    found = [""] * slices
    with (mask.parent / "quality.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if line.get("file", mask.name) == mask.name:
                first, _, last = line.get("slice_or_range", f"0-{slices - 1}").partition("-")
                for index in range(int(first), int(last or first) + 1):
                    found[index] = line["quality"]
    if "" in found:
        raise SystemExit(f"quality.csv does not rate slice {found.index('')} of {mask}")
    return found


def main(data: Path, out: Path) -> None:
    """Write the data set and say what is in it."""
    for folder in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    patients, train, validation, quality = {}, [], [], []
    for case, patient, image_path, mask_path in cases(data):
        held_out = patient in HELD_OUT
        image, mask = load(image_path), load(mask_path)
        if image.GetSize() != mask.GetSize():
            raise SystemExit(f"{mask_path} has another size than {image_path}")
        mask.CopyInformation(image)
        end = "Ts" if held_out else "Tr"
        sitk.WriteImage(image, str(out / f"images{end}" / f"{case}_0000.nii.gz"), useCompression=True)
        sitk.WriteImage(sitk.Cast(mask, sitk.sitkUInt8), str(out / f"labels{end}" / f"{case}.nii.gz"), useCompression=True)
        patients[case] = patient
        quality += [(case, index, rating) for index, rating in enumerate(ratings(mask_path, image.GetSize()[2]))]
        if not held_out:
            (validation if patient in VALIDATION else train).append(case)
    description = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "lung": 1},
        "numTraining": len(train) + len(validation),
        "file_ending": ".nii.gz",
        "patients": patients,
        "sources": SOURCES,
    }
    (out / "dataset.json").write_text(json.dumps(description, indent=1))
    with (out / "quality.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", "slice", "quality"), *quality])
    (out / "splits_final.json").write_text(json.dumps([{"train": train, "val": validation}], indent=1))
    print(f"{len(train)} cases to train on, {len(validation)} to watch, {len(patients) - len(train) - len(validation)} held out")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
