"""The indexer with an embedded store that seals after every few images: `python -m tests.soak.sealing_server ...`."""

import sys
from functools import partial
from unittest import mock

from xcomp_indexer.server import main
from xcomp_indexer.store.edge import stores

_SEAL_FROM = 40

if __name__ == "__main__":
    with mock.patch.object(stores, "EdgeStores", partial(stores.EdgeStores, seal_from=_SEAL_FROM)):
        sys.exit(main.main())
