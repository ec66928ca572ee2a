"""Effect and price of an intervention: how far a direction may be turned before the model stops being useful."""

from greenroom.frontier.exam import CapabilityTest, capability
from greenroom.frontier.measure import FrontierResult, measure_frontier

__all__ = ["CapabilityTest", "FrontierResult", "capability", "measure_frontier"]
