"""The whole fleet on one machine, with PostgreSQL, Redis and NATS from wheels and no container engine.

servers      the three servers: how each is prepared and started
state        what .run/ remembers: ports, secrets, addresses
supervisor   the processes, kept alive by circus
tesseract    the one thing that may need apt
__main__     the commands behind `make up`, `make down`, `make scale` …
"""
