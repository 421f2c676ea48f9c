"""Requests a second through the front door, beside bare Starlette and beside other ways to accept a job."""
