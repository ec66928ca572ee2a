"""What an edit costs in capability: more than 1,000 short questions, answered with and without it.

test = CapabilityTest(subject, blocks=[14, 21])
frame = measure_capability(subject, {"sycophancy +2": edits, …}, test=test)
"""

from greenroom.capability.items import Item, all_items
from greenroom.capability.price import PRICES, Limit, limit, loss, priced
from greenroom.capability.score import CapabilityTest, measure_capability

__all__ = [
    "PRICES",
    "CapabilityTest",
    "Item",
    "Limit",
    "all_items",
    "limit",
    "loss",
    "measure_capability",
    "priced",
]
