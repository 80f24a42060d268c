"""Regularizers in the trainer that is already there: an optimizer hook, a Lightning callback, a transformers callback.

Importing this package needs torch only; ``onsphere.integrations.lightning`` and ``onsphere.integrations.transformers``
import the trainer that they are named after.
"""

from onsphere.integrations.curves import curve
from onsphere.integrations.gradients import add_gradients
from onsphere.integrations.step_hook import Attachment, attach

__all__ = ["Attachment", "add_gradients", "attach", "curve"]
