"""Nothing but `xcomp models pull` reaches for a network: indexing and searching run with every socket forbidden."""

import os
import subprocess
import sys
from pathlib import Path

from tests import fake_hub
from tests.clip_checkpoints import cached, chinese_clip_folder, open_clip_folder, sample_images

# Every socket of Python, and every look-up of a name, goes through these audit events.
PROGRAM = """
import sys

def forbid(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"):
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(forbid)
from functools import partial
from xcomp_indexer.ingest.events import IngestRequest
from xcomp_indexer.ingest.ingest import Ingest
from xcomp_indexer.repository.catalog import RepositoryCatalog
from xcomp_indexer.repository.embedder_cache import EmbedderCache
from xcomp_indexer.search.engine import SearchEngine
from xcomp_indexer.search.query import Part, SearchRequest
from xcomp_indexer.store.factory import open_stores

home, photos, profile = sys.argv[1:]
library = RepositoryCatalog(open_stores(f"edge:{home}"), EmbedderCache(), default_profile=profile)
repository = library.create("a")
summary = list(Ingest(repository, partial(library.embedder, repository), IngestRequest([photos])).run())[-1]
query = SearchRequest([[Part(text="a red house")], [Part(text="红色的房子")]], k=4)
print(summary.added, [len(answer.hits) for answer in SearchEngine(library).answer(repository, query)])
library.close()
"""


def test_indexing_and_searching_open_no_socket(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    cached(open_clip_folder(tmp_path / "en"), hub, "me/en")
    cached(chinese_clip_folder(tmp_path / "zh"), hub, "me/zh")
    (tmp_path / "photos").mkdir()
    for at, picture in enumerate(sample_images()):
        picture.save(tmp_path / "photos" / f"{at}.png")
    profile = "en=open_clip:hf-hub:me/en,zh=chinese_clip:me/zh"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), str(tmp_path / "photos"), profile]
    with fake_hub.serving({}) as address:  # there, and asked for nothing
        environment = {**os.environ, "HF_ENDPOINT": address, "HF_HUB_CACHE": str(hub)}
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout) == (0, "4 [4, 4]\n"), done.stderr


def test_the_ban_would_be_noticed() -> None:
    program = PROGRAM.split("from functools")[0] + "import socket; socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "RuntimeError: socket.getaddrinfo" in done.stderr
