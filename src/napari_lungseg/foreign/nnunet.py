"""Exports of nnU-Net v2: plans.json, dataset.json and fold_*/checkpoint_final.pth, in a folder or a ZIP file. Nothing in them is run."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import safetensors.numpy

from napari_lungseg.architecture import NnunetConfig
from napari_lungseg.card import Card, check_name
from napari_lungseg.errors import InputError
from napari_lungseg.files import read_whole
from napari_lungseg.foreign.torch_file import load_tensors, names_in
from napari_lungseg.preprocess import Preprocessing
from napari_lungseg.weights import check_finite

PLANS, DATASET, CHECKPOINT = "plans.json", "dataset.json", "checkpoint_final.pth"
#: No file of an export is larger.
MOST_BYTES, MOST_JSON_BYTES = 1 << 31, 1 << 24

#: Parts that a trainer's name may have; others may have another network.
_TRAINER = re.compile(r"nnUNetTrainer(_?(NoMirroring|onlyMirror01|DASegOrd0|DA5|probabilisticOversampling|\d+epochs?))*")
_NETWORKS = {"PlainConvUNet": False, "ResidualEncoderUNet": True}
_NORMALISATIONS: dict[str, Literal["ct", "zscore", "none"]] = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
}
#: Readers, and whether they turn the image into the order RAS.
_READERS = {"SimpleITKIO": False, "NibabelIO": False, "NibabelIOWithReorient": True}
_RESAMPLING = "resample_data_or_seg_to_shape"
#: What a network may be told besides; others change it.
_ARGUMENTS = {
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"),
    *("n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs", "dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs"),
    "deep_supervision",
}
#: The same weights under other names.
_COPY = re.compile(r"decoder\.encoder\.|.*\.all_modules\.")
_LICENCE = "Not known; ask who trained it. Cite nnU-Net: F. Isensee et al. 2021, doi 10.1038/s41592-020-01008-z."


class _Export:
    """The files of an export by their names below the folder with the plans."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, Callable[[int], bytes]] = {}
        if path.is_dir():
            folders = [path] if (path / PLANS).is_file() else sorted(found.parent for found in path.glob(f"*/{PLANS}"))
            self._only(folders)
            for file in (folders[0] / PLANS, folders[0] / DATASET, *folders[0].glob(f"fold_*/{CHECKPOINT}")):
                self._files[file.relative_to(folders[0]).as_posix()] = lambda most, file=file: read_whole(file, most)  # type: ignore[misc]
            return
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
        inside = [name.parent for name in names if name.name == PLANS]
        self._only(inside)
        for name in names:
            if name.is_relative_to(inside[0]):
                self._files[str(name.relative_to(inside[0]))] = lambda most, name=name: self._unpacked(str(name), most)  # type: ignore[misc]

    def _only(self, folders: list[Any]) -> None:
        if len(folders) != 1:
            names = ", ".join(folder.name for folder in folders[:5])
            raise self.refusal(f"it has {len(folders)} {PLANS}" + (f" (in {names}); give the folder of one" if folders else ""))

    def _unpacked(self, name: str, most: int) -> bytes:
        with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise self.refusal(f"{name} has more than {most} bytes")
        return data

    @property
    def folds(self) -> list[str]:
        return sorted(name for name in self._files if PurePosixPath(name).match(f"fold_*/{CHECKPOINT}"))

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        if name not in self._files:
            raise self.refusal(f"it has no {name}")
        return self._files[name](most)

    def json(self, name: str) -> dict[str, Any]:
        found = json.loads(self.read(name, MOST_JSON_BYTES))
        if not isinstance(found, dict):
            raise self.refusal(f"{name} is no object")
        return found

    def refusal(self, why: str) -> InputError:
        return InputError(f"{self.path} cannot be imported from nnU-Net: {why}.")


def is_export(path: Path) -> bool:
    """Whether a folder or ZIP file holds plans of nnU-Net."""
    if path.is_dir():
        return (path / PLANS).is_file() or any(path.glob(f"*/{PLANS}"))
    return any(PurePosixPath(name).name == PLANS for name in names_in(path))


def read_nnunet(path: Path, name: str | None) -> tuple[bytes, Card]:
    """Read an export, all of its folds.

    Parameters
    ----------
    path : Path
        Its folder (``Trainer__Plans__configuration``, or the one above it), or the ZIP file of ``nnUNetv2_export_model_to_zip``.
    name : str, optional
        Of the model; by default that of the data set.

    Raises
    ------
    InputError
        When it cannot be read, or holds what cannot be run exactly as nnU-Net does.
    """
    try:
        return _read(_Export(path), name)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise InputError(f"{path} is damaged ({error}); export it again.") from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} does not say what exports of nnU-Net v2 say ({type(error).__name__}: {error}).") from error


