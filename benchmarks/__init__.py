"""Benchmarks: each measures its subject and a probe in the same run and holds their ratio.

A module here with a function `run() -> list[Figure]` is a benchmark; its name is the module's.
`python -m benchmarks` lists them, `python -m benchmarks NAME --json` runs one.
"""
