"""A human evaluation: the pictures of several systems as a blind study, in a plain folder that also keeps the answers.

    study.json    captions, tasks, seed, the pictures by caption, and their hashes
    images/       0001.png ...: numbers for names, shuffled
    key.json      whose the pictures are
    ratings-<rater>.jsonl    an answer a line, a file a rater; the last answer to a question counts

Raters need no key.json: whoever gives them the folder may hold it back until the analysis
(:mod:`t2i_core.human.scores`). What is asked stands in :mod:`t2i_core.human.questions`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import rankdata

from t2i_core.config import UserError, atomic_write, nearest, write_json
from t2i_core.figures import to_pixels
from t2i_core.human.questions import LETTERS, ORDERS, Answer, Question, rater_name, seeded
from t2i_core.pictures import BadPicture, read_rgb

Images = torch.Tensor | Sequence[str | Path]
CEILING, FLOOR = "ceiling", "floor"  # the attention checks, shown like systems and left out of the systems' scores
SIMULATED = "simulated-"  # how the name of every rater begins that is no person


@dataclass(frozen=True)
class Study:
    """An open study. ``pictures[c]`` are the files of caption c, one a column; a column is always the same system.

    ``identity`` is the hash of captions, tasks, seed and pixels: an answer counts only in the study it was given in.
    """

    folder: Path
    captions: tuple[str, ...]
    tasks: tuple[str, ...]
    seed: int
    pictures: tuple[tuple[str, ...], ...]
    identity: str

    @classmethod
    def create(
        cls,
        folder: str | Path,
        captions: Sequence[str],
        systems: Mapping[str, Images],
        ceiling: Images | None = None,
        floor: Images | None = None,
        tasks: Sequence[str] = ("rank", "rate"),
        seed: int = 0,
    ) -> Study:
        """Make a study in ``folder``; the same arguments again open it, so that a notebook may be run twice.

        ``systems``: name -> pictures of the n captions (same noise for all), (n, 3, R, R) in [-1, 1] or files.
        ``ceiling``: the captions' real pictures. ``floor``: pictures whose caption is wrong (``real.roll(1, 0)``): who
        reads the captions puts them below the ceiling. ``tasks`` come in this order. Raises UserError for arguments
        that do not fit together, or a folder that holds another study.
        """
        folder, captions = Path(folder), [str(caption) for caption in captions]
        tasks = [nearest(task, ORDERS, "task") for task in dict.fromkeys(tasks)]
        pixels = _arms(captions, systems, {CEILING: ceiling, FLOOR: floor})
        arms = [sorted(pixels)[i] for i in seeded(seed, "columns").permutation(len(pixels))]
        numbers = 1 + seeded(seed, "files").permutation(len(captions) * len(arms)).reshape(len(captions), len(arms))
        pictures = [[f"{number:04d}.png" for number in row] for row in numbers]
        files = {pictures[c][a]: pixels[arm][c] for c in range(len(captions)) for a, arm in enumerate(arms)}
        described = {
            "captions": captions,
            "tasks": tasks,
            "seed": seed,
            "pictures": pictures,
            "pixels": {name: _hash(files[name]) for name in sorted(files)},
        }
        if (folder / "study.json").exists():
            existing = cls.open(folder)
            if existing.identity != _identity(described):
                raise UserError(f"{folder} holds another study: choose another folder, or delete that one")
            return existing
        for name in sorted(files):  # in the order of their numbers: even the times of the files say nothing
            buffer = io.BytesIO()
            Image.fromarray(files[name]).save(buffer, "PNG")
            atomic_write(folder / "images" / name, buffer.getvalue())
        write_json(folder / "key.json", {"study": _identity(described), "columns": arms})
        write_json(folder / "study.json", described)  # last: a folder without it is no study
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Study:
        """Open a study's folder; pictures that are missing or not those of study.json raise a UserError."""
        folder = Path(folder)
        try:
            described = json.loads((folder / "study.json").read_text(encoding="utf-8"))
            hashes = {name: described["pixels"][name] for row in described["pictures"] for name in row}
            captions, seed = tuple(described["captions"]), int(described["seed"])
            tasks = tuple(nearest(task, ORDERS, "task") for task in described["tasks"])
            pictures = tuple(map(tuple, described["pictures"]))
        except FileNotFoundError as error:
            raise UserError(f"{folder} holds no study.json: make a study with Study.create") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / 'study.json'} is damaged ({error}): make the study anew") from error
        for name, expected in hashes.items():
            path = folder / "images" / name
            try:
                found = _hash(np.asarray(read_rgb(path).image))
            except BadPicture as error:
                raise UserError(f"{path} cannot be shown: {error}; restore the study's folder") from error
            if found != expected:
                raise UserError(f"{path} is not the picture that the study was made with: restore the study's folder")
        return cls(folder, captions, tasks, seed, pictures, _identity(described))

    def plan(self, rater: str) -> tuple[Question, ...]:
        """A rater's questions, task after task: a function of the study's seed and the rater's name."""
        questions = []
        for task in self.tasks:
            orders = ORDERS[task](len(self.captions), len(self.pictures[0]), seeded(self.seed, task, rater_name(rater)))
            questions += [Question(task, c, tuple(self.pictures[c][a] for a in columns)) for c, columns in orders]
        return tuple(questions)

    def record(self, rater: str, question: Question, values: Sequence[float], seconds: float | None = None) -> Answer:
        """Append an answer to the rater's own file; once this returns, it is on disk. A later answer replaces it."""
        question.check(values)
        rater, path = rater_name(rater), self.ratings_file(rater)
        ranked = question.task == "rank"
        named = {"ranks": list(values)} if ranked else {"quality": values[0], "fit": values[1]}
        line = {"study": self.identity, "rater": rater, "task": question.task, "caption": question.caption}
        line |= {"shown": list(question.shown), **named, "seconds": seconds}
        data = (json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n").encode()
        try:
            with path.open("a+b", buffering=0) as file:
                if size := file.seek(0, os.SEEK_END):
                    file.seek(size - 1)
                    if file.read(1) != b"\n":  # a crash cut the last line off: it must not take this one with it
                        data = b"\n" + data
                # In one call, at the end: a rater's second window cannot come in between. (It may see this line half
                # written and begin its own with an empty one, which nobody reads.)
                if file.write(data) != len(data):
                    raise OSError("the disk is full")
                os.fsync(file.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {path}: {error.strerror or error}; the answer is not saved: free some space, try again"
            ) from error
        return Answer(question, tuple(values), seconds)

    def answers(self, rater: str) -> tuple[dict[tuple, Answer], list[str]]:
        """A rater's last answer to each question, by :attr:`Question.key`; and a note on each line that is damaged.

        Raises UserError for answers that were given in another study.
        """
        rater = rater_name(rater)
        path, found, notes = self.ratings_file(rater), {}, []
        for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else [], start=1):
            if not line.strip():
                continue
            try:
                answer = self._read(line, rater)
            except UserError as error:
                raise UserError(f"{path.name}, line {number}: {error}") from error
            except (ValueError, KeyError, TypeError):
                notes.append(
                    f"{path.name}, line {number} is damaged and left out: {line[:60].decode(errors='replace')}"
                )
            else:
                found[answer.question.key] = answer
        return found, notes

    def _read(self, line: bytes, rater: str) -> Answer:
        saved = json.loads(line)
        if saved["study"] != self.identity:
            raise UserError(
                "this answer was given for other pictures or captions; open its own study, or move the file away"
            )
        question = Question(saved["task"], saved["caption"], tuple(saved["shown"]))
        asked = set(self.pictures[question.caption]) if question.caption in range(len(self.captions)) else set()
        count = {"rank": len(asked), "rate": 1}.get(question.task)
        if saved["rater"] != rater or not asked.issuperset(question.shown) or len(set(question.shown)) != count:
            raise ValueError("no question of this rater")
        values = saved["ranks"] if question.task == "rank" else (saved["quality"], saved["fit"])
        question.check(values)
        seconds = saved["seconds"]
        return Answer(question, tuple(map(float, values)), None if seconds is None else float(seconds))

    def ratings_file(self, rater: str) -> Path:
        return self.folder / f"ratings-{rater_name(rater)}.jsonl"

    def raters(self) -> list[str]:
        """Who has answered anything. A UserError names a file that is no rater's, such as a second copy of one."""
        names = sorted(path.stem.removeprefix("ratings-") for path in self.folder.glob("ratings-*.jsonl"))
        for name in names:
            if self.ratings_file(name).stem != f"ratings-{name}":
                raise UserError(f"ratings-{name}.jsonl is no rater's file: call it {self.ratings_file(name).name}")
        return names

    def columns(self) -> list[str]:
        """The key: which system each column of ``pictures`` is. Only the analysis asks for it."""
        path = self.folder / "key.json"
        try:
            key = json.loads(path.read_text(encoding="utf-8"))
            if key["study"] == self.identity and len(key["columns"]) == len(self.pictures[0]):
                return list(key["columns"])
        except FileNotFoundError as error:
            raise UserError(f"{path} is missing: put the study's key there to see whose pictures they are") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}): restore it") from error
        raise UserError(f"{path} is the key of another study: put this study's key there")

    def judgements(self) -> tuple[pd.DataFrame, list[str]]:
        """All raters' answers, a row a judgement, and a note on each damaged line.

        Columns rater, question (counts a rater's answers), caption, system (the checks are among them), measure (rank,
        quality or fit), value, seconds (for the whole question).
        """
        columns, rows, notes = self.columns(), [], []
        owner = {name: columns[a] for row in self.pictures for a, name in enumerate(row)}
        for rater in self.raters():
            answers, damaged = self.answers(rater)
            notes += damaged
            for number, answer in enumerate(answers.values()):
                question = answer.question
                ranked = question.task == "rank"
                names = question.shown if ranked else question.shown * 2
                measures = ["rank"] * len(names) if ranked else ["quality", "fit"]
                for name, measure, value in zip(names, measures, answer.values, strict=True):
                    rows.append((rater, number, question.caption, owner[name], measure, value, answer.seconds))
        names = ["rater", "question", "caption", "system", "measure", "value", "seconds"]
        return pd.DataFrame(rows, columns=names).astype({"value": float, "seconds": float}), notes


