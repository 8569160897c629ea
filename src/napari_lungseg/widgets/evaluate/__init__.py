"""The Evaluate module."""
