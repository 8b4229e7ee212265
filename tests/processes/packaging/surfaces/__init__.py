"""A script for each extra, run where that extra alone is installed; `library` has none."""
