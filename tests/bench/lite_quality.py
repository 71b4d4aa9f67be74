"""How well profile `lite` finds images: `python -m tests.bench.lite_quality [--POOL FOLDER]`.

Images and requests are those of lite_pools.py; the requests were written without looking at results. The embedder
sees pixels only: no file name, folder or caption. The baseline uses the same class probabilities, but compares words
(TF-IDF) instead of sentence vectors; it says what the sentence model is worth.
"""

import argparse
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.bench import lite_pools, machine
from tests.bench.lite_pools import Pool, Request
from xcomp_indexer.embed.base import Vectors
from xcomp_indexer.embed.lite import LiteEmbedder, weights
from xcomp_indexer.embed.lite.classes import load_classes
from xcomp_indexer.embed.lite.dictionary import Dictionary
from xcomp_indexer.embed.lite.image import LITE2, Classifier
from xcomp_indexer.search import background
from xcomp_indexer.search.calibration import Calibration

Scores = NDArray[np.float64]  # [Q, N]
_RESAMPLES = 10_000
_OTHERS = {
    "debian": (lite_pools.debian, "photographs of Debian packages unpacked there"),
    "captions": (lite_pools.captions, "the same photographs, and requests that say what some of them show,"),
    "wallpapers": (
        lite_pools.wallpapers,
        "wallpapers among them beside the demonstration's, and requests of that kind,",
    ),
    "pypi": (lite_pools.pypi, "photographs of packages of PyPI installed there"),
    "cutouts": (lite_pools.cutouts, "things cut out, of Tux Paint's stamps unpacked there"),
    "cartoons": (lite_pools.cartoons, "things drawn, of Tux Paint's stamps unpacked there"),
}


def ranks(scores: Scores, requests: Sequence[Request]) -> NDArray[np.int64]:
    """Returns the rank of the best right image for each request, from 1.

    Wrong images with the same score count as better: a text whose words no image has finds nothing.
    """
    pairs = ((row, list(request.right)) for row, request in zip(scores, requests, strict=True))
    return np.asarray([1 + (np.delete(row, right) >= row[right].max()).sum() for row, right in pairs])


def chance(requests: Sequence[Request], *, k: int, pool: int) -> float:
    """Returns the recall at k of a random order."""
    missed = [math.comb(pool - len(each.right), k) / math.comb(pool, k) for each in requests]
    return 1 - sum(missed) / len(missed)


def word_scores(texts: Sequence[str], probabilities: Scores) -> Scores:
    """Scores by TF-IDF cosine between texts and the names and definitions of the likely classes."""
    documents = [Counter(_words(f"{each.names} {each.gloss}")) for each in load_classes()]
    vocabulary = {word: i for i, word in enumerate(sorted({word for document in documents for word in document}))}
    frequency = Counter(word for document in documents for word in document)
    idf = np.asarray([math.log(len(documents) / frequency[word]) for word in vocabulary])

    def vectors(bags: Sequence[Counter[str]]) -> Scores:
        counts = np.zeros((len(bags), len(vocabulary)))
        for row, bag in zip(counts, bags, strict=True):
            for word in bag.keys() & vocabulary.keys():
                row[vocabulary[word]] = bag[word]
        return _unit(counts * idf)

    queries: Scores = vectors([Counter(_words(text)) for text in texts])
    return np.asarray(queries @ _unit(probabilities @ vectors(documents)).T)


