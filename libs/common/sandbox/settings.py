"""The setting of workers that run a sandbox: whether they start where it cannot confine."""

from typing import Literal, Self

from pydantic import model_validator

from libs.common.config import Environment
from libs.common.sandbox import confinement


class SandboxSettings(Environment):
    """A worker with a sandbox starts only where that confines, unless it is said not to be required."""

    sandbox_confinement: Literal["required", "if-available"] = "required"
    """`if-available`: on a kernel without Landlock or seccomp the worker warns and starts all the same."""

    @model_validator(mode="after")
    def _sandbox_confines(self) -> Self:
        missing = confinement.what_is_missing()
        if missing and self.sandbox_confinement == "required":
            raise ValueError(f"sandboxed processes cannot be confined ({'; '.join(missing)}): "
                             "use another kernel, or accept it with SANDBOX_CONFINEMENT=if-available")  # fmt: skip
        return self
