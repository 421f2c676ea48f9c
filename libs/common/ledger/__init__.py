"""The truth about every job, in PostgreSQL. One job's life:

    accept ──> scheduled ──due──> queued ──claim──> running ──> succeeded
                                    ^                 │ ├─────> failed
                                    ├──retry/release──┤ └─────> cancelled
                                    └──── waiting <───┘   (for its children)

jobs        the states, a job as it is accepted, and reading jobs back
accept      committed before anybody is told so; the same request, or the same unique_for, is one job
dispatch    due jobs, lost tickets and dead workers' jobs back to the queue
picking     which waiting jobs come next: fair to tenants, by rank, within the caps
claim       a worker takes jobs, and shows that it still lives
finish      how an attempt ended, written only by the worker that still holds the job
job_actions cancel and retry, by hand
flows       a job whose children do its work, and which waits for them
replays     bulk retries, at a rate and behind a fuse
schedules   recurring jobs
queues      pause, caps, and how each queue stands
queue_position  where one job stands, and so why it does not run
accounting  accepted less ended must be what there is
retention   old jobs removed, and the files that nobody needs any more
durability  which of these wait for the disk
tables      the rows

`attempt` and `worker` are the fencing token: a claim raises the one and sets the other, and every later write
of that worker names both.
`failures` counts retries used. A release by shutdown or crash raises only the first.
Every statement is safe to repeat after a lost answer.

Accepting and finishing wait for the disk. The steps between do not (LAZILY): should PostgreSQL crash and
forget a claim, the job is back in its queue, and the fence refuses the worker that still runs it.
"""
