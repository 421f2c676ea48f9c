"""The whole fleet on one machine, with PostgreSQL, Redis and NATS from wheels and no container engine.

__main__           parses the command line; up, down, status, scale, keys, logs: one module for each command
settings           what each service is given, and whether it is right
program_specs      how each program is started
changes            which programs have to be started anew
version            of which code a program is
supervisor         keeps the processes alive, with circus
servers            PostgreSQL, Redis and NATS: how each is prepared and started
test_servers       servers for the length of a block, for tests and benchmarks (`running` is its former name)
database_queries   what the commands read and write in the fleet's database
state              what .run/ remembers: ports, secrets, settings, what was started
mail_catcher       stores mail in files instead of sending it, and shows it
install_tesseract  installs Tesseract with apt
monitor            Prometheus and Alertmanager beside the fleet
debian_programs    finds programs of Debian's packages without installing them
"""
