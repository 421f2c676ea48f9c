"""The ledger: the record of every job, in PostgreSQL. The states of a job:

    accept ──> scheduled ──due──> queued ──claim──> running ──> succeeded
                                    ^                 │ ├─────> failed
                                    ├──retry/release──┤ └─────> cancelled
                                    └──── waiting <───┘   (for its children)

jobs               the states, a job as it is accepted, and reading jobs back
accept             commits new jobs; a repeated request, or the same unique_for, gives the same job
requeueing         puts due jobs, lost tickets and the jobs of dead workers back into the queue
picking            which waiting jobs are next: fair to tenants, by rank, within the caps
sharing            slots shared among tenants while there are too few; which jobs give way
claim              a worker claims jobs and sends heartbeats
finish             the outcome of an attempt, written only by the worker that still holds the job
job_actions        cancel and retry on request
flows              a job that fans out into children and waits for them
bulk_retries       bulk retries, with a rate limit and a failure limit
schedules          recurring jobs
queues             pause, caps, and the state of each queue
slots_wanted       how many slots each queue could use
queue_position     where one job stands in its queue, and so why it does not run
consistency_check  accepted minus ended must equal the unfinished jobs
retention          removes old jobs, and the files that are no longer needed
durability         which statements need not wait for the disk
tables             the tables

`attempt` and `worker` together are the fencing token: a claim increments `attempt` and sets `worker`, and every
later write of that worker names both.
`failures` counts retries used. After a release by shutdown, for other
tenants or by a crash, only `attempt` increases.
Every statement is safe to repeat after a lost reply.

Accepting and finishing wait for the disk. The steps between do not (LAZILY): if PostgreSQL crashes and forgets a
claim, the job is back in its queue, and the fencing token refuses the writes of the worker that still runs it.
"""
