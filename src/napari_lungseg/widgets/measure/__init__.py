"""The Measure module."""