def _read(export: _Export, name: str | None) -> tuple[bytes, Card]:
    plans, dataset = export.json(PLANS), export.json(DATASET)
    if not export.folds:
        raise export.refusal(f"it has no fold_*/{CHECKPOINT}")
    stored, sources, config, window, labels = {}, {}, None, None, {}
    for place, file in enumerate(export.folds):
        data = export.read(file)
        sources[file] = hashlib.sha256(data).hexdigest()
        checkpoint = load_tensors(data, export.path / file)
        if config is None:
            labels = _labels(dataset, export)
            config, window = _config(plans, dataset, checkpoint, len(labels), len(export.folds), export)
        weights = _weights(checkpoint["network_weights"], config, export)
        stored.update({f"{place}.{part}": array for part, array in weights.items()})
    assert config is not None
    assert window is not None
    name = name or re.sub(r"[^A-Za-z0-9._-]", "-", str(plans["dataset_name"]))[:64]
    check_name(name)
    names = tuple(labels.values())
    card = Card(
        name=name,
        description=f"nnU-Net {plans['dataset_name']}, {len(config.patch)}-D, {config.folds} fold{'s' * (config.folds > 1)}: "
        f"{', '.join(names)}. For research.",
        architecture=config,
        preprocessing=Preprocessing(float(np.mean(config.spacing[-2:])), window),
        classes=names,
        labels=tuple(labels),
        sides=False,
        training={"imported_from": export.path.name, "source_sha256": sources},
        licence=str(dataset.get("licence") or dataset.get("license") or _LICENCE),
    )
    return safetensors.numpy.save(stored), card


def _labels(dataset: dict[str, Any], export: _Export) -> dict[int, str]:
    if len(dataset["channel_names"]) != 1:
        raise export.refusal(f"it reads {len(dataset['channel_names'])} channels, where one can be used")
    if dataset.get("regions_class_order") is not None or any(isinstance(value, list) for value in dataset["labels"].values()):
        raise export.refusal("it finds regions that overlap, which have no place in a mask with one label for each voxel")
    found = {int(value): str(label) for label, value in dataset["labels"].items() if label not in ("background", "ignore")}
    if sorted(found) != list(range(1, len(found) + 1)) or not found:
        raise export.refusal(f"its labels are {sorted(found)}, not 1, 2, 3 and so on")
    return dict(sorted(found.items()))


def _config(
    plans: dict[str, Any], dataset: dict[str, Any], checkpoint: dict[str, Any], classes: int, folds: int, export: _Export
) -> tuple[NnunetConfig, tuple[float, float]]:
    trainer, chosen = str(checkpoint["trainer_name"]), str(checkpoint["init_args"]["configuration"])
    if not _TRAINER.fullmatch(trainer):
        raise export.refusal(f"its trainer {trainer} is not known here, and may have another network")
    about = _inherited(plans["configurations"], chosen, export)
    reader = str(dataset.get("overwrite_image_reader_writer") or plans["image_reader_writer"])
    known = {
        f"the reader {reader}": reader in _READERS,
        f"the preprocessor {about['preprocessor_name']}": about["preprocessor_name"] == "DefaultPreprocessor",
        "a cascade": not about.get("previous_stage"),
        "a mask for the normalisation": not any(about["use_mask_for_norm"]) or about["normalization_schemes"] == ["CTNormalization"],
        f"the normalisation {about['normalization_schemes']}": about["normalization_schemes"][0] in _NORMALISATIONS,
        "its resampling": {about[f"resampling_fn_{what}"] for what in ("data", "probabilities")} == {_RESAMPLING},
    }
    if wrong := [what for what, is_known in known.items() if not is_known]:
        raise export.refusal(f"it wants {wrong[0]}, which cannot be done here")
    network = _network(about, export)
    first, second, third = map(int, plans["transpose_forward"])
    data, logits = (about[f"resampling_fn_{what}_kwargs"] for what in ("data", "probabilities"))
    normalisation = _NORMALISATIONS[about["normalization_schemes"][0]]
    numbers = plans["foreground_intensity_properties_per_channel"]["0"]
    config = NnunetConfig(
        classes=classes,
        patch=tuple(map(int, about["patch_size"])),
        spacing=tuple(map(float, about["spacing"])),
        transpose=(first, second, third),
        normalisation=normalisation,
        mean=float(numbers["mean"]),
        deviation=float(numbers["std"]),
        data_orders=(int(data["order"]), int(data["order_z"])),
        logit_orders=(int(logits["order"]), int(logits["order_z"])),
        separate_z=data["force_separate_z"],
        separate_z_logits=logits["force_separate_z"],
        mirror=tuple(sorted(map(int, checkpoint.get("inference_allowed_mirroring_axes") or ()))),
        upright=_READERS[reader],
        folds=folds,
        **network,
    )
    window = (float(numbers["percentile_00_5"]), float(numbers["percentile_99_5"])) if normalisation == "ct" else (-1024.0, 600.0)
    return config, window


