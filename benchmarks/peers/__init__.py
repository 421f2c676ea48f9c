"""make bench-peers: Argosy compared to other job libraries, all in one run.

job           the jobs, and the timing of a run; used by the scripts of all contenders
*_tasks       one script per contender, all alike: `produce` enqueues, `work` is the worker
bullmq        the same two in JavaScript
contenders    the contenders: how each is installed, served and started
fleet         Argosy's servers, and the results read from its ledger
measures      the two measurements: throughput, and recovery from a killed worker
__main__      the rounds and the tables
"""
