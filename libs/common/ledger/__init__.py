"""The truth about every job, in PostgreSQL. One job's life:

    accept ──> scheduled ──due──> queued ──claim──> running ──> succeeded
                                    ^                 │ ├─────> failed
                                    └──retry/release──┘ └─────> cancelled

jobs      the states, a job as it is accepted, and reading jobs back
accept    committed before anybody is told so
dispatch  due jobs onto the conveyor; lost tickets and dead workers' jobs back to the queue
claim     a worker takes jobs, and shows that it still lives
finish    how an attempt ended, written only by the worker that still holds the job
durability  which of these wait for the disk
tables    the rows

`attempt` and `worker` are the fencing token: a claim raises the one and sets the other, and every later write
of that worker names both.
`failures` counts retries used. A release by shutdown or crash raises only the first.
Every statement is safe to repeat after a lost answer.

Accepting and finishing wait for the disk. The steps between do not (LAZILY): should PostgreSQL crash and
forget a claim, the job is back in its queue, and the fence refuses the worker that still runs it.
"""
