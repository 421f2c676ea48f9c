"""Processing untrusted input in limited processes: sandbox.py runs them, seccomp.py blocks their network."""

from libs.common.sandbox.sandbox import Limits, Refusals, Sandbox

__all__ = ["Limits", "Refusals", "Sandbox"]
