"""Running untrusted input in processes with limits: sandbox.py runs them, seccomp.py confines them."""

from libs.common.sandbox.sandbox import Limits, Refusals, Sandbox

__all__ = ["Limits", "Refusals", "Sandbox"]
