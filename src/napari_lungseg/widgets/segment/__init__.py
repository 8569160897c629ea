"""The Segment module: from an image to its mask."""
