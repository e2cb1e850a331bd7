"""The program: ``voxgender``, or ``python -m voxgender``. Loads the command line, and nothing before SIGINT is silent."""

import signal
import sys


def main() -> int:
    """Run a command; return its exit status.

    Loading takes some tenths of a second. A SIGINT that comes meanwhile ends the process at once by that signal, as
    SIGTERM does; Python would print where it stopped. The same holds for the end, when there is nothing left to clean up.
    """
    # Whoever starts a program may have it ignore SIGINT: that stays.
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
