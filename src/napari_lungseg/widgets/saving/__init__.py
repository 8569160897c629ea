"""The workspace in the window: what is saved, and found again."""
