"""The page on which a person ranks and rates pictures: an ipywidgets container over a `t2i_core.human.study.Study`.

Everything can be done from the keyboard, in one text box: "BAC" and Enter is a ranking, "43" and Enter a rating, "-"
goes back, "+" goes on. Why a text box and not single keys: in JupyterLab, with the focus on a button, A and B insert
*cells* and D D deletes one; only where text is typed does JupyterLab leave the keys alone (its shortcuts exclude
`jp-mod-readWrite`). A text box also shows what was typed before it counts, and needs no extension and no network.

The page is blind: pictures are called A, B, C and travel as data, without a file name; the key is not read. It has no
state of its own but the place: what is answered stands in the rater's file, so closing the notebook is a pause. After a
restart of the kernel, run the cell again.
"""

from __future__ import annotations

import html
import time
from pathlib import Path

import ipywidgets as widgets

from t2i_core.config import UserError
from t2i_core.human.questions import LETTERS, SCALE, Question
from t2i_core.human.study import Study
from t2i_core.pictures import BadPicture, data_uri, read_rgb

SHOWN_PX = 224  # pictures are enlarged by a whole factor up to about this width
HOW_TO = {
    "rank": "Which picture is best, as a picture of this caption? Type the letters, best first, with = between two "
    + "that are equally good, then Enter.",
    "rate": "Type two digits, then Enter: first the quality (how good is it as a picture?), then the fit (does it "
    + "show what the caption says?). "
    + ", ".join(f"{grade} is {word}" for grade, word in SCALE.items())
    + ".",
}
LABEL = {"rank": "Best to worst", "rate": "Quality, fit"}


def rating_page(study_folder: str | Path, rater: str) -> RatingPage:
    """The page of one rater, at the first question without an answer. Show it as a cell's last expression.

    Raises UserError where the folder holds no study or was changed, the name has no letter, or the rater's answers were
    given in another study; whatever goes wrong later stands on the page as text.
    """
    return RatingPage(Study.open(study_folder), rater)


class RatingPage(widgets.VBox):
    """Made by :func:`rating_page`. ``box`` takes the answers; ``back`` and ``onward`` are buttons for the mouse."""

    def __init__(self, study: Study, rater: str):
        self.study, self.rater, self.plan = study, rater, study.plan(rater)
        self.answers, notes = study.answers(rater)
        self.progress, self.scene, self.message = widgets.HTML(), widgets.HTML(), widgets.HTML()
        wide = widgets.Layout(width="24em")
        self.box = widgets.Text(continuous_update=False, layout=wide, style={"description_width": "initial"})
        self.back = widgets.Button(description="Back (-)", tooltip="To the question before, to change its answer")
        self.onward = widgets.Button(description="Go on (+)", tooltip="To the first question without an answer")
        super().__init__([self.progress, self.scene, self.box, self.message, widgets.HBox([self.back, self.onward])])
        self.box.observe(self._typed, "value")
        self.back.on_click(lambda _: self._press(self._step_back))
        self.onward.on_click(lambda _: self._press(self._go_on))
        self.place, self._since = self._first_open(), 0.0
        self._show()
        if notes:
            self._say(" ".join(notes), alert=True)

    @property
    def question(self) -> Question | None:
        """The question on the page; None when all are answered."""
        return self.plan[self.place] if self.place < len(self.plan) else None

    def _first_open(self) -> int:
        return next((i for i, q in enumerate(self.plan) if q.key not in self.answers), len(self.plan))

    def _typed(self, change: dict) -> None:
        """The box has a new value: the browser sends it at Enter, or when the box is left."""
        text = change["new"].strip()
        if not text:
            return
        self.box.value = ""  # first, so that the next answer can be typed while the pictures change
        if text in ("-", "+"):
            (self._step_back if text == "-" else self._go_on)()
        elif self.question is not None:
            self._answer(text)

    def _answer(self, text: str) -> None:
        question = self.question
        try:
            values = question.read(text)
            seconds = round(time.monotonic() - self._since, 1)
            self.study.record(self.rater, question, values, seconds)
            self.answers, _ = self.study.answers(self.rater)  # with those that a second window has saved
        except UserError as error:
            self._say(str(error), alert=True)
            return
        self._go_on()
        self._say(f"Saved: {question.phrase(values)}.")

    def _press(self, move) -> None:
        move()
        self.box.focus()  # after a click on a button, the keyboard goes on where the answers are typed

    def _step_back(self) -> None:
        self.place = max(0, self.place - 1)
        self._show()

    def _go_on(self) -> None:
        self.place = self._first_open()
        self._show()

    def _say(self, text: str, alert: bool = False) -> None:
        self.message.value = f"<p role='{'alert' if alert else 'status'}'>{html.escape(text)}</p>" if text else ""

    def _show(self) -> None:
        """Put the question of this place on the page, and start the clock."""
        question, count = self.question, len(self.plan)
        self.back.disabled, self.onward.disabled = self.place == 0, self.place == self._first_open()
        if question is None:
            self.progress.value = f"<p role='status'>All {count} questions are answered. Thank you!</p>"
            self.scene.value = "<p>Type - to go back and change an answer, or close the page.</p>"
            self.box.description, self.box.placeholder = "Done", "-"
            self._say("")
            return
        self.progress.value = f"<p role='status'>Question {self.place + 1} of {count}</p>"
        try:
            self.scene.value = self._scene(question)
        except BadPicture as error:  # the folder changed while the page was open
            told = html.escape(f"a picture cannot be shown ({error}): restore the study's folder, run the cell again")
            self.scene.value = f"<p role='alert'>{told}</p>"
        self.box.description = LABEL[question.task]
        self.box.placeholder = "letters, best first" if question.task == "rank" else "two digits from 1 to 5"
        before = self.answers.get(question.key)
        self._say(f"Your answer: {question.phrase(before.values)}. A new one replaces it." if before else "")
        self._since = time.monotonic()

    def _scene(self, question: Question) -> str:
        figures = []
        for letter, name in zip(LETTERS, question.shown, strict=False):
            path = self.study.folder / "images" / name
            width = read_rgb(path).image.width
            uri = data_uri(path.read_bytes())
            label = "" if question.task == "rate" else f"<figcaption style='text-align: center'>{letter}</figcaption>"
            alt = "The picture" if question.task == "rate" else f"Picture {letter} of {len(question.shown)}"
            figures.append(
                f"<figure style='margin: 0.5em'><img alt='{alt}' src='{uri}' "
                f"width='{width * max(1, SHOWN_PX // width)}' style='image-rendering: pixelated; max-width: none'>"
                f"{label}</figure>"
            )
        return (
            f"<p><strong>{html.escape(self.study.captions[question.caption])}</strong></p><p>{HOW_TO[question.task]}</p>"
            f"<div style='display: flex; flex-wrap: wrap; overflow: auto'>{''.join(figures)}</div>"
        )
