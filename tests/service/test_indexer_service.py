"""The rest of the indexer's service: bytes, pages, upkeep, and tools that know nothing but reflection."""

import io
import json
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image

from tests import images
from tests.indexing import Indexer, serving
from xcomp_protos import indexer_pb2 as pb
from xcomp_protos.build import VERSION, build_id
from xcomp_protos.client import IndexerClient
from xcomp_protos.errors import Conflict, Denied, InvalidRequest, NotFound, Unauthenticated
from xcomp_protos.server.auth import allow_token


def fetch(indexer: Indexer, name: str, **wishes: object) -> tuple[pb.FetchHeader, bytes]:
    request = pb.FetchRequest(repository="default", image_id=indexer.images()[name], **wishes)  # type: ignore[arg-type]
    return indexer.client.fetch(request)


def pages(indexer: Indexer, **conditions: object) -> list[list[str]]:
    found: list[list[str]] = []
    token = ""
    while not found or token:
        request = pb.ListRequest(repository="default", page_token=token, **conditions)  # type: ignore[arg-type]
        page = indexer.client.list_images(request)
        found.append([image.id for image in page.images])
        token = page.next_page_token
    return found


def test_fetch_hands_out_what_may_be_published(indexer: Indexer, photos: Path) -> None:
    (photos / "telling.jpg").write_bytes(images.telling())
    (photos / "telling.jpg.json").write_text('{"credit": "李雷", "copyright": "(c) 2024"}')
    (photos / "turned.jpg").write_bytes(images.oriented(6))
    indexer.ingest(photos)
    header, content = fetch(indexer, "telling.jpg")
    assert (header.media_type, header.suffix, header.size_bytes) == ("image/jpeg", ".jpg", len(content))
    secrets = (images.GPS_SECRET, images.SERIAL_SECRET, images.COMMENT_SECRET, images.XMP_SECRET, "Ann Other")
    assert not [secret for secret in secrets if secret.encode() in content]
    assert "李雷".encode() in content
    header, content = fetch(indexer, "turned.jpg")
    assert (header.width, header.height) == Image.open(io.BytesIO(content)).size == (64, 96)


def test_fetch_scales_down_and_never_up(indexer: Indexer, photos: Path) -> None:
    (photos / "large.jpg").write_bytes(images.jpeg(size=(3000, 1500)))
    indexer.ingest(photos)
    sizes = {wish: fetch(indexer, "large.jpg", max_px=wish)[0] for wish in (0, 100, 2**32 - 1)}
    assert {wish: (header.width, header.height) for wish, header in sizes.items()} == {
        0: (2048, 1024),
        100: (100, 50),
        2**32 - 1: (3000, 1500),
    }


def test_fetch_keeps_originals_whole_when_asked_even_beyond_a_message(indexer: Indexer, photos: Path) -> None:
    whole = images.encoded(Image.effect_noise((2600, 2600), 80), "PNG")
    assert len(whole) > 4 * 1024 * 1024
    (photos / "noise.png").write_bytes(whole)
    indexer.ingest(photos)
    header, content = fetch(indexer, "noise.png", originals=True)
    assert content == whole
    assert (header.media_type, header.suffix, header.size_bytes) == ("image/png", ".png", len(whole))


def test_fetch_of_what_is_not_there_is_not_found(indexer: Indexer, photos: Path) -> None:
    (photos / "a.jpg").write_bytes(images.jpeg())
    indexer.ingest(photos)
    image_id = indexer.images()["a.jpg"]
    for repository, wanted in (("default", "nonsense"), ("nope", image_id)):
        with pytest.raises(NotFound):
            indexer.client.fetch(pb.FetchRequest(repository=repository, image_id=wanted))
    (photos / "a.jpg").unlink()
    with pytest.raises(NotFound, match=r"a.jpg.*run xcomp index again"):
        indexer.client.fetch(pb.FetchRequest(repository="default", image_id=image_id))


def test_fetch_of_a_file_that_changed_says_so(indexer: Indexer, photos: Path) -> None:
    (photos / "a.jpg").write_bytes(images.jpeg())
    indexer.ingest(photos)
    (photos / "a.jpg").write_bytes(images.jpeg(images.BLUE))
    with pytest.raises(Conflict, match="changed since it was indexed"):
        fetch(indexer, "a.jpg")


