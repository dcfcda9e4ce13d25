"""Adds a page to the docs site on which the trained networks run in the reader's browser.

python scripts/try_page.py site/try
"""

import sys

from export.web.facts import zoo
from export.web.page import make_page

if __name__ == "__main__":
    make_page(zoo(), sys.argv[1])
