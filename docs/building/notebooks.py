"""Runs the notebooks again and writes their outputs: `python docs/building/notebooks.py`."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

DOCS = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
TIMEOUT_SECONDS = 600
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in a copy of `docs/`; what would churn is left out.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, DOCS.name)
        shutil.copytree(DOCS, copy)
        # A kernel that none but this process can reach, and that leaves nothing behind.
        connection = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        environment = {
            "HF_HUB_OFFLINE": "1",
            "IPYTHONDIR": folder,
            "PYTHONWARNINGS": "ignore:IProgress not found",
        }
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT_SECONDS,
            record_timing=False,
            config=Config(ConnectionFileMixin=connection),
            resources={"metadata": {"path": str(copy / "notebooks")}},
        )
        client.execute(env={**os.environ, **environment})
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


def main() -> None:
    for path in NOTEBOOKS:
        nbformat.write(executed(path), path)
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
