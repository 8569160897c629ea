"""Fill between slices by shapes and by the image: how near both come to known masks.

    python benchmarks/fill.py [CT MASK ...] [--gaps 4 8]

Of every mask (the bundled sample where none is given) each fourth and each eighth slice is kept, the rest is filled in.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np

from napari_lungseg import edit
from napari_lungseg.formats import read
from napari_lungseg.sample import sample_ct, sample_lungs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--gaps", type=int, nargs="+", default=[4, 8])
    given = parser.parse_args()
    pairs = list(zip(given.files[::2], given.files[1::2], strict=True))
    print("| scan | drawn | way | Dice between, mean | 5th percentile | worst | CPU s/slice |\n|" + "---|" * 7)
    for name, ct, mask in [(ct.parent.name, read(ct), read(mask)) for ct, mask in pairs] or [("sample", sample_ct(), sample_lungs())]:
        ct, known = ct.reorient()[0], np.asarray(mask.reorient()[0].array) > 0
        image = np.asarray(ct.array)
        for gap in given.gaps:
            drawn = [index for index in range(0, len(known), gap) if known[index].any()]
            labels = np.zeros(known.shape, np.uint8)
            labels[drawn] = known[drawn]
            between = [index for index in range(drawn[0], drawn[-1]) if index not in drawn and known[index].any()]
            for way, fill in (("shapes", edit.fill_between), ("image", partial(edit.fill_between_by_image, image=image))):
                started = time.process_time()
                filled = fill(labels, label=1, axis=0, spacing=ct.spacing) > 0
                seconds = (time.process_time() - started) / len(between)
                dice = [2 * (filled[z] & known[z]).sum() / (filled[z].sum() + known[z].sum()) for z in between]
                scores = f"{np.mean(dice):.3f} | {np.percentile(dice, 5):.3f} | {min(dice):.3f} | {seconds:.2f}"
                print(f"| {name} | 1 in {gap} | {way} | {scores} |", flush=True)


if __name__ == "__main__":
    main()
