"""Keep torch's threads from waiting in a busy loop, which starves everything else on few cores.

OpenMP reads this once, when torch is first imported; this file is imported before that.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
