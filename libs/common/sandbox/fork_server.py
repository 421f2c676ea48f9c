"""What the fork server of a worker does when it starts, by importing this module; nobody else imports it for that.

Whatever is left of a sandboxed process becomes a child of the fork server, which then knows and buries it. In a
container without an init it would stay a zombie for ever.
"""

import os
import sys
import warnings

from libs.common.sandbox import confinement, seccomp

PR_SET_CHILD_SUBREAPER = 36
PID = os.getpid()
"""Of the fork server, also in the processes that it forks."""

if sys.platform == "linux":
    seccomp.prctl(PR_SET_CHILD_SUBREAPER, 1)
    warnings.filterwarnings("ignore", message="forkserver: waitpid returned unexpected pid")
    confinement.prepare()
