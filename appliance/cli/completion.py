"""`appliance completion SHELL`: what makes a shell complete the commands."""

import argparse

import shtab

from appliance.cli.main import build_parser


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help="print what makes a shell complete the commands",
        description="Print a script for a shell. Next: appliance completion bash > /etc/bash_completion.d/appliance, "
        "for zsh into a directory of its fpath as _appliance, for fish into ~/.config/fish/completions/appliance.fish.",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"), help="for this shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    print(shtab.complete(build_parser(), args.shell))
    return 0
