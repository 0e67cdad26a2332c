"""Background jobs: work that outlasts its request, and the process that began it.

A kind of job is a stored document (`model.Job`), a repository of them, and a function that does the work, which
`service.Jobs` calls in every process:

- A job is **claimed** by one process under an attempt number, which counts up with every claim. Whatever the work
  writes is written on condition of that number: a process that was believed dead and comes back changes nothing.
- A process that dies is noticed by its lease (`app/turns/workers.py`), and its jobs are queued again. The work goes on
  from what it stored last with `Run.advance`.
- A job ends once: completed, failed or cancelled. Cancelling is a write that any process may do.
- Nothing polls: the change feed wakes who waits for a job, for its end, or for a word to stop.

From the inside out: `model`, `claims`, `repository`, `files` (what jobs read and write, in pieces, in the database),
`run` (what the work may do to its job), `watching` (what the feed tells), `endings`, `pool` (the workers of a process),
`upkeep` (what nobody else sees to), `service`.
"""