def _inherited(configurations: dict[str, Any], name: str, export: _Export, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    if name in seen:
        raise export.refusal("its configurations inherit from each other")
    own = configurations[name]
    parent = own.get("inherits_from")
    return {**(_inherited(configurations, parent, export, (*seen, name)) if parent else {}), **own}


def _network(about: dict[str, Any], export: _Export) -> dict[str, Any]:
    """What the plans say of the network, in their layout of today or of before."""
    axes = len(about["patch_size"])
    if "architecture" in about:
        kind, told = str(about["architecture"]["network_class_name"]).rpartition(".")[2], dict(about["architecture"]["arch_kwargs"])
    else:
        kind, count, first = str(about["UNet_class_name"]), len(about["n_conv_per_stage_encoder"]), about["UNet_base_num_features"]
        told = {
            "features_per_stage": [min(first * 2**level, about["unet_max_num_features"]) for level in range(count)],
            "kernel_sizes": about["conv_kernel_sizes"],
            "strides": about["pool_op_kernel_sizes"],
            "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage": about["n_conv_per_stage_encoder"],
            "n_conv_per_stage_decoder": about["n_conv_per_stage_decoder"],
            "conv_bias": True,
        }
    if kind not in _NETWORKS:
        raise export.refusal(f"its network {kind} is not known here; {' and '.join(_NETWORKS)} are")
    norm, relu = told.get("norm_op_kwargs") or {}, told.get("nonlin_kwargs") or {}
    layers = {
        "conv_op": (f"Conv{axes}d",),
        "norm_op": (f"InstanceNorm{axes}d",),
        "nonlin": ("LeakyReLU",),
        "dropout_op": ("None",),
    }
    strange = [
        *(told.keys() - _ARGUMENTS),
        *(f"{part} {told[part]}" for part, allowed in layers.items() if part in told and str(told[part]).rpartition(".")[2] not in allowed),
        *([] if norm.get("affine", True) and set(norm) <= {"eps", "affine"} else ["norm_op_kwargs"]),
        *([] if set(relu) <= {"inplace", "negative_slope"} else ["nonlin_kwargs"]),
    ]
    if strange:
        raise export.refusal(f"its network has {strange[0]}, which is not known here")
    count = len(told["features_per_stage"])

    def each(value: Any) -> tuple[tuple[int, ...], ...]:
        rows = value if isinstance(value, list) else [value] * count
        return tuple(tuple(row) if isinstance(row, list) else (int(row),) * axes for row in rows)

    def counts(value: Any, length: int) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, list) else (int(value),) * length

    blocks = told["n_blocks_per_stage" if _NETWORKS[kind] else "n_conv_per_stage"]
    return {
        "residual": _NETWORKS[kind],
        "features": tuple(told["features_per_stage"]),
        "kernels": each(told["kernel_sizes"]),
        "strides": each(told["strides"]),
        "encoder": counts(blocks, count),
        "decoder": counts(told["n_conv_per_stage_decoder"], count - 1),
        "bias": bool(told["conv_bias"]),
        "epsilon": float(norm.get("eps", 1e-5)),
        "slope": float(relu.get("negative_slope", 0.01)),
    }


def _weights(tensors: Any, config: NnunetConfig, export: _Export) -> dict[str, np.ndarray]:
    """The weights of one fold, once all names and shapes are those of the network."""
    # With torch, which other models do not need.
    from napari_lungseg.nnunet.network import weight_shapes

    wanted = weight_shapes(config)
    given = {str(name).removeprefix("module.").removeprefix("_orig_mod."): tensor for name, tensor in tensors.items()}
    own = {name: tensor for name, tensor in given.items() if not _COPY.match(name)}
    wrong = sorted(name for name in wanted.keys() | own.keys() if name not in own or wanted.get(name) != tuple(own[name].shape))
    if wrong:
        raise export.refusal(f"its weights do not fit its plans ({wrong[0]})")
    for name, tensor in given.items():
        if not tensor.is_floating_point() or tensor.is_sparse:
            raise export.refusal(f"{name} is of the type {tensor.dtype}")
    weights = {name: np.ascontiguousarray(own[name].detach().float().numpy()) for name in wanted}
    check_finite(weights, str(export.path))
    return weights