def simulate(
    study: Study, number: int, worth: Mapping[str, float], noise: float = 1.0, seed: int = 0, at_most: int | None = None
) -> str:
    """Let a simulated rater answer what is open (``at_most`` so many questions), and give its name, "simulated-1".

    It sees a picture of system s as worth[s] + noise * e, e ~ N(0, 1), anew for each picture and measure (Thurstone's
    model); it ranks by that, and rates 3 + that, rounded into 1..5. ``worth`` names every system, and the checks.
    """
    rater, columns = f"{SIMULATED}{number}", study.columns()
    if set(worth) != set(columns):
        raise UserError(f"worth must name exactly what the study shows: {', '.join(sorted(columns))}")
    seen = {name: worth[columns[a]] for row in study.pictures for a, name in enumerate(row)}
    done, _ = study.answers(rater)
    for question in [q for q in study.plan(rater) if q.key not in done][:at_most]:
        draw = seeded(seed, rater, *map(str, question.key))  # its own for each question: a pause changes nothing
        pictures = question.shown if question.task == "rank" else question.shown * 2
        felt = np.array([seen[name] for name in pictures]) + noise * draw.standard_normal(len(pictures))
        values = rankdata(-felt) if question.task == "rank" else np.clip(np.rint(3 + felt), 1, 5)
        study.record(rater, question, values.tolist())
    return rater


