"""`make docs`: writes the table of studies, made from their registry, into studies.md."""

from __future__ import annotations

from pathlib import Path

from greenroom.auditing.suite import study_table
from greenroom.store import write_text

PAGE = Path(__file__).with_name("studies.md")
BEGIN, END = "<!-- studies: made by `make docs` -->", "<!-- /studies -->"


def main() -> None:
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n{study_table()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
