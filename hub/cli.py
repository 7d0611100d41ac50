"""The command line: `bellhub serve`, and everything that is done to a store without HTTP.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 the store cannot be had. Answers go to stdout, as JSON with `--json`;
everything else goes to stderr. The commands use the rules and scripts of the other doors.
"""

import logging

from hub.commands import notifications, notiflows, projects, serving, users
from hub.commands.base import bellhub

__all__ = ["bellhub", "main", "notifications", "notiflows", "projects", "serving", "users"]


def main() -> None:
    logging.basicConfig(level=logging.CRITICAL)  # `serve` sets its own; elsewhere an error is the sentence it ends with
    bellhub()
