"""Examples in Python on the pages of the documentation."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("fastrtc", "pipecat")
"""Packages in a folder of their own, whose calls run their examples: tests/integrations."""


class Example(NamedTuple):
    page: str
    line: int
    code: str

    @property
    def framework(self) -> str | None:
        """The package of ``FRAMEWORKS`` that it imports."""
        return next((name for name in FRAMEWORKS if f"from {name}" in self.code), None)

    def as_function(self, name: str) -> str:
        """Return an asynchronous function of what the examples on all pages take as given."""
        given = (
            "track: MediaStreamTrack, chunks: AsyncIterator[bytes], path: Path, samples: NDArray[float32], "
            "reader: StreamReader, microphone: Microphone"
        )
        return f"async def {name}({given}) -> None:\n{textwrap.indent(self.code, '    ')}\n"


PREAMBLE = """
from asyncio import StreamReader
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from aiortc import MediaStreamTrack
from numpy import float32
from numpy.typing import NDArray


class Microphone(Protocol):
    on_data: Callable[[bytes], None]

"""


def examples() -> list[Example]:
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            found.append(Example(str(page.relative_to(ROOT)), line, match[1]))
    return found


def run_example_of(framework: str) -> None:
    """Run the examples that import a framework, in an interpreter that has it."""
    for example in examples():
        if example.framework == framework:
            exec(compile(example.code, example.page, "exec"), {})
