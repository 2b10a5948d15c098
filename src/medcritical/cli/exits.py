"""How every command ends: 0, 2 with one message for what a user can mend, 75 for a training that was told to stop and goes
on with the same command, 130 after Ctrl-C, 143 after SIGTERM or SIGUSR1."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from argparse import ArgumentParser
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from medcritical.errors import MedCriticalError


class Terminated(KeyboardInterrupt):
    """SIGTERM, as `timeout` and schedulers send it, or their warning SIGUSR1: ends a command as well as Ctrl-C does."""


class CommandParser(ArgumentParser):
    """A parser whose usage errors are one line, like every other error of a user."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help.\n")


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def end_in_good_order() -> None:
    """From now on SIGTERM and SIGUSR1 end this process as Ctrl-C does: workers are stopped, unfinished artefacts cleared."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGUSR1, _terminate)


def run_command(command: Callable[[], int]) -> int:
    """The exit status of a command; messages go to stderr, after their traceback with MEDCRITICAL_DEBUG=1."""
    end_in_good_order()
    try:
        return command()
    except MedCriticalError as error:
        if os.environ.get("MEDCRITICAL_DEBUG") == "1":
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("interrupted: nothing finished is lost; the same command goes on from here.", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
        return 0
    finally:  # nothing of ours is left to end in good order, and an exception in an exit handler is a traceback
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
