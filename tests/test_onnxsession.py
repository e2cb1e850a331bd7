import os
import subprocess
import sys
from pathlib import Path


def test_the_makers_of_the_runtime_are_told_nothing(tmp_path: Path) -> None:
    """Its builds carry a telemetry client; importing it alone wrote that client's session file."""
    program = (
        "from voxgender.audio.activity import VoiceActivity; VoiceActivity(); "
        "from pathlib import Path; import sys; sys.exit(len(list(Path(sys.argv[1]).iterdir())))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", program, tmp_path], env=environment, check=False).returncode == 0
