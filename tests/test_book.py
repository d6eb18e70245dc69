"""`make book`: every notebook is in it, links and images resolve, formulas are MathML, nothing asks the network."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from notebooks_at_smoke import NAMES, ROOT, cells

from t2i_core import book
from t2i_core.book import Book, markdown_html, math_html, notebook_html
from t2i_core.config import UserError

RESOURCES = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "audio": "src"}


class Page(HTMLParser):
    """What a page links to, what it loads, its anchors and its formulas."""

    def __init__(self, path: Path):
        super().__init__()
        self.links, self.loads, self.anchors, self.math = [], [], set(), []
        self.inside: str | None = None
        self.images_without_words = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values["id"]} if "id" in values else set()
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in RESOURCES and values.get(RESOURCES[tag]):
            self.loads.append(values[RESOURCES[tag]])
        self.images_without_words += tag == "img" and not values.get("alt")
        if tag == "math":
            self.math.append("")
            self.inside = "math"

    def handle_endtag(self, tag):
        self.inside = None if tag == "math" else self.inside

    def handle_data(self, data):
        if self.inside:
            self.math[-1] += data


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[Path, Page]:
    """The book of this checkout: path -> page."""
    out = tmp_path_factory.mktemp("book")
    assert Book(ROOT, out).build() == out / "index.html"
    return {path: Page(path) for path in out.rglob("*.html")}


def test_every_notebook_has_a_page_that_every_page_leads_to(pages):
    (out,) = {path.parent for path in pages if path.name == "index.html" and (path.parent / "notebooks").is_dir()}
    wanted = {out / "notebooks" / f"{name}.html" for name in NAMES}
    assert wanted <= set(pages)
    for path, page in pages.items():
        reached = {Path(os.path.normpath(path.parent / unquote(urlsplit(link).path))) for link in page.links}
        assert wanted <= reached, path


def test_every_link_inside_the_book_leads_to_a_page_and_its_anchor(pages):
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if address.scheme in ("http", "https"):
                continue
            assert not address.scheme and not address.path.endswith(".ipynb"), link
            target = Path(os.path.normpath(path.parent / unquote(address.path))) if address.path else path
            assert target in pages, f"{path.name}: {link}"
            if address.fragment and target.parent.name == "notebooks":
                assert unquote(address.fragment) in pages[target].anchors, f"{path.name}: {link}"


def test_nothing_is_loaded_from_elsewhere(pages):
    for path, page in pages.items():
        for address in page.loads:
            if not address.startswith("data:image/"):  # then it is a file of the book
                assert not urlsplit(address).scheme and (path.parent / unquote(address)).is_file(), (path, address)
        assert not re.search(r"@import|url\((?!['\"]?data:)", path.read_text(encoding="utf-8").split("</style>")[0])


def test_figures_are_there_and_have_words(pages):
    shown = {path.stem: page for path, page in pages.items() if path.parent.name == "notebooks"}
    for name in NAMES:
        outputs = [
            o for c in nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4).cells for o in c.get("outputs", [])
        ]
        assert len(shown[name].loads) >= sum("image/png" in output.get("data", {}) for output in outputs)
        assert shown[name].images_without_words == 0


def test_formulas_are_mathml(pages):
    shown = {path.stem: page for path, page in pages.items() if path.parent.name == "notebooks"}
    for name in NAMES:
        prose = re.sub(r"```.*?```|`[^`]*`", "", "\n\n".join(cells(name, "markdown")), flags=re.S)
        assert len(shown[name].math) >= prose.count("$$") // 2
        for formula in shown[name].math:
            assert "\\" not in formula, f"{name}: a command that the converter does not know: {formula}"
    assert len(shown["04_alr_weights"].math) > 20


# ---------------------------------------------------------------- parts


def test_a_formula_keeps_its_parts():
    inline, block = math_html(r"\frac{a}{b} < 1"), math_html(r"x", "block")
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in inline and 'display="inline"' in inline
    assert 'display="block"' in block and "<1" not in inline.replace(" ", "")
    assert "\\" not in re.sub(r"<[^>]*>", "", math_html(r"\big\lVert x \big\rVert"))


def test_a_heading_has_jupyterlabs_anchor():
    assert 'id="2.-The-`cell`,-gate-by-gate"'.replace("`", "") in markdown_html("## 2. The `cell`, gate by gate")
    assert 'id="A-&amp;-B"' in markdown_html("## A & B")


def test_a_notebook_that_never_ran_is_shown_too_and_no_formula_is_made_of_code(tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_markdown_cell("# T\n\n`$x$` and $y$"), nbformat.v4.new_code_cell("'$z$ <b>'")]
    nbformat.write(notebook, tmp_path / "n.ipynb")
    body = notebook_html(tmp_path / "n.ipynb")
    assert body.count("<math") == 1 and "<code>$x$</code>" in body and "$z$ &lt;b&gt;" in body


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A project of one notebook that links to a module, to a folder and to another site."""
    root = tmp_path / "project"
    (root / "notebooks").mkdir(parents=True)
    (root / "package" / "part").mkdir(parents=True)
    (root / "README.md").write_text("# Title\n\n[first](notebooks/a.ipynb)\n")
    (root / "package" / "part" / "module.py").write_text('"""Says what <it> is."""\n')
    text = "# A\n\n[m](../package/part/module.py) [f](../package/part) [w](https://example.org/x.ipynb) [h](#A)"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]), root / "notebooks" / "a.ipynb"
    )
    return root


def test_links_to_code_lead_to_copies_and_others_stay(checkout, tmp_path):
    Book(checkout, tmp_path / "out").build()
    links = Page(tmp_path / "out" / "notebooks" / "a.html").links
    wanted = ["../package/part/module.py.html", "../package/part/index.html", "https://example.org/x.ipynb", "#A"]
    assert links[-4:] == wanted
    listed = (tmp_path / "out" / "package" / "part" / "index.html").read_text()
    assert 'href="module.py.html"' in listed and "Says what &lt;it&gt; is." in listed
    assert "Says what &lt;it&gt; is." in (tmp_path / "out" / "package" / "part" / "module.py.html").read_text()


@pytest.mark.parametrize("link", ["gone.ipynb", "../package/gone.py", "../../outside.txt"])
def test_a_link_that_leads_nowhere_is_named(checkout, tmp_path, link):
    (checkout.parent / "outside.txt").write_text("not ours")
    (checkout / "README.md").write_text(f"# Title\n\n[x](notebooks/{link})\n")
    with pytest.raises(UserError, match=re.escape(f"README.md links to notebooks/{link}")):
        Book(checkout, tmp_path / "out").build()


def test_the_command_says_what_to_open_or_what_is_wrong(checkout, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(book, "project_root", lambda: checkout)
    assert book.main(["--out", str(tmp_path / "out")]) == 0
    assert str(tmp_path / "out" / "index.html") in capsys.readouterr().out
    (checkout / "notebooks" / "a.ipynb").unlink()
    assert book.main(["--out", str(tmp_path / "out")]) == 2
    assert "no notebooks" in capsys.readouterr().err
