"""The Correct module: brush, tools, and what was changed."""
