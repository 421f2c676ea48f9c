"""make bench-peers: Argosy beside the job libraries that people use instead, all in one run.

job           what a job does, and how a run is told and timed; the scripts of all contenders use it
*_tasks       one script a contender, all alike: `produce` enqueues, `work` is the worker
bullmq        the same two in JavaScript
contenders    who takes part: how each is installed, served and started
fleet         Argosy's servers, and what its ledger says
measures      the two measurements: throughput, and a killed worker
__main__      the rounds and the tables
"""
