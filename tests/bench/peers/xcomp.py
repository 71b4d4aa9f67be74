"""An ingest into an embedded store."""

import sys
from functools import partial
from pathlib import Path

sys.path.pop(0)  # else open_clip is the script beside this one

from xcomp_indexer import embed
from xcomp_indexer.ingest.events import IngestRequest, Summary
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.store.factory import open_stores

photos, weights, work = sys.argv[1:]
library = RepositoryCatalog(
    open_stores(f"edge:{Path(work, 'store')}"), EmbedderCache(embed.load), default_profile=f"en=open_clip:{weights}"
)
repository = library.create("peer")  # loads the model
*_, summary = Ingest(repository, partial(library.embedder, repository), IngestRequest([photos])).run()
assert isinstance(summary, Summary)
library.close()
print(summary.added / summary.seconds)
