"""The report of a run: one self-contained HTML file. `write_report(folder)` is the door."""

from greenroom.auditing.report.page import write_report

__all__ = ["write_report"]
