"""Let a worker of a Dask cluster use the cores of its machine."""

from __future__ import annotations

import os

from napari_lungseg.cores import available_cores

#: What tells libraries how many threads to use.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def use_cores() -> None:
    """Give libraries all cores, where it was Dask and not a person who gave them one.

    Dask's nanny starts a worker with these variables set to 1 where its own environment lacks them, as most programs on Dask use one
    thread a task. A network would take many times as long. Workers of one nanny program share the cores.
    """
    import psutil
    from distributed import get_worker

    if get_worker().nanny is None:
        return
    nanny = psutil.Process().parent()
    if nanny is None:
        return
    try:
        given = nanny.environ()
        beside = sum("spawn_main" in " ".join(child.cmdline()) for child in nanny.children())
    except psutil.Error:
        return
    for name in VARIABLES:
        if name not in given:
            os.environ[name] = str(max(1, available_cores() // max(1, beside)))
