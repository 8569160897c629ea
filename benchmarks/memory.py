"""Peak memory of ``napari-lungseg segment`` above the image itself, against the number of slices (Linux).

    python benchmarks/memory.py [--slices 1 100 300 1000 3000] [--ct CT] [--model NAME]

Each scan of 512 x 512 is a CT (the bundled sample, enlarged) whose slices lie as many times nearer to each other as it takes, each
repeated, written as an uncompressed NIfTI file. The command is a process of its own; its peak is what it had in memory at most that
is not a file's (RssAnon and RssShmem of /proc, looked at a hundred times a second). Subtracted are what the run of one slice takes
(Python, libraries, the network) and the image, which the command holds in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_lungseg.formats import read
from napari_lungseg.sample import sample_ct
from napari_lungseg.volume import scaling

SIDE = 512
MIB = 1 << 20


def make_scan(path: Path, slices: int, ct: Path | None) -> None:
    """Write a scan slice by slice, so that it needs no memory here either."""
    volume, _ = (sample_ct() if ct is None else read(ct)).reorient()
    repeat = max(1, SIDE // volume.shape[-1])
    planes = [np.kron(np.asarray(plane), np.ones((repeat, repeat), np.int16))[:SIDE, :SIDE] for plane in volume.array]
    if planes[0].shape != (SIDE, SIDE):
        raise SystemExit(f"The slices of {ct} are not {SIDE} x {SIDE}.")
    affine = scaling((volume.spacing[0] * len(planes) / slices, volume.spacing[1] / repeat, volume.spacing[2] / repeat))
    import nibabel

    header = nibabel.Nifti1Image(np.zeros((SIDE, SIDE, 1), np.int16), np.diag([-1, -1, 1, 1]) @ affine[:, [2, 1, 0, 3]]).header
    header.set_data_shape((SIDE, SIDE, slices))
    header.set_data_dtype(np.int16)
    with path.open("wb") as file:
        header.write_to(file)
        file.write(b"\0" * (int(header["vox_offset"]) - file.tell()))
        for index in range(slices):
            file.write(planes[(2 * index + 1) * len(planes) // (2 * slices)].astype("<i2").tobytes())


def peak_of(command: list[str]) -> tuple[float, float]:
    """MiB at most that are not of a file, and seconds, of a command."""
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        peak = max(peak, sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))))
        time.sleep(0.01)
    if process.wait():
        raise SystemExit(process.stderr.read().decode())
    return peak / 1024, time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", nargs="+", type=int, default=[1, 100, 300, 1000, 3000])
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--model", default="lung-ct")
    given = parser.parse_args()
    print("| slices | image (MiB) | peak (MiB) | above one slice and the image (MiB) | lung (mL) | seconds |\n|" + "---|" * 6, flush=True)
    first = 0.0
    for slices in sorted({1, *given.slices}):
        with tempfile.TemporaryDirectory() as scratch:
            scan, report = Path(scratch, "scan.nii"), Path(scratch, "report.json")
            make_scan(scan, slices, given.ct)
            command = [sys.executable, "-m", "napari_lungseg", "segment", str(scan), "-o", str(Path(scratch, "lungs.nii.gz"))]
            peak, seconds = peak_of([*command, "--model", given.model, "--report", str(report)])
            image = scan.stat().st_size / MIB
            first = first or peak
            found = sum(json.loads(report.read_text())["runs"][0]["volume_ml"].values())
        print(f"| {slices:,} | {image:.0f} | {peak:.0f} | {peak - first - image:.0f} | {found:.0f} | {seconds:.1f} |", flush=True)
    print(f"\n{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
