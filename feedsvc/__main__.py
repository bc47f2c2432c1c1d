"""Run the command line: `python -m feedsvc`."""

from feedsvc.cli.main import main

main()