@pytest.mark.parametrize("terms", ['{"internal": true}', '{"expires": "2020-01-01"}', '{"embargo": "2999-01-01"}'])
def test_fetch_hands_out_restricted_images_only_where_that_is_asked_for(
    indexer: Indexer, photos: Path, terms: str
) -> None:
    (photos / "a.jpg").write_bytes(images.jpeg())
    (photos / "a.jpg.json").write_text(terms)
    indexer.ingest(photos)
    for originals in (False, True):
        with pytest.raises(Denied, match=r"image_id: .* allow_restricted"):
            fetch(indexer, "a.jpg", originals=originals)
    assert fetch(indexer, "a.jpg", allow_restricted=True)[0].width == 96
    (photos / "a.jpg.json").unlink()
    indexer.ingest(photos)
    assert fetch(indexer, "a.jpg")[0].width == 96


def test_list_pages_through_everything_once_in_the_order_of_ids(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {f"{at}.jpg": images.RED for at in range(23)})
    indexer.ingest(photos)
    found = pages(indexer, page_size=5)
    assert [len(page) for page in found] == [5, 5, 5, 5, 3]
    together = [image_id for page in found for image_id in page]
    assert together == sorted(indexer.images().values())
    assert [len(page) for page in pages(indexer, page_size=23)] == [23]
    assert [len(page) for page in pages(indexer, page_size=2, where=["height<67"])] == [2, 1]


def test_list_goes_on_after_an_image_that_went_meanwhile(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {f"{at}.jpg": images.RED for at in range(6)})
    indexer.ingest(photos)
    ids = sorted(indexer.images().values())
    first = indexer.client.list_images(pb.ListRequest(repository="default", page_size=3))
    indexer.client.delete(pb.DeleteRequest(repository="default", ids=[first.next_page_token]))
    rest = indexer.client.list_images(pb.ListRequest(repository="default", page_token=first.next_page_token))
    assert [image.id for image in rest.images] == ids[3:]


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"page_size": 1001}, "page_size"), ({"page_token": "nonsense"}, "page_token"), ({"where": ["?"]}, "where")],
)
def test_a_bad_page_is_refused(indexer: Indexer, changes: dict[str, object], says: str) -> None:
    indexer.client.create_repository(pb.CreateRepositoryRequest(name="default"))
    with pytest.raises(InvalidRequest, match=f"^{says}"):
        indexer.client.list_images(pb.ListRequest(repository="default", **changes))  # type: ignore[arg-type]


def test_images_are_read_by_id_in_the_order_asked_and_nothing_is_embedded(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED, "blue.jpg": images.BLUE})
    (photos / "broken.jpg").write_bytes(b"")
    indexer.ingest(photos)
    ids = indexer.images()
    (broken,) = [point.id for point in indexer.library.get("default").store.scan() if point.payload.get("failure")]
    wanted = [ids["red.jpg"], "no-id", ids["blue.jpg"], broken, ids["red.jpg"]]
    before = indexer.embedder.images
    found = indexer.client.get_images(pb.GetImagesRequest(repository="default", ids=wanted)).images
    assert [image.id for image in found] == [ids["red.jpg"], ids["blue.jpg"]]
    listed = {image.id: image for image in indexer.client.list_images(pb.ListRequest(repository="default")).images}
    assert list(found) == [listed[image.id] for image in found]
    assert indexer.embedder.images == before


def test_images_that_are_not_offered_are_read_only_with_permission(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED, "blue.jpg": images.BLUE})
    (photos / "red.jpg.json").write_text(json.dumps({"internal": True}))
    indexer.ingest(photos)
    ids = indexer.images()
    request = pb.GetImagesRequest(repository="default", ids=list(ids.values()))
    assert [image.id for image in indexer.client.get_images(request).images] == [ids["blue.jpg"]]
    request.allow_restricted = True
    assert {image.id for image in indexer.client.get_images(request).images} == set(ids.values())


@pytest.mark.parametrize("count", [0, 1001])
def test_a_number_of_ids_out_of_range_is_refused(indexer: Indexer, count: int) -> None:
    with pytest.raises(InvalidRequest, match=f"^ids: send 1 to 1000 of them, not {count}"):
        indexer.client.get_images(pb.GetImagesRequest(repository="default", ids=["no-id"] * count))


def test_delete_forgets_images_and_leaves_files(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED, "blue.jpg": images.BLUE})
    indexer.ingest(photos)
    image_id = indexer.images()["red.jpg"]
    request = pb.DeleteRequest(repository="default", ids=[image_id, image_id, "nonsense"])
    assert indexer.client.delete(request).deleted == 1
    assert indexer.client.delete(request).deleted == 0
    assert set(indexer.images()) == {"blue.jpg"}
    assert (photos / "red.jpg").exists()
    assert indexer.ingest(photos)[0].added == 1


