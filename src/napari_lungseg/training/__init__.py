"""Train models: data, augmentation, losses, the fit loop, the verdict."""
