"""Runs docs/notebook.ipynb in a folder of its own and keeps its outputs: `make notebook`, three minutes on two cores."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parent
NOTEBOOK = DOCS / "notebook.ipynb"
LONGEST = 20_000  # characters that one cell may leave


def main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(DOCS / "sample_chat.json", folder)
        # What earlier runs left in the user's own cache would stand in the audit.
        os.environ["GREENROOM_CACHE"] = f"{folder}/cache"
        here = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=here, coalesce_streams=True).execute()
        notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        for cell in notebook.cells:
            cell.metadata = {}
            if cell.cell_type == "code":
                # Progress and warnings of libraries go to stderr, Inspect's to widgets.
                kept = [
                    one for one in cell.outputs if one.get("name") != "stderr" and one.output_type != "display_data"
                ]
                cell.outputs = kept
                check(str(cell.outputs), folder)
    nbformat.write(notebook, NOTEBOOK)


def check(output: str, folder: str) -> None:
    """What is kept must be small, and must not name this machine's folders."""
    named = [str(path) for path in (folder, DOCS.resolve().parent, Path.home()) if f"{path}/" in output]
    if named:
        sys.exit(f"not kept: an output names the folder {named[0]}")
    if len(output) > LONGEST:
        sys.exit(f"not kept: an output of {len(output)} characters; {LONGEST} are allowed")


if __name__ == "__main__":
    main()
