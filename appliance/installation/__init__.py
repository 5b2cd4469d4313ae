"""Becoming a service of this machine, and ceasing to be one: `appliance install` and `appliance uninstall`.

    found         what is here already: GPUs, engines, model files, groups, a service manager
    first_config  a first configuration from that                                  pure
    steps         what has to be so on the machine, and what to do about each       pure
    carrying_out  does them, or says what it would do; whatever is so already is left alone

What a Debian package does with the same unit, user and directories does not belong here (`packaging/`), nor does
looking for what is wrong with a machine.
"""
