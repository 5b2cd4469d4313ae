"""From a public name to the targets that may serve it.

    catalogue   which models exist: the config's, the runtimes' own names, what backends list
    clouds      which providers may be asked, and with whose key
    pick        which of a model's targets to try, in order, or the error that says why none
    balance     which of several replicas gets a request

Pure: the fleet snapshot is an argument. What does not belong here: waiting for a model to load, sending anything.
"""
