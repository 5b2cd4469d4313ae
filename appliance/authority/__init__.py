"""Our own certificate authority, for a LAN that has none: `server.tls = "internal"`.

    subject      the names and addresses that we answer to, and what an authority for them may sign; pure
    interfaces   the addresses of this machine's interfaces
    issue        certificates, made and read
    issuer       the files in `state_dir/tls`: the authority is made once, the server's certificate anew when it is due

The authority can vouch for this server's names and networks and for nothing else, so that a client that trusts it gives
nobody power over the rest of the world. It is never exchanged by itself: that would lock out every client at once.
Showing certificates to clients does not belong here (`door.certificates` reads these files as it reads anybody's), and
neither does telling people how to trust one (`cli.cert`).
"""
