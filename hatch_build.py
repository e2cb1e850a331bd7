"""Give the package's page on PyPI the README with links that lead somewhere: there, relative ones lead nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = "https://github.com/voxgender/voxgender"
_RELATIVE = re.compile(r"(?P<image>!?)(?P<text>\[[^\]]*\])\((?!https?:|#)(?P<path>[^)]+)\)")


class Readme(MetadataHookInterface):
    """Writes the field ``readme`` of the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": _RELATIVE.sub(_absolute, text)}


def _absolute(link: re.Match[str]) -> str:
    # An image has to be the file, and a page what GitHub shows of it.
    kind = "raw" if link["image"] else "blob"
    return f"{link['image']}{link['text']}({REPOSITORY}/{kind}/main/{link['path']})"
