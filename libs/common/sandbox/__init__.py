"""Processing untrusted input in confined processes: sandbox.py runs them, process.py is what they are."""

from libs.common.sandbox.process import Limits, Refusals
from libs.common.sandbox.sandbox import Sandbox

__all__ = ["Limits", "Refusals", "Sandbox"]
