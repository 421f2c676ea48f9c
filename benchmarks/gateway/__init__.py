"""Requests per second of the gateway, compared to bare Starlette and to other ways to accept a job."""
