"""What every process of the fleet shares. It knows no business and imports no service.

background what runs beside something else, and ends with it
backoff    how long to wait before the next try
batching   what arrives together travels together
blobs      uploads and artifacts, in a folder or a bucket
bus        the conveyor: job tickets over NATS
clocks     what time it is at a server that is asked
config     the one reader of the environment
contracts  what crosses the wire, a module per service
db         the one PostgreSQL pool of a process
errors     how a handler says what went wrong
job        what a handler sees of a job, and gives back
ledger     the truth about every job, in PostgreSQL
log        one JSON line an event, with job and trace ids
metrics    every metric of the fleet, declared once
probes     /livez /readyz /metrics beside the event loop
service    a worker process, from its settings to SIGTERM
verdict    what becomes of a job whose attempt did not succeed
worker     takes jobs off the conveyor and sees each to one end
"""
