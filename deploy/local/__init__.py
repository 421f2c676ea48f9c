"""The whole fleet on one machine, with PostgreSQL, Redis and NATS from wheels and no container engine.

__main__      the commands behind `make up`, `make down`, `make scale` …
mail_catcher  stores mail in files instead of sending it
running       test_servers under its former name
servers       PostgreSQL, Redis and NATS: how each is prepared and started
state         what .run/ stores: ports, secrets, addresses
supervisor    keeps the processes running, with circus
tesseract     installs Tesseract, the only program that needs apt
test_servers  servers for the duration of a block, for tests and benchmarks
"""
