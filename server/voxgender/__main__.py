"""The program: ``voxgender``, or ``python -m voxgender``."""

import signal
import sys


def main() -> int:
    """Run a command; return its exit status.

    Loading takes some tenths of a second. A SIGINT that comes meanwhile ends the process at once, by that signal, as
    SIGTERM does: Python would print a traceback. So does one at the end, when nothing is left to clean up.
    """
    # A program may have been started with SIGINT ignored, and leaves it so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from voxgender import cli

    try:
        return cli.main()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
