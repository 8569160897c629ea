"""Models for other programs: ONNX, OpenVINO, TorchScript, BioImage.IO and Triton, each from HU to probabilities."""
