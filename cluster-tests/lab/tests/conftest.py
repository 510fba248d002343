# SPDX-License-Identifier: GPL-2.0-only
"""Tests of the lab's own checkers: an audit that cannot fail proves nothing. No lab is needed."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
