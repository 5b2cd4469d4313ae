"""Keys that were made while the appliance is installed and not written into its configuration: `state_dir/keys.json`.

    stored    one key as it is kept, and what making, rotating and revoking do; pure
    shown     a key as it is listed, and as a section of the configuration; pure
    file      the file: read, and changed by one process at a time
    keeper    the keys of a running server: its own changes, and those that the command line made beside it

The file holds hashes, never a key. Whoever changes it holds a lock, reads it, and replaces it whole; a server sees a
changed file within a second. A file that cannot be read never opens a server: it does not start, and one that runs goes
on with the keys that it has.

What does not belong here: whether a key opens something (`access`), and what it may use (`limits`).
"""
