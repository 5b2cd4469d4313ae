"""Who gets the next free slot of a model, when more ask than it has.

    line    the slots of one runtime and who waits for them: fair by key, in tokens
    drain   how quickly slots become free, and so how long those who wait will

Pure: time is an argument, and whoever waits is a value. What does not belong here: waiting itself (`gateway.queues`),
how many requests a key may have at all (`limits`), and waiting for a model to load (`supervisor`).
"""
