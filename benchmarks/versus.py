"""Slices a second of this package with each runtime, beside what else is used to find lungs: same slices, same cores, one run.

    python benchmarks/versus.py [CT] [--slices 30] [--rounds 2] [--python PATH]

- lungmask: its own package with random weights of its network R231, as its time does not depend on them; without post-processing, whose
  time does. It may lie in another environment, whose Python is given by --python: pip install lungmask==0.2.20
- the article's loop: one slice at a time through a plain U-Net of base width 64 (random weights) at 256 x 256, sigmoid, threshold
- MONAI's sliding window (256 x 256, a quarter overlapping) with the network of lung-ct, slice by slice: pip install monai
- ours: predicting with lung-ct, from the image's own numbers to percent on its own pixels

Each runs in a process of its own, whose start, imports, compiling and first slice are not counted; the quicker ones, ours and MONAI's, go
over the slices four times. What is missing is named, and left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

OURS = ("OpenVINO int8", "OpenVINO float32", "torch")
OTHERS = ("MONAI's sliding window", "the article's loop", "lungmask")
NEEDED = {"OpenVINO int8": "openvino", "OpenVINO float32": "openvino", "MONAI's sliding window": "monai", "lungmask": "lungmask==0.2.20"}
SIDE, TIMES = 256, 4


def ours(scan: Path, runtime: str) -> float:
    if runtime == "torch":
        sys.modules["openvino"] = None
    from napari_lungseg.model import load_model
    from napari_lungseg.predict import PredictSettings, predict

    volume, model = volume_of(scan), load_model("lung-ct")
    if runtime == "OpenVINO float32":
        model.card = replace(model.card, int8=None)
    volume = replace(volume, array=np.tile(volume.array, (TIMES, 1, 1)))
    moments = [(time.perf_counter(), last := step) for step in predict(volume, model, PredictSettings(device="cpu"))]
    assert runtime in last.runtime or (runtime.startswith("OpenVINO") and last.runtime.endswith(runtime.split()[1])), last.runtime
    return (len(moments) - 1) / (moments[-1][0] - moments[0][0])


def sliding_window(scan: Path) -> float:
    import torch
    from monai.inferers import sliding_window_inference

    from napari_lungseg.model import load_model
    from napari_lungseg.preprocess import body_box, normalise
    from napari_lungseg.resample import network_plane, resize

    volume, model = volume_of(scan), load_model("lung-ct")
    card, box = model.card, body_box(volume)
    grid, limits = card.preprocessing.grid(box, volume.spacing[1:]), card.preprocessing.intensity_range(volume)

    def one(plane: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(network_plane(normalise(plane[box], *limits), grid, card.architecture))[None, None]
        found = torch.sigmoid(sliding_window_inference(seen, (SIDE, SIDE), 4, model.network, overlap=0.25))
        return resize(np.ascontiguousarray(found[0, 0].numpy()[: grid[0], : grid[1]]), plane[box].shape) >= 0.5

    with torch.inference_mode():
        return timed(one, np.tile(volume.array, (TIMES, 1, 1)))


def article(scan: Path) -> float:
    import torch

    from napari_lungseg.unet import UNet

    network = UNet().eval()

    def one(plane: np.ndarray) -> np.ndarray:
        image = torch.from_numpy(np.clip((plane + 1000.0) / 1400.0, 0.0, 1.0).astype(np.float32))[None, None]
        image = torch.nn.functional.interpolate(image, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return torch.sigmoid(network(image))[0, 0].numpy() > 0.5

    with torch.no_grad():
        return timed(one, volume_of(scan).array)


def lungmask(scan: Path) -> float:
    """In the Python of lungmask, which need not have this package."""
    import torch
    from lungmask.mask import LMInferer
    from lungmask.resunet import UNet

    array = np.load(scan)["array"]
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch, "random.pth")
        network = UNet(n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False)
        torch.save(network.state_dict(), weights)
        inferer = LMInferer(modelpath=str(weights), force_cpu=True, volume_postprocessing=False, tqdm_disable=True)
    inferer.apply(array[:1])
    started = time.perf_counter()
    inferer.apply(array)
    return len(array) / (time.perf_counter() - started)


def timed(one, planes: np.ndarray) -> float:
    one(planes[0])
    started = time.perf_counter()
    for plane in planes:
        one(plane)
    return len(planes) / (time.perf_counter() - started)


def volume_of(scan: Path):
    from napari_lungseg.volume import Volume

    stored = np.load(scan)
    return Volume(stored["array"], stored["affine"], "HU")


def measured(name: str, scan: Path, python: str) -> float:
    """Slices a second; NaN where something is missing, which is told."""
    command = [python if name == "lungmask" else sys.executable, __file__, "--one", name, str(scan)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        if "ModuleNotFoundError" in done.stderr or "OpenVINO is not installed" in done.stderr:
            print(f"{name} is left out: pip install {NEEDED[name]}", file=sys.stderr)
            return float("nan")
        raise SystemExit(done.stderr or f"{command[0]} failed.")
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ct", nargs="?", type=Path)
    parser.add_argument("--slices", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, scan = given.one[0], Path(given.one[1])
        others = dict(zip(OTHERS, (sliding_window, article, lungmask)))
        print(others[name](scan) if name in others else ours(scan, name))
        return
    from napari_lungseg.formats import read
    from napari_lungseg.sample import sample_ct

    volume, _ = (sample_ct() if given.ct is None else read(given.ct)).reorient()
    wanted = np.linspace(0, volume.shape[0] - 1, min(given.slices, volume.shape[0])).round().astype(int)
    names = [*OURS, *OTHERS]
    rates: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        scan = Path(scratch, "scan.npz")
        np.savez(scan, array=np.asarray(volume.array)[wanted], affine=volume.affine)
        # In turns, so that what else the machine does meets all alike.
        for _ in range(given.rounds):
            for name in names:
                if not np.isnan(rates[name]).any():
                    rates[name].append(measured(name, scan, given.python))
    best = {name: max(found) for name, found in rates.items()}
    columns = [name for name in OTHERS if best[name] == best[name]]
    print("| | slices/s | " + " | ".join(f"times {name}" for name in columns) + " |\n|" + "---|" * (len(columns) + 2))
    for name in names:
        if best[name] == best[name]:
            print(f"| {name} | {best[name]:.2f} | " + " | ".join(f"{best[name] / best[other]:.1f}" for other in columns) + " |")
    shape = " x ".join(str(n) for n in volume.shape[1:])
    print(f"\nbest of {given.rounds}, {len(wanted)} slices of {shape}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
