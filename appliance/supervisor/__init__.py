"""The one who launches model server processes, watches them, and proves them gone.

Decided purely:

    states       the table of a replica's life
    plan         what to do now: start, stop, sleep, wake, wait; from all replicas, the GPUs and the time
    box, room    what the plan sees; where a replica can have room, and who would have to go for it
    queues       who waits for a runtime, and whose place is kept
    swaps        who made room for whom, until the one that comes is ready
    pauses       how long to wait after a failure, and when to stop trying
    verdict      why a process ended, in words, with advice and whether to try again
    liveness     whether a ready replica is alive: do tokens move while requests run?
    progress     what a loading engine says about how far it is
    readings     what a running one says about itself in numbers, whichever it is
    changes      what a new configuration means for the processes that run; `fit` says whether it fits on the GPUs
    refusals     what a request is told that waits in vain
    launch, command, llama, vllm
                 what is started, with where each part of it comes from
    explain      the same for the person who wrote the settings

Done to processes:

    environment  what a child may see of our environment, and where its program is
    spawn        the only place that starts a process
    proc         what the kernel says about processes
    process      one process held by a handle, a child or an adopted one
    tree         everything that a replica has started: found, signalled, proved empty
    cgroup       a cgroup for each replica, where this machine lets us have one
    listeners    whose TCP port it is
    tail         a child's log file, followed
    scratch      a directory for what an engine leaves lying about
    socket_paths, state_dir
                 where sockets are, who may use the state directory, and the name that tags its processes
    records, adoption, reap
                 what the next run has to know about the processes of this one: taken over, or removed
    passing, succession, handing
                 they pass to another process of ours while they work

Owned by tasks:

    orphans      children that nobody waits for
    grounds      the files that a replica in quarantine stands on
    life         one process, from its start or adoption to the proof that its tree is gone
    watching     whether it becomes ready and stays well; `questions` is what it is asked, `sleep` how vLLM sleeps
    replica      one owner task for each replica
    supervisor   all of them, behind `domain.targets.Runtime`; `views` is what the plan sees of them
    renewal      a new configuration while they run
    lending      the part of it that requests meet: a ready replica, or a place in a queue
    orders       the same for the operator, behind `domain.orders.Orders`
    following    whoever reads a replica's output as it comes

A model server holds gigabytes of GPU memory in processes that outlive their parents. Whoever starts the next one
before the last one is gone fails in ways nobody can read; that is why one room owns all of it.

What does not belong here: HTTP (a probe is handed in), routing, and what a request says.
"""
