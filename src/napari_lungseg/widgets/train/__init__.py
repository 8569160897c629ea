"""The Train module: from corrected slices to a better model."""