def test_repositories_are_created_described_and_deleted(indexer: Indexer, photos: Path) -> None:
    made = indexer.client.create_repository(pb.CreateRepositoryRequest(name="trips"))
    assert (made.name, made.profile, made.images) == ("trips", "color", 0)
    images.library(photos, {"red.jpg": images.RED})
    indexer.ingest(photos, repository="trips")
    described = indexer.client.describe("trips").repositories[0]
    space = described.spaces[0]
    assert (space.name, space.model, space.dimension, space.images) == ("color", "color:hsv", 12, 1)
    assert list(space.languages) == ["en", "zh"]
    assert described.size_bytes > 0
    assert described.last_ingest["added"] == 1
    assert [each.name for each in indexer.client.list_repositories()] == ["trips"]
    assert indexer.client.delete_repository("trips") == 1
    assert list(indexer.client.list_repositories()) == []
    for missing in ("trips", "nope"):
        with pytest.raises(NotFound):
            indexer.client.delete_repository(missing)


def test_a_repository_made_anew_under_a_used_name_starts_fresh(indexer: Indexer, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED, "blue.jpg": images.BLUE})
    indexer.ingest(photos)
    indexer.search("red")
    indexer.client.delete_repository("default")
    with pytest.raises(NotFound):
        indexer.search("red")
    assert indexer.ingest(photos)[0].added == 2
    assert indexer.search("red", k=1) == ["red.jpg"]


@pytest.mark.parametrize(("name", "profile"), [("", ""), ("a/b", ""), ("x" * 65, ""), ("ok", "sepia")])
def test_a_repository_that_cannot_be_is_refused(indexer: Indexer, name: str, profile: str) -> None:
    with pytest.raises(InvalidRequest):
        indexer.client.create_repository(pb.CreateRepositoryRequest(name=name, profile=profile))


def test_describe_says_what_the_server_is(indexer: Indexer) -> None:
    described = indexer.client.describe()
    assert (described.version, described.build) == (VERSION, build_id())
    assert described.store.startswith("edge:")
    assert described.default_profile == "color"
    assert list(described.models_loaded) == []
    assert described.memory_bytes > 10_000_000
    with pytest.raises(NotFound):
        indexer.client.describe("nope")


def test_a_damaged_repository_is_not_in_the_way_of_the_others(home: Path, photos: Path) -> None:
    images.library(photos, {"red.jpg": images.RED})
    with serving(home) as first:
        first.ingest(photos)
        first.ingest(photos, repository="broken")
    for manifest in (home / "broken").glob("*.json"):
        manifest.write_text("{")
    with serving(home) as second:
        problems = {each.name: each.problem for each in second.client.describe().repositories}
        assert problems["default"] == ""
        assert "manifest" in problems["broken"]
        assert [each.name for each in second.client.list_repositories()] == ["broken", "default"]
        assert second.search("red") == ["red.jpg"]
        second.client.delete_repository("broken")
        assert [each.name for each in second.client.list_repositories()] == ["default"]


def test_a_tool_that_knows_only_the_address_can_list_and_call_services(indexer: Indexer) -> None:
    with grpc.insecure_channel(indexer.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {"xcomp.v1.Indexer", "grpc.health.v1.Health"} <= set(database.get_services())
        pool = descriptor_pool.DescriptorPool(database)
        method = pool.FindServiceByName("xcomp.v1.Indexer").FindMethodByName("CreateRepository")
        request = message_factory.GetMessageClass(method.input_type)(name="from_reflection")
        call = channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        assert call(request).repository.profile == "color"
    assert [each.name for each in indexer.client.list_repositories()] == ["from_reflection"]


def test_every_call_asks_for_the_token(home: Path) -> None:
    with serving(home, access=allow_token("secret")) as indexer, IndexerClient(indexer.address) as stranger:
        assert list(indexer.client.list_repositories()) == []
        with pytest.raises(Unauthenticated, match="missing or wrong token"):
            stranger.list_repositories()
        with pytest.raises(Unauthenticated):
            list(stranger.ingest(pb.IngestRequest(repository="default", paths=["/"])))


def test_the_log_holds_no_query_no_path_and_no_traceback(
    indexer: Indexer, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "xcomp_indexer")
    caplog.set_level("DEBUG", "xcomp_protos")
    images.library(photos, {"myprivatefile.jpg": images.RED})
    indexer.ingest(photos)
    indexer.search("myprivatewish")
    for refused in ({"k": 0}, {"where": ["myprivatefilter"]}):
        with pytest.raises(InvalidRequest):
            indexer.hits("myprivatewish", **refused)
    with pytest.raises(NotFound):
        indexer.client.describe("myprivaterepository")
    assert "method=Search status=OK" in caplog.text
    assert "method=Search status=INVALID_ARGUMENT" in caplog.text
    assert "myprivate" not in caplog.text
    assert "Traceback" not in caplog.text
