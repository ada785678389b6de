"""The files of `radar_files.py` and `fuzz.py` are found beside the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
