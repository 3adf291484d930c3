"""Executes the code cells of notebooks in order, in this process, and writes into them what they print and draw.

`python scripts/notebook.py docs/notebooks/backfill.ipynb`. No Jupyter is needed for that, as cells are plain Python;
figures are matplotlib's.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with the outputs of its cells."""
    import matplotlib as mpl

    mpl.use("Agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    cells: list[dict[str, Any]] = []
    for count, cell in enumerate(notebook["cells"], 1):
        outputs = {} if cell["cell_type"] != "code" else {"execution_count": count, "outputs": _outputs(cell, names)}
        cells.append(cell | outputs)
    return notebook | {"cells": cells}


def printed(notebook: dict[str, Any]) -> list[str]:
    """What the cells printed."""
    found = (output for cell in notebook["cells"] for output in cell.get("outputs", []))
    return ["".join(output["text"]) for output in found if output["output_type"] == "stream"]


def _outputs(cell: dict[str, Any], names: dict[str, Any]) -> list[dict[str, Any]]:
    import matplotlib.pyplot as plt

    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    outputs: list[dict[str, Any]] = []
    if text := said.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    for number in plt.get_fignums():
        drawn = io.BytesIO()
        plt.figure(number).savefig(drawn, format="png", dpi=80, metadata={"Software": None})
        picture = base64.b64encode(drawn.getvalue()).decode()
        outputs.append({"output_type": "display_data", "data": {"image/png": picture}, "metadata": {}})
    plt.close("all")
    return outputs


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(json.dumps(executed(json.loads(path.read_text())), indent=1, ensure_ascii=False) + "\n")
