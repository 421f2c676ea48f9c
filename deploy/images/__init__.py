"""The images of the services: which packages of the lock each needs, and `make images`."""
