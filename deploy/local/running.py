"""What scripts outside this repository start servers with; it lives in test_servers.py."""

from deploy.local.test_servers import Trio, answers, free_port, running, trio

__all__ = ["Trio", "answers", "free_port", "running", "trio"]
