"""The `llmasos` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import sys

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; an error is one line on stderr and exit code 1 (2 for usage)."""
    from llmasos.cli.app import app, print_error
    from llmasos.errors import LLMasOSError
    from llmasos.usage_reports import turn_off_usage_reports

    turn_off_usage_reports()
    try:
        app()
    except LLMasOSError as error:
        print_error(str(error))
        sys.exit(EXIT_FAILED)
    except MemoryError:
        print_error("there is not enough memory")
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
