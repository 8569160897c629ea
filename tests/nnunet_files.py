"""Exports as nnU-Net v2 writes them, with weights by chance but always the same: real ones may not be shipped."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_lungseg.architecture import NnunetConfig
from napari_lungseg.nnunet.network import weight_shapes

#: Named cases of the parity tests: axes, network, spacing (z, y, x of the plans), patch, mirrored axes, folds.
CASES: dict[str, dict[str, Any]] = {
    "2-D": {"axes": 2, "spacing": [2.0, 2.0], "patch": [64, 48]},
    "2-D residual, mirrored": {"axes": 2, "spacing": [2.0, 2.0], "patch": [64, 48], "kind": "ResidualEncoderUNet", "mirror": (0, 1)},
    "3-D isotropic, mirrored": {"axes": 3, "spacing": [4.0, 4.0, 4.0], "patch": [32, 32, 32], "mirror": (0, 1, 2)},
    "3-D anisotropic, two folds": {"axes": 3, "spacing": [8.0, 2.5, 2.5], "patch": [8, 48, 48], "flat": True, "folds": 2},
    "3-D residual, old plans": {"axes": 3, "spacing": [4.0, 3.0, 3.0], "patch": [16, 32, 32], "kind": "ResidualEncoderUNet", "old": True},
}
#: Part of the sample CT.
LOOKED_AT = (slice(10, 16), slice(60, 190), slice(40, 200))
LABELS = {"background": 0, "right": 1, "left": 2}


def configuration(
    axes: int, spacing: list[float], patch: list[int], *, kind: str = "PlainConvUNet", flat: bool = False, old: bool = False, **_: Any
) -> dict[str, Any]:
    """One configuration of plans.json; a network of three levels, of 8 features each as a beginning."""
    kernel, stride = [3] * axes, [2] * axes
    kernels, strides = [kernel] * 3, [[1] * axes, stride, stride]
    if flat:
        kernels, strides = [[1, 3, 3], kernel, kernel], [[1] * 3, [1, 2, 2], stride]
    resampling = {"order_z": 0, "force_separate_z": None}
    about: dict[str, Any] = {
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": patch,
        "spacing": spacing,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, **resampling},
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, **resampling},
        "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, **resampling},
    }
    blocks = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    if old:
        return about | {
            "UNet_class_name": kind,
            "UNet_base_num_features": 8,
            "unet_max_num_features": 20,
            "n_conv_per_stage_encoder": [1, 2, 1],
            "n_conv_per_stage_decoder": [1, 2],
            "num_pool_per_axis": [2] * axes,
            "conv_kernel_sizes": kernels,
            "pool_op_kernel_sizes": strides,
        }
    package = "dynamic_network_architectures.architectures"
    told = {
        "n_stages": 3,
        "features_per_stage": [8, 16, 20],
        "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": kernels,
        "strides": strides,
        blocks: [1, 2, 1],
        "n_conv_per_stage_decoder": [1, 2],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    name = f"{package}.unet.PlainConvUNet" if kind == "PlainConvUNet" else f"{package}.residual_unet.ResidualEncoderUNet"
    arguments = ["conv_op", "norm_op", "dropout_op", "nonlin"]
    return about | {"architecture": {"network_class_name": name, "arch_kwargs": told, "_kw_requires_import": arguments}}


def write_export(folder: Path, case: str, *, transpose: tuple[int, int, int] = (0, 1, 2), reader: str = "SimpleITKIO") -> Path:
    """A folder as nnU-Net's training leaves it."""
    about = CASES[case]
    own = configuration(**about)
    name = f"{about['axes']}d" if about["axes"] == 2 else "3d_fullres"
    numbers = {"mean": -600.0, "std": 300.0, "percentile_00_5": -1000.0, "percentile_99_5": 300.0, "min": -1024.0, "max": 3000.0}
    plans = {
        "dataset_name": "Dataset777_Chest",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)],
        "configurations": {name: own},
        "foreground_intensity_properties_per_channel": {"0": numbers},
        "label_manager": "LabelManager",
    }
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    dataset = {"channel_names": {"0": "CT"}, "labels": LABELS, "file_ending": ".nii.gz", "numTraining": 1}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold in range(about.get("folds", 1)):
        (folder / f"fold_{fold}").mkdir()
        mirror = about.get("mirror")
        torch.save(
            {
                "network_weights": _state(own, fold),
                "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
                "grad_scaler_state": None,
                "logging": {"mean_fg_dice": [np.float64(0.5)], "ema_fg_dice": [np.float64(0.5)]},
                "_best_ema": np.float64(0.5),
                "current_epoch": 1,
                "init_args": {"configuration": name, "fold": fold, "plans": plans, "dataset_json": dataset},
                "trainer_name": "nnUNetTrainer" if mirror else "nnUNetTrainerNoMirroring",
                "inference_allowed_mirroring_axes": mirror,
            },
            folder / f"fold_{fold}" / "checkpoint_final.pth",
        )
    return folder


def _state(own: dict[str, Any], fold: int) -> OrderedDict[str, torch.Tensor]:
    """All weights, those that nnU-Net stores several times included."""
    from napari_lungseg.foreign.nnunet import _network

    config = NnunetConfig(len(LABELS) - 1, patch=tuple(own["patch_size"]), spacing=tuple(own["spacing"]), **_network(own, None))
    random = np.random.RandomState(fold)
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, shape in weight_shapes(config).items():
        fan = max(1, int(np.prod(shape[1:])))
        values = (
            random.normal(0, (2 / fan) ** 0.5, shape)
            if len(shape) > 1
            else random.normal(1.0 if ".norm.weight" in name else 0.0, 0.2, shape)
        )
        tensor = torch.from_numpy(values.astype(np.float32))
        for prefix in ("", "decoder.") if name.startswith("encoder.") else ("",):
            state[prefix + name] = tensor
            for part, place in ((".conv.", 0), (".norm.", 1)):
                if part in name:
                    state[prefix + name.replace(part, f".all_modules.{place}.")] = tensor
    return state