def _arms(
    captions: list[str], systems: Mapping[str, Images], checks: Mapping[str, Images | None]
) -> dict[str, NDArray]:
    """Name -> pixels (n, R, R, 3) of what is shown, checked to be as many and as large."""
    if reserved := set(systems) & set(checks):
        raise UserError(f"no system may be called {', '.join(sorted(reserved))}: that is the name of a check")
    arms = {name: _pixels(name, images) for name, images in (systems | checks).items() if images is not None}
    if not systems or not captions or not 2 <= len(arms) <= len(LETTERS):
        raise UserError(
            f"{len(captions)} captions and {len(arms)} pictures each: a study needs a caption, a system, and from 2 to "
            f"{len(LETTERS)} pictures to compare"
        )
    for name, pixels in arms.items():
        if len(pixels) != len(captions):
            raise UserError(f"{len(pixels)} pictures of {name} for {len(captions)} captions: give one for each caption")
    sizes = {name: pixels.shape[1:3] for name, pixels in arms.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {high} x {wide}" for name, (high, wide) in sizes.items())
        raise UserError(f"pictures of different size are not blind ({told}): draw them with draw(..., at_most=px)")
    return arms


def _pixels(name: str, images: Images) -> NDArray:
    if isinstance(images, torch.Tensor):
        if images.ndim != 4 or not torch.isfinite(images).all():
            raise UserError(f"the pictures of {name} must be (n, 3, R, R) and finite, not {tuple(images.shape)}")
        return to_pixels(images)
    try:
        read = [np.asarray(read_rgb(Path(path)).image) for path in images]
        return np.stack(read)
    except (BadPicture, ValueError) as error:
        raise UserError(f"the pictures of {name} cannot be used: {error}") from error


def _hash(pixels: NDArray) -> str:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _identity(described: Mapping) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
