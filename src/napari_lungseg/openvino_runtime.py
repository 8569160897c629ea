"""Run a network on the CPU with OpenVINO, some slices in flight."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import numpy.typing as npt

from napari_lungseg.cores import allowed_threads
from napari_lungseg.openvino_graph import PROBE_CHANNELS, PROBE_SUM, make_probe
from napari_lungseg.openvino_quiet import openvino

Image = npt.NDArray[np.float32]

#: Slices that are computed at a time, each by threads of its own, which need not wait for each other; each takes memory.
MOST_STREAMS = 4


class OpenVinoError(Exception):
    """OpenVINO failed, for whatever reason; in its own words.

    Attributes
    ----------
    unfinished : list of (C, H, W) array
        Images that were taken and whose results were not given.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.unfinished: list[Image] = []


class OpenVinoRuntime:
    """Runs one compiled network.

    Parameters
    ----------
    graph : openvino.Model
        Takes one image (1, C, H, W) float32, and gives (1, classes, H, W) float32.
    precision : str
        Numbers that it computes with, for a report.

    Raises
    ------
    OpenVinoError
        When OpenVINO cannot use the graph.
    """

    def __init__(self, graph: openvino.Model, precision: str) -> None:
        threads = allowed_threads()
        streams = min(threads, MOST_STREAMS)
        self.name = f"OpenVINO {openvino.get_version().split('-')[0]} {precision}"
        settings = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            # Not bfloat16, which some CPUs would choose: every CPU is to give the same masks.
            "INFERENCE_PRECISION_HINT": "f32",
            # Several processes would sit on the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        with failures():
            self._compiled = _core().compile_model(graph, "CPU", settings)
        #: As many as compute.
        self.threads = int(self._compiled.get_property("INFERENCE_NUM_THREADS"))
        # One more than run at a time, so that no stream waits for Python.
        self._requests = streams + 1

    def run(self, images: Iterator[Image]) -> Generator[npt.NDArray[np.float32]]:
        """Yield the probabilities (classes, H, W) of each image (C, H, W) in turn; each is overwritten after the next was asked for.

        Raises
        ------
        OpenVinoError
            When OpenVINO fails.
        """
        running: deque[tuple[openvino.InferRequest, Image]] = deque()
        try:
            with failures():
                free = [self._compiled.create_infer_request() for _ in range(self._requests)]
            for image in images:
                running.append((free.pop(), image))
                with failures():
                    running[-1][0].start_async({0: image[None]}, share_inputs=True)
                while running and (not free or _is_done(running[0][0])):
                    yield _finish(running, free)
            while running:
                yield _finish(running, free)
        except OpenVinoError as error:
            error.unfinished = [image for _, image in running]
            raise
        finally:
            for request, _ in running:
                request.cancel()


def _is_done(request: openvino.InferRequest) -> bool:
    with failures():
        return bool(request.wait_for(0))


def _finish(running: deque[tuple[openvino.InferRequest, Image]], free: list[openvino.InferRequest]) -> npt.NDArray[np.float32]:
    """The result of the oldest request that is running, which is free then."""
    request = running[0][0]
    with failures():
        request.wait()
        result: npt.NDArray[np.float32] = request.get_output_tensor().data[0]
    running.popleft()
    free.append(request)
    return result


@cache
def adds_int8_exactly() -> bool:
    """Whether convolutions in int8 give what they should; processors without instructions for them may overflow, without a word."""
    image = np.full((PROBE_CHANNELS, 8, 8), 255, np.float32)
    try:
        return bool(np.allclose(next(OpenVinoRuntime(make_probe(), "int8").run(iter([image]))), PROBE_SUM, rtol=1e-3))
    except OpenVinoError:
        return False


@contextmanager
def failures() -> Iterator[None]:
    """Tell OpenVINO's failures, which are RuntimeErrors, from those of what reads the images."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise OpenVinoError(str(error)) from error


@cache
def _core() -> openvino.Core:
    return openvino.Core()
