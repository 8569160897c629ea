"""Time and memory of measuring a mask and of making and writing its surfaces; and how right the surfaces of balls are.

    python benchmarks/measure.py [LABELS CT]

Without arguments the lungs are two uneven ellipsoids in a CT of 300 x 512 x 512 voxels, 1.0 x 0.7 x 0.7 mm.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_lungseg.formats import read
from napari_lungseg.measurement import measure, write_report
from napari_lungseg.mesh import MeshSettings, enclosed_mm3, surface, surfaces, write_surfaces
from napari_lungseg.volume import Volume, scaling

#: Radius, and spacing along z, y and x, in mm.
BALLS = ((40, 1, 1, 1), (60, 2.5, 0.8, 0.8), (60, 5, 0.8, 0.8), (60, 8, 1.3, 1.3), (10, 1, 1, 1), (5, 1, 1, 1))


def peak_mib() -> float:
    """Peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


@contextmanager
def clock(what: str) -> Iterator[None]:
    """Print a line of the table when it is done."""
    started, worked = time.perf_counter(), time.process_time()
    yield
    print(f"| {what} | {time.perf_counter() - started:.2f} | {time.process_time() - worked:.2f} | {peak_mib():.0f} |", flush=True)


def chest() -> tuple[Volume, Volume]:
    """Labels and CT of the size of a thin-slice scan."""
    shape, spacing = (300, 512, 512), (1.0, 0.7, 0.7)
    draw = np.random.default_rng(0)
    z, y, x = (np.linspace(-1, 1, size, dtype=np.float32) for size in shape)
    labels = np.zeros(shape, np.uint8)
    rough = gaussian_filter(draw.normal(0, 1, (512, 512)).astype(np.float32), 4)
    for label, side in ((1, -0.4), (2, 0.4)):
        for index, height in enumerate(z):
            inside = (height / 0.9) ** 2 + (y[:, None] / 0.6) ** 2 + ((x[None] - side) / 0.32) ** 2 + rough < 1
            labels[index][inside] = label
    hu = np.where(labels > 0, -850, 30).astype(np.int16) + draw.integers(-60, 60, shape, dtype=np.int16)
    affine = scaling(spacing)
    return Volume(labels, affine), Volume(hu, affine, "HU")


def balls() -> None:
    """Print how far area and volume of the surface of a ball are from the truth."""
    print("\n| radius (mm) | voxels (mm) | volume, of the voxels' | area, of the ball's | area without smoothing |\n" + "|---" * 5 + "|")
    for radius, spacing in (
        (40, (1, 1, 1)),
        (60, (2.5, 0.8, 0.8)),
        (60, (5, 0.8, 0.8)),
        (60, (8, 1.3, 1.3)),
        (10, (1, 1, 1)),
        (5, (1, 1, 1)),
    ):
        places = [np.arange(-np.ceil(radius / step) - 1, np.ceil(radius / step) + 2) * step for step in spacing]
        z, y, x = np.meshgrid(*places, indexing="ij", sparse=True)
        labels = Volume((z**2 + y**2 + x**2 <= radius**2).astype(np.uint8), scaling(tuple(float(step) for step in spacing)))
        smooth, rough = (surface(labels, settings=MeshSettings(rounds, None)) for rounds in (20, 0))
        voxels, true = labels.array.sum() * labels.voxel_ml * 1000, 4 * np.pi * radius**2
        steps = " x ".join(f"{step:g}" for step in spacing)
        print(f"| {radius} | {steps} | {enclosed_mm3(smooth) / voxels:.4f} | {smooth.area / true:.4f} | {rough.area / true:.4f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="LABELS CT")
    files = parser.parse_args().files
    labels, ct = (read(files[0]), read(files[1])) if files else chest()
    volumes = [np.asarray(volume.array) for volume in (labels, ct)]
    labels, ct = labels.with_array(volumes[0]), ct.with_array(volumes[1], ct.unit)
    print(
        f"{' x '.join(map(str, labels.shape))} voxels\n\n| step | seconds | seconds of CPU | peak memory so far (MiB) |\n|---|---|---|---|"
    )
    print(f"| the images alone | | | {peak_mib():.0f} |", flush=True)
    with clock("measure, all labels and together"):
        measured = measure(labels, ct)
    with clock("surfaces of all labels"):
        made = surfaces(labels)
    with tempfile.TemporaryDirectory() as folder:
        for ending in (".stl", ".obj", ".ply", ".glb"):
            with clock(f"write {ending}"):
                path = write_surfaces(made, Path(folder) / f"lungs{ending}")
            print(f"  {path.stat().st_size / 2**20:.1f} MiB", file=sys.stderr)
        with clock("write the report"):
            write_report(Path(folder) / "report.html", "benchmark", measured, labels, ct)
    print(f"\n{', '.join(f'{one.name}: {one.surface_cm2:.0f} cm2' for one in measured.regions)}")
    balls()


if __name__ == "__main__":
    main()
