"""The packages that users install, tried without the repository.

`python -m tests.processes.packaging` does it.
"""
