"""`python -m tests.picture LOG`: draw docs/images/lab-up.svg from the output of a first `python3 -m lab up`."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "docs/images/lab-up.svg"
_WIDTH = 112


def drawn(log: str) -> str:
    """Return a picture of the results of the deploy and of the cluster, without what comes before and after."""
    shown = "--> Results:" + log.partition("--> Results:")[2].partition("\nTry next:")[0]
    # Without this computer's folders.
    shown = re.sub(r"/\S*/\.lab/", ".lab/", shown)
    console = Console(record=True, width=_WIDTH, file=StringIO())
    for line in shown.splitlines():
        style = "bold" if line.startswith(("-->", "$ ")) else ""
        console.print(Text(line.rstrip()[:_WIDTH], style), no_wrap=True)
    picture = console.export_svg(title="python3 -m lab up", unique_id="lab-up")
    # The fonts come from another site.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


if __name__ == "__main__":
    PICTURE.write_text(drawn(Path(sys.argv[1]).read_text()))
