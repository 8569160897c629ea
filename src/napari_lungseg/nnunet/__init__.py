"""Networks of nnU-Net v2 (https://github.com/MIC-DKFZ/nnUNet, Apache-2.0), run as it runs them, by code of this package's own."""
