"""Whoever started us and watches over us: the service manager, which is systemd where there is one.

It wants to know when we answer (`Type=notify`), that we are still in our right mind (the watchdog), what we are doing
(the status line), and that a stop takes as long as the streams do. What is told to it are short datagrams to a socket
that it names in the environment; without that socket everything here is silent and costs nothing.

How a unit is written, installed or removed does not belong here (`packaging/`, `cli/install`), nor what a stop or a
reload does (`serve`).
"""
