"""What damaged files do: each format's sound files, damaged thousands of times and read.

    python benchmarks/fuzz.py [FORMAT ...] [--mutants 1000] [--seed 0] [--keep FOLDER]

Each mutant is read in a process of its own with limits of memory and time. Right is one InputError, or the voxels that an independent
reader gives, without those files that are told as left out. Prints a table; mutants that end otherwise stay in --keep. Linux only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import numpy as np
from fuzz_files import REVISIONS, copy, make_seeds, reference, small_ct

import napari_lungseg as lungseg
from napari_lungseg.errors import InputError
from napari_lungseg.volume import Volume
from napari_lungseg.workspace import Workspace

MEMORY_GIB, SECONDS = 4, 10
OUTCOMES = (
    "refused",
    "equal",
    "told",
    "read, no reference",
    "reference refuses",
    "differs",
    "uncaught",
    "no memory",
    "crash",
    "hang",
    "prints",
)
#: What takes long to be imported, by format.
PRELOADED = {"model": "napari_lungseg.model", "dicom-seg": "highdicom.seg"}
#: What may stay after a run: anything else is a fault.
RIGHT = {"refused", "equal", "told", "read, no reference", "reference refuses"}
#: A file beside the mutant that says that it was read, so that what ends the process then is the independent reader.
REACHED = "read"
NUMBERS = (b"0", b"-1", b"1", b"255", b"65535", b"2147483647", b"4294967296", b"1e300", b"nan", b"inf", b"%s%n", b"A" * 5000, b"")
WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\xff\xff\xff\x7f", b"\x01\0\0\0")


def mutate(data: bytearray, dice: random.Random) -> bytearray:
    """Damage a file as disks, networks, careless programs and attackers do."""
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        at, kind = dice.randrange(len(data)), dice.randrange(8)
        # Most formats say what they hold in the first kilobyte.
        at = at if dice.random() < 0.4 else dice.randrange(min(len(data), 1024))
        if kind == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[at] = dice.randrange(256)
        elif kind == 2:
            word = dice.choice(WORDS)[: dice.choice((1, 2, 4))]
            data[at : at + len(word)] = word
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + dice.choice((1, 2, 16, 300))]
        elif kind == 5:
            data[at:at] = data[at : at + dice.choice((1, 4, 64))]
        elif kind == 6:
            data[at:at] = dice.randbytes(dice.choice((1, 4, 64)))
        else:
            numbers = list(re.finditer(rb"(?<=[ \x00=:])-?\d+(\.\d+)?", bytes(data[:4096])))
            if numbers:
                found = dice.choice(numbers)
                data[found.start() : found.end()] = dice.choice(NUMBERS)
    return data


def damage(path: Path, dice: random.Random) -> None:
    """Damage a file, or one file of a folder."""
    if path.is_dir():
        path = dice.choice(sorted(part for part in path.rglob("*") if part.is_file()))
    path.write_bytes(mutate(bytearray(path.read_bytes()), dice))


def open_as_user(kind: str, path: Path) -> Volume | None:
    """Read a mutant as the product does; the image, where there is one."""
    if kind == "model":
        from napari_lungseg.model import load_model

        load_model(path)
        return None
    if kind == "journal":
        workspace = Workspace(path, user="fuzz")
        for summary in workspace.cases():
            saved = workspace.load(summary.case)
            if saved is None:
                if not workspace.told:
                    raise OtherVoxelsError
            else:
                check_saved(np.asarray(saved.labels), told=bool(workspace.told or saved.damage))
        workspace.close()
        return None
    return lungseg.read(path / "ct.hdr" if kind == "pair" else path)


class OtherVoxelsError(Exception):
    """What was read was never written."""


def check_saved(labels: np.ndarray, *, told: bool) -> None:
    """Compare what a journal gives with the revisions that were written: with the last one, where no damage was told."""
    for found, written in zip(labels, small_ct()[1].array, strict=True):
        right = [np.roll(written, revision) for revision in range(0 if told else REVISIONS - 1, REVISIONS)]
        if (found.any() or not told) and not any(np.array_equal(found, one) for one in right):
            raise OtherVoxelsError


def outcome(kind: str, path: Path) -> str:
    """Read a mutant here, and judge what came of it."""
    try:
        volume = open_as_user(kind, path)
        found = None if volume is None else np.asarray(volume.array)
    except InputError:
        return "refused"
    except OtherVoxelsError:
        return "differs"
    except MemoryError:
        return "no memory"
    except BaseException as error:
        print(f"{path}: {type(error).__name__}: {error}", file=sys.__stdout__)
        return "uncaught"
    reader = reference(kind)
    if volume is None or found is None or reader is None:
        return "read, no reference"
    left_out = [part for part in path.rglob("*") if any(note.startswith(f"{part.name} was left out: ") for note in volume.notes)]
    for part in left_out:
        part.unlink()
    (path.parent / REACHED).touch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = np.asarray(reader(path))
    except BaseException:
        return "reference refuses"
    same = found.size == wanted.size and np.allclose(found.ravel(), wanted.ravel(), rtol=1e-4, atol=1e-2, equal_nan=True)
    if not same:
        return "differs"
    return "told" if left_out else "equal"


def judge(kind: str, path: Path) -> str:
    """Read a mutant in a child with limits; what the child prints beside its outcome is a fault of its own."""
    noise = path.parent / "stderr"
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_GIB << 30,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        os.dup2(os.open(noise, os.O_WRONLY | os.O_CREAT), 2)
        found = 0
        try:
            found = OUTCOMES.index(outcome(kind, path))
        finally:
            sys.stdout.flush()
            os._exit(100 + found)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and (path.parent / REACHED).exists():
        return "reference refuses"
    if os.WIFSIGNALED(status):
        return "hang" if os.WTERMSIG(status) == signal.SIGALRM else "crash"
    code = os.WEXITSTATUS(status) - 100
    found = OUTCOMES[code] if 0 <= code < len(OUTCOMES) else "crash"
    return "prints" if found == "refused" and noise.stat().st_size else found


def run(kind: str, seeds: list[Path], mutants: int, seed: int, keep: Path | None) -> Counter[str]:
    """Judge so many mutants of a format."""
    counts: Counter[str] = Counter()
    if kind in PRELOADED:
        # Once, rather than in each child.
        import_module(PRELOADED[kind])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(mutants):
            dice = random.Random(f"{kind} {seed} {number}")
            place = Path(folder) / f"{kind}_{number}"
            path = copy(dice.choice(seeds), place)
            damage(path, dice)
            found = judge(kind, path)
            counts[found] += 1
            if found not in RIGHT and keep is not None:
                # Made again, as a journal is mended when it is opened.
                dice = random.Random(f"{kind} {seed} {number}")
                shutil.rmtree(keep / found / place.name, ignore_errors=True)
                damage(copy(dice.choice(seeds), keep / found / place.name), dice)
            shutil.rmtree(place)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # What makes the files stays out of this process, which so is forked quickly.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            seeds = pool.submit(make_seeds, Path(folder)).result()
        wrong = 0
        for kind, paths in seeds.items():
            for path in paths:
                if (found := judge(kind, path)) not in RIGHT - {"refused"}:
                    print(f"A sound file is not read right: {kind} {path.name}: {found}")
                    wrong += 1
        print("| format | mutants | " + " | ".join(OUTCOMES) + " |\n" + "|---" * (len(OUTCOMES) + 2) + "|")
        for kind in arguments.formats or seeds:
            counts = run(kind, seeds[kind], arguments.mutants, arguments.seed, arguments.keep)
            wrong += sum(count for name, count in counts.items() if name not in RIGHT)
            print(f"| {kind} | {arguments.mutants} | " + " | ".join(str(counts[name]) for name in OUTCOMES) + " |", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
