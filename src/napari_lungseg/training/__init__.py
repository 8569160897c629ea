"""Teaching a model: data set, augmentation, losses, the fit loop."""
