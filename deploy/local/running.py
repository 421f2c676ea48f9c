"""Re-exports test_servers.py under its former name, for scripts outside this repository."""

from deploy.local.test_servers import Trio, answers, free_port, running, trio

__all__ = ["Trio", "answers", "free_port", "running", "trio"]
