"""The caption explorer: controls of plain ipywidgets around one board of HTML, drawn in a thread of its own."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import ipywidgets as widgets

from t2i_core.captions import Vocabulary
from t2i_core.clip_tokens import BytePairs
from t2i_core.config import UserError
from t2i_core.explore.drawing import Source
from t2i_core.explore.latest import Latest
from t2i_core.explore.page import STYLE, alert
from t2i_core.explore.sources import Shelf, find
from t2i_core.explore.views import CHANGE, NO_WORD, PICTURES, VIEWS, WALK, Asked, pages
from t2i_core.explore.words import EXAMPLES, completions, labels, one_word_changed
from t2i_core.metrics.weights import load_inspector

MOST = 2**31 - 1  # the largest seed that a field takes
AT_FIRST = 3  # systems that are chosen when the explorer opens, those of the lowest FID
ABOUT_TRUNCATION = (
    "scales all noise of a picture: z, and the epsilon by which the sentence is varied; 1 as in training, 0 none"
)


ABOUT_VIEWS = ("what each system draws", "two captions, one noise", "pictures on the way to another caption or seed")


class CaptionExplorer(widgets.VBox):
    """See :func:`caption_explorer`. Every control is an attribute; ``wait()`` returns when the board is whole."""

    def __init__(
        self,
        given: Mapping[str, Source] | None,
        world: str,
        run_dir: str | Path | None,
        caption: str | None,
        seed: int,
    ):
        self._given, self._run_dir = given, run_dir
        self._quiet = False  # while one change sets several controls, the board is drawn once
        self._latest = Latest(self._work, self._show, self._fail)
        self._make_controls(world, seed)
        super().__init__(self._arranged())
        self._open_world(caption)
        self._observe()
        self._submit()

    # ------------------------------------------------------------------------------------------------ controls

    def _make_controls(self, world: str, seed: int) -> None:
        wide, narrow = {"description_width": "initial"}, widgets.Layout(width="auto")
        worlds = tuple(EXAMPLES) if self._given is None else (world,)
        if world not in worlds:
            worlds = (*worlds, world)
        self.world = widgets.Dropdown(options=worlds, value=world, description="World", layout={"width": "200px"})
        self.examples = widgets.Dropdown(description="Examples", layout={"flex": "1 1 300px"})
        self.caption = widgets.Combobox(
            description="Caption", placeholder="a small red house on the left in the snow",
            continuous_update=True, ensure_option=False, layout={"width": "99%"},
            tooltip="what to draw; words that the systems do not know are marked below",
        )  # fmt: skip
        self.systems: dict[str, widgets.Checkbox] = {}
        self.systems_box = widgets.HBox(layout={"flex_flow": "row wrap", "margin": "0 0 0 90px"})
        self.missing = widgets.HTML(layout={"margin": "0 0 0 90px"})
        self.seed = widgets.BoundedIntText(value=seed, min=0, max=MOST, description="Seed", layout={"width": "170px"})
        self.next = widgets.Button(description="Next", tooltip="next seed: another picture", layout={"width": "60px"})
        self.keep = widgets.Checkbox(
            value=True, description="keep seed", indent=False, layout=narrow, style=wide,
            tooltip="on: another caption is drawn with the same noise; off: with the next seed",
        )  # fmt: skip
        self.truncation = widgets.FloatSlider(
            value=1.0, min=0.0, max=1.0, step=0.05, description="Truncation", continuous_update=False,
            readout_format=".2f", tooltip=ABOUT_TRUNCATION, layout={"width": "300px"},
        )  # fmt: skip
        self.view = widgets.ToggleButtons(options=VIEWS, tooltips=ABOUT_VIEWS, style={"button_width": "150px"})
        self.word = widgets.ToggleButtons(
            options=[("no word", NO_WORD)], tooltips=["no map"], style={"button_width": "auto"}
        )
        self.other = widgets.Combobox(
            description="Changed to", continuous_update=True, ensure_option=False, layout={"width": "99%"}
        )
        self.other_seed = widgets.BoundedIntText(
            value=seed + 1, min=0, max=MOST, description="to seed", layout={"width": "170px"}
        )
        self.board = widgets.HTML(layout={"min_height": "170px", "overflow": "auto"})

    def _arranged(self) -> list[widgets.Widget]:
        def labelled(text: str, control: widgets.Widget) -> widgets.HBox:
            label = widgets.Label(text, layout={"width": "80px", "justify_content": "flex-end", "margin": "2px 4px"})
            return widgets.HBox([label, control])

        self.words_row = labelled("Word", self.word)
        return [
            widgets.HBox([self.world, self.examples]),
            self.caption,
            self.systems_box,
            self.missing,
            widgets.HBox([self.seed, self.next, self.keep, self.truncation]),
            labelled("Show", self.view),
            self.words_row,
            self.other,
            self.other_seed,
            self.board,
        ]

    def _observe(self) -> None:
        self.world.observe(self._on_world, "value")
        self.examples.observe(self._on_example, "value")
        self.caption.observe(self._on_caption, "value")
        self.other.observe(lambda change: self._complete(self.other), "value")
        self.view.observe(self._on_view, "value")
        self.next.on_click(lambda button: setattr(self.seed, "value", self.seed.value + 1))
        for control in (self.seed, self.truncation, self.view, self.word, self.other, self.other_seed):
            control.observe(self._submit, "value")

    # ------------------------------------------------------------------------------------------------ reactions

    def _open_world(self, caption: str | None) -> None:
        """Set everything that hangs on the world: systems, examples, caption."""
        world = self.world.value
        self.shelf: Shelf = find(world, self._run_dir, self._given)
        self._inspector = load_inspector(world)
        ideas = EXAMPLES.get(world, ())
        best = sorted(self.shelf.sources, key=self.shelf.distance)[:AT_FIRST]
        self.systems = {name: self._checkbox(name, name in best) for name in self.shelf.sources}
        self.systems_box.children = tuple(self.systems.values())
        self.examples.options = [("choose one …", ""), *((idea, idea) for idea in ideas)]
        self.examples.value = ""
        self.other.value = ""
        self.caption.value = ideas[0] if caption is None and ideas else caption or ""
        self._on_view()
        told = "".join(
            f"<li>{html.escape(name)}: <code>{html.escape(how)}</code></li>" for name, how in self.shelf.missing.items()
        )
        count = f"not trained on {html.escape(world)}: {html.escape(', '.join(self.shelf.missing))}; how to train them"
        self.missing.value = (
            f'{STYLE}<details class="t2i-note"><summary>{count}</summary><ul>{told}</ul></details>' if told else ""
        )
        self._name_words()

    def _checkbox(self, name: str, chosen: bool) -> widgets.Checkbox:
        box = widgets.Checkbox(
            value=chosen, description=name, indent=False, tooltip=self.shelf.origins[name],
            layout={"width": "auto", "margin": "0 12px 0 0"}, style={"description_width": "initial"},
        )  # fmt: skip
        box.observe(self._on_systems, "value")
        return box

    def _on_systems(self, change: dict) -> None:
        self._together(self._name_words)

    def _on_world(self, change: dict) -> None:
        self._together(lambda: self._open_world(None))

    def _on_example(self, change: dict) -> None:
        if change["new"]:
            self.caption.value = change["new"]
            self.examples.value = ""  # the same one can be chosen again, after the caption was edited

    def _on_caption(self, change: dict) -> None:
        def react() -> None:
            self._complete(self.caption)
            self._name_words()
            if self.other.value == self._changed(change["old"]):  # nobody has written anything else there
                self.other.value = self._changed(change["new"])
            if not self.keep.value:
                self.seed.value += 1

        self._together(react)

    def _on_view(self, change: dict | None = None) -> None:
        """Only the controls of the view are there; another caption starts as the caption with another colour."""
        view = self.view.value
        self.words_row.layout.display = "" if view == PICTURES else "none"
        self.other.layout.display = "" if view != PICTURES else "none"
        self.other_seed.layout.display = "" if view == WALK else "none"
        self.other.description = "Changed to" if view == CHANGE else "Walk to"
        if view != PICTURES and not self.other.value:
            self.other.value = self._changed(self.caption.value)

    def _together(self, react) -> None:
        """Several controls change as one: the board is asked for once, at the end."""
        if self._quiet:
            react()
            return
        self._quiet = True
        try:
            react()
        finally:
            self._quiet = False
        self._submit()

    def _vocabulary(self) -> Vocabulary | BytePairs | None:
        """The words of the first chosen system; None where none is chosen or it cannot be read."""
        name = next((name for name, box in self.systems.items() if box.value), None)
        try:
            return None if name is None else self.shelf.vocabulary(name)
        except UserError:
            return None  # the board says what is wrong with it

    def _known(self) -> tuple[str, ...]:
        """The words to complete and to change to; none where the systems read byte pairs."""
        return getattr(self._vocabulary(), "words", ())

    def _changed(self, caption: str) -> str:
        return one_word_changed(caption, self._known())

    def _complete(self, box: widgets.Combobox) -> None:
        box.options = completions(box.value, self._known())

    def _name_words(self) -> None:
        vocabulary, named = self._vocabulary(), ()
        if vocabulary is not None and self.caption.value.strip():
            named = labels(vocabulary.tokenize([self.caption.value]))
        options = [("no word", NO_WORD), *((word, k) for k, word in enumerate(named))]
        if options != list(self.word.options):
            chosen = self.word.value
            self.word.tooltips = ["no map", *(f"show where “{word}” acts" for word in named)]
            self.word.options = options
            self.word.value = chosen if chosen in range(len(named)) else NO_WORD

    # ------------------------------------------------------------------------------------------------ the board

    @property
    def asked(self) -> Asked:
        """What the controls say now."""
        return Asked(
            caption=self.caption.value,
            systems=tuple(name for name, box in self.systems.items() if box.value),
            seed=self.seed.value,
            truncation=round(self.truncation.value, 2),  # as it is shown, so that the call draws the same
            view=self.view.value,
            word=self.word.value,
            other=self.other.value,
            other_seed=self.other_seed.value,
        )

    def _submit(self, change: dict | None = None) -> None:
        if not self._quiet:
            self._latest.submit((self.asked, self.shelf, self._inspector))

    def _work(self, job: tuple):
        return pages(*job)

    def _show(self, page: str) -> None:
        self.board.value = page

    def _fail(self, error: Exception) -> None:
        self.board.value = alert(f"{type(error).__name__}: {error}")

    def wait(self, seconds: float | None = 60) -> bool:
        """Until the board shows what the controls say; False where that takes longer."""
        return self._latest.wait(seconds)


def caption_explorer(
    systems: Mapping[str, Source] | None = None,
    world: str = "toy-scenes",
    run_dir: str | Path | None = None,
    caption: str | None = None,
    seed: int = 0,
) -> CaptionExplorer:
    """A widget: type a caption, and see what each system draws, which words act where, and what of it was obeyed.

    ``systems``: {name: System, Run or run folder}, all of one ``world``. Without it, for every world, the shipped
    systems, and in ``run_dir`` finished runs of those that are not shipped; what is nowhere is listed with the command
    that trains it. Two explorers share nothing.
    """
    return CaptionExplorer(systems, world, run_dir, caption, seed)