def paired(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> str:
    """Returns the mean gain in reciprocal rank with its 95 % interval, by paired bootstrap over the requests."""
    gain = 1 / ours - 1 / theirs
    draws = np.random.default_rng(0).choice(gain, (_RESAMPLES, len(gain))).mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    return f"{100 * gain.mean():+.1f} MRR, 95 % [{100 * low:+.1f}, {100 * high:+.1f}], p = {(draws <= 0).mean():.4f}"


def confidences(texts: Vectors, background_texts: Vectors, images: Vectors) -> NDArray[np.float64]:
    """Returns the confidence of each request's first hit, as a search in a repository of these images reports it."""
    scale = Calibration(images).with_background(background_texts, (background_texts @ images.T).max(axis=1).tolist())
    best = (texts @ images.T).max(axis=1, keepdims=True)
    return np.asarray([scale.weigh(*each)[1][0] for each in zip(scale.query_stats(texts), best, strict=True)])


def signals(scores: Scores) -> dict[str, NDArray[np.float64]]:
    """Returns what may tell a right first hit from a wrong one, for each request."""
    ordered = np.sort(scores, axis=1)
    standout = _standout(scores)
    lead = (ordered[:, -1] - ordered[:, -6:-1].mean(axis=1)) / scores.std(axis=1)
    return {
        "cosine": ordered[:, -1],
        "standout (z-score)": standout,
        "margin / spread": (ordered[:, -1] - ordered[:, -2]) / scores.std(axis=1),
        "excess over the mean": ordered[:, -1] - scores.mean(axis=1),
        "standout x cosine": standout * ordered[:, -1],
        "evidence": (standout + 4 * lead) * ordered[:, -1],
    }


def auc(signal: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Returns the chance that a right answer has more of the signal than a wrong one."""
    pairs = signal[right][:, None] - signal[~right][None, :]
    return float((pairs > 0).mean() + (pairs == 0).mean() / 2)


def without_answers(scores: Scores, requests: Sequence[Request]) -> Scores:
    """Returns each request's scores with its right photos taken out of the pool (as its mean, which never leads)."""
    rest = scores.copy()
    for row, request in zip(rest, requests, strict=True):
        others = [i for i in range(len(row)) if i not in request.right]
        row[list(request.right)] = row[others].mean()
    return rest


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    other = parser.add_mutually_exclusive_group()
    for name, (_, origin) in _OTHERS.items():
        other.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=f"the pool of {origin}")
    folders = {name: folder for name, folder in vars(parser.parse_args()).items() if folder}
    embedder = LiteEmbedder()
    pool, asked = None, ""
    for name, folder in folders.items():  # at most one
        pool, asked = _OTHERS[name][0](folder, embedder.image_size), f" --{name} FOLDER"
    print(machine.line(f"python -m tests.bench.lite_quality{asked}"))
    _print_pool(pool or lite_pools.demonstration(embedder.image_size), embedder)


def _print_pool(pool: Pool, embedder: LiteEmbedder) -> None:
    photos, requests = list(pool.photos.values()), pool.requests
    vectors = embedder.encode_images(photos).vectors
    network = Classifier(weights.find(weights.EFFICIENTNET_LITE2, None), LITE2)
    probabilities = np.stack([network.classify(photo)[0] for photo in photos]).astype(np.float64)
    dictionary = Dictionary(
        weights.find(weights.CEDICT, None).read_bytes(), {each.zh: each.en for each in load_classes()}
    )
    print(f"{len(photos)} images, {len(requests)} requests in each language, {embedder.name} {embedder.digest[:12]}\n")
    print(f"{'':22}R@1   R@5   MRR")
    print(f"{'chance':20}{_percent(chance(requests, k=1, pool=len(photos)))}", end="")
    print(_percent(chance(requests, k=5, pool=len(photos))))
    idle = embedder.encode_texts(background.texts(("en", "zh")))
    for language in ("en", "zh"):
        texts = [request.texts[language] for request in requests]
        words = ranks(word_scores([dictionary.translate(text) for text in texts], probabilities), requests)
        asked = embedder.encode_texts(texts)
        found = ranks(_cosines(asked, vectors), requests)
        _print_recall(f"{language}, words (TF-IDF)", words)
        _print_recall(f"{language}, lite", found)
        print(f"    lite against words: {paired(found, words)}\n")
        half = len(background.texts(("en",)))
        _print_confidence(confidences(asked, idle, vectors), found == 1)
        of_language = idle[:half] if language == "en" else idle[half:]
        _print_signals(_cosines(asked, vectors), _cosines(of_language, vectors), requests)


def _print_confidence(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> None:
    """Prints how often the first hit is right among the surest requests, by the confidence that a search reports."""
    order = np.argsort(-confidence, kind="stable")
    print("    right first hits, by confidence:", end="")
    for name, share in (("quarter", 0.25), ("half", 0.5)):
        print(f"  surest {name} {_percent(right[order[: int(share * len(order))]].mean())}", end="")
    sure = confidence >= 0.95
    print(f"  at 0.95 and above {_percent(right[sure].mean())} of {sure.sum()}\n")


def _print_recall(name: str, found: NDArray[np.int64]) -> None:
    print(f"{name:20}{_percent((found == 1).mean())}{_percent((found <= 5).mean())}{_percent((1 / found).mean())}")


def _print_signals(scores: Scores, background_scores: Scores, requests: Sequence[Request]) -> None:
    right = ranks(scores, requests) == 1
    absent, nothing = signals(without_answers(scores, requests)), signals(background_scores)
    print("    what tells a right first hit?   AUC among requests, against: answer absent, background text;", end=" ")
    print("right in the surest half; above 95 % of background: requests, of them right")
    for name, signal in signals(scores).items():
        half = np.argsort(-signal, kind="stable")[: len(signal) // 2]
        sure = signal > np.quantile(nothing[name], 0.95)
        cells = (auc(signal, right), _auc_between(signal[right], absent[name]), _auc_between(signal, nothing[name]))
        print(f"    {name:25}", *(f"{cell:5.2f}" for cell in cells), end=" ")
        print(_percent(right[half].mean()), _percent(sure.mean()), _percent(right[sure].mean() if sure.any() else 0))
    print()


def _auc_between(more: NDArray[np.float64], less: NDArray[np.float64]) -> float:
    labels = np.arange(len(more) + len(less)) < len(more)
    return auc(np.concatenate((more, less)), labels)


def _standout(scores: Scores) -> NDArray[np.float64]:
    return np.asarray((scores.max(axis=1) - scores.mean(axis=1)) / scores.std(axis=1))


def _cosines(texts: Vectors, images: Vectors) -> Scores:
    return (texts @ images.T).astype(np.float64)


def _words(text: str) -> list[str]:
    return [word.removesuffix("s") for word in re.findall(r"[a-z]+", text.lower())]


def _unit(rows: Scores) -> Scores:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))


def _percent(share: float) -> str:
    return f"{100 * share:6.1f}"


if __name__ == "__main__":
    main()
