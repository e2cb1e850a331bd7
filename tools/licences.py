#!/usr/bin/env python3
"""List the licences of all that an installation or an image brings, in docs/licences.md.

usage: .venv/bin/python tools/licences.py [--check]

Packages are those of the locks, by the metadata of what is installed here; libraries for graphics processors come with
torch from the default index, and are listed by name. --check writes nothing, and ends with status 1 where the page is
not current.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tools import locks
from tools.constraints import PROJECT

PAGE = PROJECT / "docs" / "licences.md"
_HEAD = """# Licences

Written by `tools/licences.py`; versions are those of the locks in `locks/`. voxgender itself is Apache-2.0, the speech
gate's network MIT; both texts are in the package. The page and the browser client hold no code of others.

"""


class Part(NamedTuple):
    """A package or file that is shipped."""

    name: str
    version: str
    licence: str
    image: str
    """The smallest lock that has it."""


OWN = (
    Part("voxgender, with its embedded model", "", "Apache-2.0", "all"),
    Part("Silero VAD, the speech gate's network", "", "MIT", "media"),
)
_FROM_TEXT = {
    "apache license 2.0": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache-2.0 license": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "new bsd license": "BSD-3-Clause",
    "3-clause bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "the mit license (mit)": "MIT",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "apache license, version 2.0": "Apache-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
_NATIVE = {
    "av": (
        "Its wheel brings FFmpeg (LGPL-3.0-or-later, as built there), x264 and x265 (GPL-2.0-or-later), LAME, GnuTLS, "
        "GMP and Nettle (LGPL), libopus, libvpx, libwebp and dav1d (BSD), SVT-AV1 (BSD), opencore-amr (Apache-2.0). "
        "voxgender decodes audio alone, and encodes no video; who ships an image ships these files all the same."
    ),
    "pylibsrtp": "Its wheel brings libsrtp (BSD-3-Clause) and OpenSSL (Apache-2.0).",
    "cryptography": "Its wheel brings OpenSSL (Apache-2.0).",
    "numpy": "Its wheel brings OpenBLAS (BSD-3-Clause) and libgfortran (GPL-3.0 with the GCC runtime exception).",
    "onnxruntime": "Its wheel lists what it brings in `ThirdPartyNotices.txt`.",
}


def parts() -> list[Part]:
    """Return every part, in the order of the page."""
    found = []
    seen: set[str] = set()
    for image in locks.EXTRAS:
        for name, version in sorted(locks.locked(image).items()):
            if name not in seen:
                seen.add(name)
                found.append(Part(name, version, _licence(name), image))
    return [*OWN, *found]


def page() -> str:
    """Write the page."""
    lines = ["| part | version | licence | from the image |", "| --- | --- | --- | --- |"]
    lines += [f"| {part.name} | {part.version} | {part.licence} | {part.image} |" for part in parts()]
    notes = [f"- **{name}.** {text}" for name, text in _NATIVE.items()]
    return _HEAD + "\n".join(lines) + "\n\n## What wheels bring along\n\n" + "\n".join(notes) + "\n"


def _licence(name: str) -> str:
    # The index decides whether torch brings these; they need not be here.
    if name.startswith(("nvidia-", "cuda-")):
        return "NVIDIA's own"
    if name == "triton":
        return "MIT"
    try:
        return _told(distribution(name))
    except PackageNotFoundError:
        return ""


def _told(package: Distribution) -> str:
    metadata = package.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classifiers = [line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line]
    text = metadata["License"].strip() if "License" in metadata else ""
    told = text if text and "\n" not in text and len(text) < 60 else ""
    plain = [_FROM_TEXT.get(word.lower(), word) for word in ([told] if told else classifiers) if word != "OSI Approved"]
    return re.sub(r"\s+", " ", " AND ".join(dict.fromkeys(plain)))


def main(arguments: list[str]) -> None:
    if arguments not in ([], ["--check"]):
        raise SystemExit("usage: tools/licences.py [--check]")
    if not arguments:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        raise SystemExit("docs/licences.md is not current: run tools/licences.py")


if __name__ == "__main__":
    main(sys.argv[1:])
