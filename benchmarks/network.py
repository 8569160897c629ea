"""CPU time a slice of the network of lung-ct alone in OpenVINO, with norms as they ship and as OpenVINO takes them.

    python benchmarks/network.py [--rounds 12] [--rows 480] [--columns 608]

One slice of the sample, stretched to the size, one at a time on one core. All in turns, so that other work on the machine hits all; the
median counts.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from PIL import Image

from napari_lungseg.model import load_model
from napari_lungseg.openvino_graph import make_graph
from napari_lungseg.openvino_quiet import openvino
from napari_lungseg.preprocess import normalise
from napari_lungseg.sample import sample_ct


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rows", type=int, default=480)
    parser.add_argument("--columns", type=int, default=608)
    given = parser.parse_args()
    model, (upright, _) = load_model("lung-ct"), sample_ct().reorient()
    values = normalise(upright.array[len(upright.array) // 2], *model.card.preprocessing.window_hu)
    image = np.asarray(Image.fromarray(values).resize((given.columns, given.rows)))[None, None]
    settings = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    requests = {}
    for precision, weights in (("int8", model.read_int8()), ("float32", model.weights)):
        assert weights is not None
        for norms, whole in (("as they ship", False), ("OpenVINO's own", True)):
            graph = make_graph(weights, model.card.unet, given.rows, given.columns, whole_norms=whole)
            requests[precision, norms] = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
    times: dict[tuple[str, str], list[float]] = {kind: [] for kind in requests}
    for _ in range(given.rounds + 1):
        for kind, request in requests.items():
            began = time.process_time()
            request.infer({0: image})
            times[kind].append(time.process_time() - began)
    print(f"OpenVINO {openvino.get_version().split('-')[0]}, {given.rows} x {given.columns}\n")
    print("| precision | norms | CPU ms a slice |\n|---|---|---|")
    for (precision, norms), found in times.items():
        print(f"| {precision} | {norms} | {1000.0 * statistics.median(found[1:]):.1f} |")


if __name__ == "__main__":
    main()
