"""From a TOML file to values that are known to be good: parse, check, build.

    schema    every setting with its default, unit and one line of meaning; the only place where a default lives
    units     "30s", "18GiB"
    locate    where in the file a setting stands, for error messages
    load      text -> raw tables -> schema; collects *all* problems, suggests the key you meant
    check     rules that need more than one setting, and settings whose feature is not in this version
    owned     what of an engine's command line is the appliance's own
    pem       the certificate and key files of `server.tls`
    secrets   credentials from the environment and from files

A constructor elsewhere takes its own section, never the whole Config. What does not belong here: anything that a
setting *does*.
"""
