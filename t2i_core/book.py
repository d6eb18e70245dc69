"""`make book`: the notebooks as they were saved, the README and the code they link to, as a site without network.

Every page stands where its file stands in the repository: notebooks/NAME.html for an .ipynb, t2i_core/alr.py.html for a
text file, t2i_core/systems/index.html for a folder. Formulas become MathML, which browsers draw by themselves.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import jinja2
import nbformat

from t2i_core.config import UserError, atomic_write, project_root

IMAGES = (".png", ".jpg", ".jpeg", ".svg", ".gif")
LINK = re.compile(r'\b(href|src)="([^"]*)"')
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.M)
UNSIZED = re.compile(r"\\[bB]igg?[lr]?(?=\\[lr]?[vV]ert)")  # the MathML converter knows no sized double bar


@dataclass
class Book:
    """A book of the repository at ``root``, built in ``out``. ``waiting`` are the files that still need a page."""

    root: Path
    out: Path
    waiting: list[Path] = field(default_factory=list)
    pages: dict[Path, Path] = field(default_factory=dict)  # file or folder of the repository -> its page

    def build(self) -> Path:
        """Write every page; the first one's path. Raises UserError for a link that leads nowhere."""
        notebooks = sorted((self.root / "notebooks").glob("*.ipynb"))
        if not notebooks:
            raise UserError(f"no notebooks in {self.root / 'notebooks'}; build the book in a checkout of the project")
        self.contents = [(notebook, title(notebook)) for notebook in notebooks]
        for file in (self.root / "README.md", *notebooks):
            self.page_of(file)
        while self.waiting:
            file = self.waiting.pop(0)
            self._write(file)
        return self.pages[self.root / "README.md"]

    def page_of(self, file: Path) -> Path:
        """Where a file's page is; one that has none yet gets its turn."""
        if file not in self.pages:
            where = self.out / file.relative_to(self.root)
            if file == self.root / "README.md":
                where = self.out / "index.html"
            elif file.is_dir():
                where = where / "index.html"
            elif file.suffix == ".ipynb":
                where = where.with_suffix(".html")
            elif file.suffix not in IMAGES:
                where = where.with_name(where.name + ".html")
            self.pages[file] = where
            self.waiting.append(file)
        return self.pages[file]

    def _write(self, file: Path) -> None:
        page = self.pages[file]
        if file.suffix in IMAGES:
            atomic_write(page, file.read_bytes())
            return
        name = str(file.relative_to(self.root))
        if file.is_dir():
            body = f"<h1>{escape(name)}</h1>\n{listing(file)}"
        elif file.suffix == ".ipynb":
            name, body = title(file), notebook_html(file)
        elif file.suffix == ".md":
            body = markdown_html(file.read_text(encoding="utf-8"))
        else:
            body = f"<h1>{escape(name)}</h1>\n{code_html(file)}"
        atomic_write(page, self._framed(file, name, self._linked(file, body)))

    def _linked(self, file: Path, body: str) -> str:
        """Links to files of the repository, as links to their pages; a page's own images are in it already."""
        here = file if file.is_dir() else file.parent

        def replaced(found: re.Match) -> str:
            address = urlsplit(unescape(found[2]))
            if address.scheme or address.netloc or not address.path:
                return found[0]
            target = Path(os.path.normpath(here / unquote(address.path)))
            if not target.exists() or not target.is_relative_to(self.root):
                raise UserError(f"{file.relative_to(self.root)} links to {found[2]}, which is not there")
            fragment = f"#{address.fragment}" if address.fragment else ""
            return f'{found[1]}="{self._from(file, target)}{escape(fragment)}"'

        return LINK.sub(replaced, body)

    def _from(self, file: Path, target: Path) -> str:
        """The address of a file's page, from another's."""
        return quote(os.path.relpath(self.page_of(target), self.pages[file].parent).replace(os.sep, "/"))

    def _framed(self, file: Path, name: str, body: str) -> str:
        """A page with the book's contents beside it."""
        from pygments.formatters import HtmlFormatter

        contents = [(self._from(file, notebook), text, notebook == file) for notebook, text in self.contents]
        template = Path(__file__).with_name("book_page.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        return environment.from_string(template).render(
            title=name,
            body=body,
            contents=contents,
            first=self._from(file, self.root / "README.md"),
            code_style=HtmlFormatter(style="default").get_style_defs(".highlight"),
        )


def title(notebook: Path) -> str:
    """The first heading of a notebook."""
    cells = nbformat.read(notebook, as_version=4).cells
    found = next(filter(None, (HEADING.search(cell.source) for cell in cells if cell.cell_type == "markdown")), None)
    return found[1] if found else notebook.stem


def math_html(tex: str, display: str = "inline") -> str:
    """TeX as MathML; ``display`` is "inline" or "block"."""
    try:
        from latex2mathml.converter import convert
    except ImportError as error:
        raise UserError("the book needs latex2mathml: run `make book`, or `pip install -e '.[book]'`") from error
    return convert(UNSIZED.sub("", tex), display=display)


@cache
def _renderer():
    """nbconvert's renderer of Markdown, with MathML, and with JupyterLab's anchors at headings."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer

    class Renderer(IPythonRenderer):
        def inline_math(self, body: str) -> str:
            return math_html(body)

        def block_math(self, body: str) -> str:
            return math_html(body, "block")

        def heading(self, text: str, level: int, **attributes) -> str:
            plain = unescape(re.sub(r"<[^>]*>", "", text))
            return f'<h{level} id="{escape(plain.replace(" ", "-"))}">{text}</h{level}>\n'

    return Renderer(escape=False)


def markdown_html(source: str) -> str:
    """Markdown with formulas, as HTML."""
    from nbconvert.filters.markdown_mistune import MarkdownWithMath

    return MarkdownWithMath(renderer=_renderer()).render(source)


def notebook_html(path: Path) -> str:
    """A notebook's cells and saved outputs, as HTML; nothing is executed."""
    notebook, heading = nbformat.read(path, as_version=4), ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (HEADING.findall(cell.source) or [heading])[-1]
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.metadata["image/png"] = {"alt": f"Figure: {heading}"}
    return _exporter().from_notebook_node(notebook)[0]


@cache
def _exporter():
    """nbconvert's exporter to HTML; to make one takes longer than to use it."""
    from nbconvert.exporters import HTMLExporter

    exporter = HTMLExporter(template_name="basic")
    exporter.register_filter("markdown2html", markdown_html)
    return exporter


def code_html(path: Path) -> str:
    """A text file with its syntax coloured, as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_for_filename
    from pygments.lexers.special import TextLexer
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight(path.read_text(encoding="utf-8"), lexer, HtmlFormatter())


def listing(folder: Path) -> str:
    """The modules of a folder, with the first line of what each says of itself."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        opening = re.match(r'\s*"""(.*)', path.read_text(encoding="utf-8"))
        says = opening[1].removesuffix('"""') if opening else ""
        rows.append(f'<li><a href="{quote(path.name)}"><code>{escape(path.name)}</code></a> {escape(says)}</li>')
    return "<ul>\n" + "\n".join(rows) + "\n</ul>"


def main(arguments: list[str] | None = None) -> int:
    """Build the book of this checkout; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m t2i_core.book", description="The notebooks as a static site.")
    parser.add_argument("--out", type=Path, default=Path("build/book"), help="folder to write (default: %(default)s)")
    out = parser.parse_args(arguments).out.absolute()
    try:
        first = Book(project_root(), out).build()
    except UserError as error:
        print(f"book: {error}", file=sys.stderr)
        return 2
    print(f"open {first} in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
