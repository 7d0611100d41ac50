"""`python -m hub` is `bellhub`."""

from hub.cli import main

main()
