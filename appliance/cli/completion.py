"""`appliance completion SHELL`: what makes a shell complete the commands."""

import argparse

import shtab


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", whole: argparse.ArgumentParser) -> None:
    """Add the command; `whole` is the parser to complete."""
    parser = commands.add_parser(
        "completion",
        help="print what makes a shell complete the commands",
        description="Print a script for a shell. Next: appliance completion bash > /etc/bash_completion.d/appliance, "
        "or for zsh into a directory of its fpath as _appliance.",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="for this shell")
    parser.set_defaults(run=run, whole=whole)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(shtab.complete(args.whole, args.shell))
    return 0
