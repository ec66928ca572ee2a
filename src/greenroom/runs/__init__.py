"""Runs on disk: a folder of results written stage by stage (`run`), its tables, its progress, its machine.

Import from the modules themselves; this door stays empty, so that `greenroom --version` and `--help` load no tables.
"""
