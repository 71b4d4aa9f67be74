"""An ingest into an embedded store."""

import sys
from functools import partial
from pathlib import Path

sys.path.pop(0)  # else open_clip is the script beside this one

from xcomp_indexer import embed
from xcomp_indexer.ingest.events import Order, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.repository.catalog import Library
from xcomp_indexer.repository.embedder_cache import Models
from xcomp_indexer.store.factory import open_stores

photos, weights, work = sys.argv[1:]
library = Library(
    open_stores(f"edge:{Path(work, 'store')}"), Models(embed.load), default_profile=f"en=open_clip:{weights}"
)
repository = library.create("peer")  # loads the model
*_, summary = Ingest(repository, partial(library.embedder, repository), Order([photos])).run()
assert isinstance(summary, Summary)
library.close()
print(summary.added / summary.seconds)
