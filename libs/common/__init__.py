"""The code that every process of the fleet shares. It contains no business logic and imports no service.

background       background tasks that end together with a block
backoff          delays between retries
batching         collects single calls into batches
blobs            uploads and artifacts, in a folder or a bucket
bus              the conveyor: job tickets over NATS; also publish/subscribe and request/reply
children         the CPU time of the processes beneath this one
clock_offset     estimates the clock of another machine
config           the only reader of the environment
contracts        what crosses the wire between processes, one module per service
db               the PostgreSQL connection pool of a process
errors           the error classes that all processes share
gc_tuning        garbage-collector settings for a long-running process
handler_testkit  runs handlers and queues in tests of services
ledger           the record of every job, in PostgreSQL
log              one JSON line per event, with job and trace ids
metrics          every metric of the fleet, declared once
otlp             exports spans by OTLP
probes           /livez, /readyz and /metrics, served by a thread beside the event loop
redis_health     whether Redis can be used, and why not
reporting        which errors are reported as bugs, and how often
rpc              request/reply from gateways to workers
sandbox          runs functions on untrusted input in limited processes
sentry           sends reports of bugs in Sentry's protocol
server_addresses  reads the addresses of NATS and Redis
telemetry        what a process tells of itself while it runs
tracing          spans of what requests and jobs do
unnest           many rows as the parameters of one statement
worker           the runtime of a worker process: claims jobs, runs handlers, records the results
"""
