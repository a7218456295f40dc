"""The command line: `millstream`, or `python -m millstream`."""

import signal
import sys

from millstream._millstream import cli_main


def main() -> None:
    """Runs the command line and ends the process with its status."""
    # The commands run outside of the interpreter, which would only look for Ctrl-C after they returned, and would turn
    # a closed pipe into a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(cli_main(sys.argv[1:]))


if __name__ == "__main__":
    main()
