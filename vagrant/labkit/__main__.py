# SPDX-License-Identifier: Apache-2.0
import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)
from labkit.main import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
