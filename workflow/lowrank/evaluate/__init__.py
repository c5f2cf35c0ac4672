"""A configuration's answers to a benchmark, and its score."""
