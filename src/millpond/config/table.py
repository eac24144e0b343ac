"""What every table of the configuration is made of."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Table(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def about(default: Any, description: str) -> Any:
    """Make a key with its documentation."""
    return Field(default=default, description=description)
