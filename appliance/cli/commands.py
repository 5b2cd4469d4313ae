"""Every command: the file that has it, and the words that the list of commands has for it.

Only the file of the command that is wanted is imported, since some of them need all of the server: a list of commands,
or a mistake in one, must not wait for that.
"""

import argparse
import importlib
from types import MappingProxyType

# name -> (file in this room, words); commands that begin with "_" are for ourselves and not listed
COMMANDS = MappingProxyType(
    {
        "serve": ("serve", "run the appliance"),
        "check": ("check", "say what is wrong with a configuration file"),
        "status": ("status", "say what every model and process does"),
        "top": ("top", "show what every model and request does, live"),
        "events": ("events", "say what has happened, and go on as it happens"),
        "load": ("orders", "start a model, also out of quarantine, and wait until it is ready"),
        "unload": ("orders", "stop a model when its requests have ended"),
        "restart": ("orders", "unload a model and load it again"),
        "drain": ("orders", "give a model no new work, and stop it when what it has is done"),
        "reload": ("orders", "put the configuration file into effect"),
        "logs": ("logs", "print the output of a model's processes"),
        "models": ("models", "list, explain, add, change, switch off and remove models"),
        "keys": ("keys", "make, list, rotate and revoke keys"),
        "usage": ("usage", "say who used what"),
        "console": ("console", "print a link that logs into the console"),
        "connect": ("connect", "say how to point a client at this server"),
        "cert": ("cert", "show and renew certificates, and say what makes clients trust them"),
        "dashboards": ("dashboards", "write the dashboards for Grafana and the rules for Prometheus"),
        "demo": ("demo", "serve a small real model on the CPU and print a request to paste"),
        "doctor": ("doctor", "say what is wrong with this machine, and what to do"),
        "install": ("install", "become a service of this machine"),
        "uninstall": ("install", "cease to be a service of this machine"),
        "upgrade": ("upgrade", "put another binary in the running server's place"),
        "reap": ("reap", "end what a server that is gone has left running"),
        "selftest": ("selftest", "check that this build works on this machine"),
        "completion": ("completion", "print what makes a shell complete the commands"),
        "version": ("version", "print the version"),
        "_engine": ("engine", ""),
        "_gpus": ("gpus", ""),
    }
)


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", wanted: str | None) -> None:
    """Add every command to a parser.

    Args:
        commands: where to.
        wanted: the command that is needed in full, the others with their names and words alone; None for all in full.
    """
    whole = {file for name, (file, _) in COMMANDS.items() if wanted in (None, name)}
    for file in dict.fromkeys(file for file, _ in COMMANDS.values() if file in whole):
        importlib.import_module(f"appliance.cli.{file}").add_parser(commands)
    for name, (file, words) in COMMANDS.items():
        if file not in whole and words:
            commands.add_parser(name, help=words)
