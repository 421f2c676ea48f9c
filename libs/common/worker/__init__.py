"""The runtime of every worker process.

service  a worker process, from its settings to SIGTERM
worker   claims jobs, runs the handler, and records the outcome
lease    the heartbeat, progress, cancels and timeouts of the jobs that a process holds
job      what a handler gets, and what it may return
effects  ends a job together with the rows of its handler
failure  decides between a retry and the end after a failed attempt
"""
