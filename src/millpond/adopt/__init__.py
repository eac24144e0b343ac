"""Upstreams from the machine's own client settings: no public registry's address is written in this project.

A file per ecosystem (`pypi`, `npm`), what they share (`machine`), and what is remembered (`kept`).
"""

from __future__ import annotations

from millpond.adopt.apk import adopt_apk
from millpond.adopt.apt import adopt_apt
from millpond.adopt.docker import adopt_docker
from millpond.adopt.kept import ECOSYSTEMS, load_or_adopt, to_look_for
from millpond.adopt.machine import Adopted, Found, Machine, Pond, Run, Skipped, run_tool
from millpond.adopt.npm import adopt_npm, public_registry
from millpond.adopt.pypi import adopt_pypi, public_index
from millpond.adopt.rpm import adopt_rpm

__all__ = [
    "ECOSYSTEMS",
    "Adopted",
    "Found",
    "Machine",
    "Pond",
    "Run",
    "Skipped",
    "adopt_apk",
    "adopt_apt",
    "adopt_docker",
    "adopt_npm",
    "adopt_pypi",
    "adopt_rpm",
    "load_or_adopt",
    "public_index",
    "public_registry",
    "run_tool",
    "to_look_for",
]
