"""What a stage may do: each step a file, all of them by name."""

from __future__ import annotations

from millpond.delivery.steps.agent import AgentStep
from millpond.delivery.steps.command import CommandStep
from millpond.delivery.steps.deploy import DeployStep
from millpond.delivery.steps.merge import MergeStep
from millpond.delivery.steps.monitor import MonitorStep

STEPS = (AgentStep.name, CommandStep.name, DeployStep.name, MergeStep.name, MonitorStep.name)
"""The names that a pipeline may use (`definition.STEPS` is the same, without the code)."""

__all__ = ["STEPS", "AgentStep", "CommandStep", "DeployStep", "MergeStep", "MonitorStep"]
