"""The `llmasos` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import os
import sys

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; an error is one line on stderr and exit code 1 (2 for usage)."""
    from llmasos.errors import LLMasOSError
    from llmasos.files.disk import is_of_the_disk
    from llmasos.usage_reports import turn_off_usage_reports

    from llmasos_app.cli.app import app, print_error

    turn_off_usage_reports()
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # as where it is closed
                sys.stdout.flush()  # here, where a disk that is full can be said
    except LLMasOSError as error:
        print_error(str(error))
        sys.exit(EXIT_FAILED)
    except MemoryError:
        print_error("there is not enough memory")
        sys.exit(EXIT_FAILED)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            if not is_of_the_disk(error):
                raise
            print_error(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left of the output is lost
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
