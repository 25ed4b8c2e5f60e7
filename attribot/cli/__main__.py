"""`python -m attribot.cli`: the command `attribot` where its script is not on the path."""

from attribot.cli.main import main

main()
