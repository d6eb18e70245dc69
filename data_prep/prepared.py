"""The one writer of prepared datasets: all or nothing, hashed, and idle when the work is already done.

The layout is what `datasets.load_from_disk` reads, so any tool of that library opens a split (or the whole folder) too:

    DATA/<name>/manifest.json, dataset_dict.json, train/{data-*.arrow, dataset_info.json, state.json}, test/...

A dataset is built in a hidden folder beside its place and renamed as the very last step. A crash, Ctrl-C or a full disk
leaves the old dataset as it was; what a killed process leaves behind is removed by the next `write` to the same place.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import signal
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import DatasetInfo, Features, Image, List, Value
from PIL import Image as PillowImage
from tqdm import tqdm

from data_prep.place import building, explained, put_in_place, refuse_foreign, restore
from t2i_core.config import UserError, cores
from t2i_core.manifest import FORMAT, MANIFEST, SPLITS, Manifest, read_manifest, sha256, verify

__all__ = ["cores", "encode_png", "is_current", "mapped", "read_manifest", "verify", "write"]

Row = dict[str, Any]

_BATCH_ROWS = 1000  # rows of a record batch: small enough for quick random access, large enough to write fast
_BATCH_BYTES = 32 << 20  # ... and a bound on memory where the images are large
_SHARD_BYTES = 500 << 20
_CHUNK = 16  # items a worker takes at once, so that handing them over costs little beside drawing them
_RGB, _GREY = 2, 0  # PNG colour types


def write(
    out: str | Path,
    splits: Mapping[str, Iterable[Row] | Iterable[Callable[[], Row]]],
    *,
    name: str,
    kind: str,
    size: int,
    seed: int,
    split_rule: str,
    class_disjoint: bool,
    arguments: Mapping[str, Any],
    licence: str,
    source: str,
    attributes: Mapping[str, list[str]] | None = None,
    parts: Mapping[str, list[str]] | None = None,
    skipped: Iterable[Mapping[str, str]] = (),
    totals: Mapping[str, int] | None = None,
    workers: int = 1,
    extra_files: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a prepared dataset to the folder `out` and return its manifest; do nothing if `is_current(out, arguments)`.

    splits     "train" and "test", each an iterable of rows, consumed once and in the mapping's order. A row is
               {"image": {"bytes": PNG}, "captions": [str, ...], "class_id": int (default -1), "name": str,
               "truth": dict (default {}), "mask": {"bytes": PNG} (in all rows or in none)}; image is RGB and mask is
               8-bit grey, both exactly size x size. Instead of a row an item may be a picklable function without
               arguments that makes one (functools.partial); `workers` processes then call them.
    arguments  what decides the content, as JSON: the test for "already prepared", so put name, size and seed in it.
    skipped    [{"file", "reason"}]; read after the last row, so a list that grows while the rows are made is fine.
    totals     rows of each split for the progress bar, where known.
    extra_files  relative path -> bytes, kept and hashed with the dataset (licence texts).

    Raises UserError if `out` holds something else, cannot be written, or the disk is full; ValueError for a bad row.
    """
    out = Path(out).expanduser().resolve()
    with explained(out):
        if is_current(out, arguments):
            return read_manifest(out)
        refuse_foreign(out)
        with building(out) as folder:
            counts = {}
            for split, items in splits.items():
                if split not in SPLITS:
                    raise ValueError(f"a split is one of {SPLITS}, not {split!r}")
                rows = _rows(items, workers)
                with contextlib.closing(rows):
                    bar = _progress(rows, f"{name}/{split}", (totals or {}).get(split))
                    counts[split] = _write_split(folder / split, split, bar, size)
            _save(folder / "dataset_dict.json", json.dumps({"splits": list(counts)}).encode())
            for path, content in (extra_files or {}).items():
                _save(folder / path, content)
            manifest: Manifest = {
                "format": FORMAT, "name": name, "kind": kind, "size": size, "seed": seed,
                "splits": {split: counts[split] for split in SPLITS if split in counts},
                "split_rule": split_rule, "class_disjoint": class_disjoint, "skipped": [dict(item) for item in skipped],
                "arguments": dict(arguments), "files": _hashes(folder), "licence": licence, "source": source,
                "attributes": dict(attributes or {}), "parts": dict(parts or {}),
            }  # fmt: skip
            _save(folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
            put_in_place(folder, out, functools.partial(is_current, out, arguments))
    return read_manifest(out)


def is_current(out: str | Path, arguments: Mapping[str, Any]) -> bool:
    """True if `out` holds a whole dataset that was prepared with the same arguments. Cheap: call it before any work."""
    out = Path(out).expanduser().resolve()
    try:
        restore(out)
        manifest = read_manifest(out)
    except (UserError, OSError):  # what may not even be looked at is for `write` to explain
        return False
    return manifest["arguments"] == json.loads(json.dumps(dict(arguments)))


def encode_png(image: PillowImage.Image) -> dict[str, bytes]:
    """A picture as a row holds it: {"bytes": PNG}."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return {"bytes": buffer.getvalue()}


def mapped(function: Callable[[Any], Any], items: Iterable[Any], workers: int | None = None) -> Iterator[Any]:
    """`map(function, items)` in the order of `items`, by `workers` processes (default: all cores), a bounded way ahead.

    With one worker everything happens in this process. `function` must be picklable. Closing the generator ends the
    processes; a worker that is killed raises `BrokenProcessPool` here.
    """
    workers = cores() if workers is None else workers
    if workers <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(function, items)
        return
    items = iter(items)
    # fork, because a start from scratch would import torch in every worker, longer than most datasets take to draw
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt)
    pending: deque[Future] = deque()
    try:
        while True:
            while len(pending) < 4 * workers and (chunk := list(itertools.islice(items, _CHUNK))):
                pending.append(pool.submit(_map_chunk, function, chunk))
            if not pending:
                return
            yield from pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the pool


def _map_chunk(function: Callable[[Any], Any], chunk: list[Any]) -> list[Any]:
    return [function(item) for item in chunk]


def _call(item: Row | Callable[[], Row]) -> Row:
    return item() if callable(item) else item


def _rows(items: Iterable[Any], workers: int) -> Iterator[Row]:
    items = iter(items)
    first = next(items, None)
    if first is None:
        return
    everything = itertools.chain([first], items)
    yield from mapped(_call, everything, workers if callable(first) else 1)


def _progress(rows: Iterable[Row], label: str, total: int | None) -> Iterable[Row]:
    # In a log file a bar that redraws itself ten times a second is litter, so there it speaks every ten seconds.
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(rows, desc=label, total=total, unit="image", mininterval=interval, maxinterval=interval)


# ------------------------------------------------------------------------------------------------ rows to Arrow files


def _features(masks: bool) -> Features:
    columns = {
        "image": Image(),
        "captions": List(Value("string")),
        "class_id": Value("int32"),
        "name": Value("string"),
        "truth": Value("string"),
    }
    return Features(columns | ({"mask": Image()} if masks else {}))


def _checked(row: Row, size: int, features: Features) -> Row:
    """The row as the Arrow schema wants it; ValueError if it breaks the promises of the format."""
    name = row["name"]
    if ("mask" in row) != ("mask" in features):
        raise ValueError(f"{name}: a mask belongs to every row or to none")
    _check_png(row["image"]["bytes"], size, _RGB, f"{name}: image")
    if "mask" in row:
        _check_png(row["mask"]["bytes"], size, _GREY, f"{name}: mask")
    captions = list(row["captions"])
    if not captions or not all(isinstance(caption, str) and caption.strip() for caption in captions):
        raise ValueError(f"{name}: captions must be a non-empty list of non-empty strings")
    truth = row.get("truth", {})
    if "words" in truth and len(truth["words"]) != len(captions):
        raise ValueError(f"{name}: truth names words for {len(truth['words'])} captions of {len(captions)}")
    text = json.dumps(truth, ensure_ascii=False, separators=(",", ":"))
    checked = {"image": {"bytes": row["image"]["bytes"], "path": None}, "captions": captions}
    checked |= {"class_id": row.get("class_id", -1), "name": name, "truth": text}
    return checked | ({"mask": {"bytes": row["mask"]["bytes"], "path": None}} if "mask" in row else {})


def _check_png(data: bytes, size: int, colour: int, what: str) -> None:
    if len(data) < 33 or not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError(f"{what} is not a PNG")
    width, height, depth, found = struct.unpack(">IIBB", data[16:26])
    if (width, height, depth, found) != (size, size, 8, colour):
        raise ValueError(
            f"{what} is {width}x{height}, {depth} bit, PNG colour type {found}; "
            f"wanted {size}x{size}, 8 bit, colour type {colour}"
        )


def _write_split(folder: Path, split: str, rows: Iterable[Row], size: int) -> dict[str, int]:
    """Write one split as Arrow shards and the two JSON files of `datasets`; returns its counts."""
    folder.mkdir()
    rows = iter(rows)
    first = next(rows, None)
    features = _features(masks=first is not None and "mask" in first)
    images = captions = 0
    shards = _Shards(folder, features.arrow_schema)
    try:
        for row in itertools.chain([] if first is None else [first], rows):
            row = _checked(row, size, features)
            shards.add(row)
            images += 1
            captions += len(row["captions"])
    finally:
        names = shards.close()
    DatasetInfo(features=features).write_to_directory(str(folder))
    state = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": sha256(folder / names[0])[:16],
        "_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False,
        "_split": split,
    }  # fmt: skip
    _save(folder / "state.json", json.dumps(state, indent=1).encode())
    return {"images": images, "captions": captions}


class _Shards:
    """Arrow stream files data-00000-of-0000n.arrow with rows gathered to record batches."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder, self.schema = folder, schema
        self.paths: list[Path] = []
        self.rows: list[Row] = []
        self.bytes = 0
        self._open()

    def _open(self) -> None:
        self.paths.append(self.folder / f"part-{len(self.paths):05d}")
        # A Python file, because its errors keep their errno and a full disk can be told from a bug.
        self.file = self.paths[-1].open("wb")
        self.writer = pa.ipc.new_stream(self.file, self.schema)

    def _shut(self) -> None:
        with self.file:
            self.writer.close()
            _sync(self.file)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.bytes += len(row["image"]["bytes"]) + len(row["truth"])
        if len(self.rows) >= _BATCH_ROWS or self.bytes >= _BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self.rows:
            return
        if self.file.tell() >= _SHARD_BYTES:
            self._shut()
            self._open()
        self.writer.write_table(pa.Table.from_pylist(self.rows, schema=self.schema))
        self.rows, self.bytes = [], 0

    def close(self) -> list[str]:
        self._flush()
        self._shut()
        names = [f"data-{index:05d}-of-{len(self.paths):05d}.arrow" for index in range(len(self.paths))]
        for path, name in zip(self.paths, names, strict=True):
            path.rename(self.folder / name)
        return names


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _save(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        _sync(file)


def _hashes(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files
    }
