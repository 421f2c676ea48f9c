"""The whole fleet on one machine, with PostgreSQL, Redis and NATS from wheels and no container engine.

__main__      the commands behind `make up`, `make down` …; up, down, status, scale, keys, logs: one each
settings      what each service is given, and whether it is right; the one place that knows the services' names
programs      how each program is started, changes: which of them have to be started anew, version: of which code
supervisor    the processes, kept alive by circus
servers       the three servers: how each is prepared and started
database      what the commands ask of the ledger
state         what .run/ remembers: ports, secrets, settings, what was started
tesseract     the one thing that may need apt
"""
