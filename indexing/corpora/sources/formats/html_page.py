"""HTML: the text of a page's main part, without navigation, banners and other boilerplate."""

import re
from typing import Any

from indexing.corpora.sources.formats.extracted import Extracted, bounded, one_line
from indexing.corpora.sources.formats.plain import code_block, decode
from indexing.errors import InputError

MOST_HTML_BYTES = 32 * 1024 * 1024
"""Maximum size of a page."""
_DROPPED = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "head",
        "nav",
        "aside",
        "footer",
        "form",
        "button",
        "select",
        "textarea",
        "svg",
        "canvas",
        "iframe",
        "object",
        "audio",
        "video",
        "dialog",
    ]
)
_DROPPED_ROLES = frozenset(
    ["navigation", "banner", "contentinfo", "search", "complementary", "dialog", "alert", "menu"]
)
_DROPPED_NAMES = frozenset(
    [
        "nav",
        "navbar",
        "navigation",
        "menu",
        "sidebar",
        "footer",
        "breadcrumb",
        "breadcrumbs",
        "cookie",
        "cookies",
        "cookie-banner",
        "cookie-consent",
        "consent",
        "share",
        "social",
        "advert",
        "advertisement",
        "ad",
        "ads",
        "promo",
        "newsletter",
        "related",
        "toc",
        "skip-link",
        "headerlink",
        "sphinxsidebar",
    ]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "ol",
        "p",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "ul",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BREAK, _CELL = "\x1e", "\x1f"
"""Mark the end of a line and of a cell while a block is collected; `decode` leaves no control characters in a text."""
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]+)""", re.IGNORECASE)
_CODE = re.compile(r"(?:language|lang|highlight)-([\w+#]+)")


def html(data: bytes) -> Extracted:
    """Read a page: headings as Markdown, tables as rows of ``a | b``, preformatted text as code blocks."""
    if len(data) > MOST_HTML_BYTES:
        raise InputError(f"is a page of more than {MOST_HTML_BYTES >> 20} MiB: split it")
    root = _parsed(_decoded(data))
    if root is None:
        return Extracted("", "html")
    titles = root.xpath("string(//title[1])"), root.xpath("string(//h1[1])")
    language = (root.get("lang") or root.get("{http://www.w3.org/XML/1998/namespace}lang") or "").strip()[:35]
    text = bounded(_Blocks().read(_main_part(root)))
    return Extracted(text, "html", one_line(next((one for one in titles if one.strip()), "")), language)


def _decoded(data: bytes) -> str:
    declared = _CHARSET.search(data[:4096])
    if declared is not None and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (LookupError, UnicodeDecodeError):
            pass  # pages often declare a wrong encoding, or one that does not exist
    return decode(data)


def _parsed(text: str) -> Any:
    from lxml import etree
    from lxml import html as lxml_html

    # lxml refuses a text with an XML declaration of another encoding.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text)
    if not text.strip():
        return None
    try:
        root = lxml_html.document_fromstring(text, parser=lxml_html.HTMLParser(huge_tree=False, no_network=True))
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return None
    etree.strip_tags(root, etree.Comment, etree.ProcessingInstruction)
    return root


def _main_part(root: Any) -> Any:
    """Return the element with the page's own text: its main part, its only article, or its body."""
    body = next(iter(root.xpath("//body")), root)
    whole = _length(body)
    for path, least in (('//main | //*[@role="main"]', 0.1), ("//article", 0.5)):
        part = max(root.xpath(path), key=_length, default=None)
        if part is not None and _length(part) >= least * whole:
            return part
    return body


def _length(element: Any) -> int:
    return sum(map(len, element.xpath(".//text()[not(parent::script or parent::style)]")))


class _Blocks:
    """Collector of a page's blocks of text."""

    def __init__(self) -> None:
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._prefix = ""
        self._rows = self._preformatted = 0

    def read(self, root: Any) -> str:
        """Return the text below an element."""
        from lxml import etree

        walker = etree.iterwalk(root, events=("start", "end"))
        dropped = None
        for event, element in walker:
            if event == "start":
                if element is not root and _is_boilerplate(element, root):
                    dropped = element
                    walker.skip_subtree()
                    continue
                self._open(element)
                self._line.append(element.text or "")
            else:
                if element is not dropped:
                    self._close(element)
                if element is not root:
                    self._line.append(element.tail or "")
        self._flush()
        return "\n\n".join(self._blocks)

    def _open(self, element: Any) -> None:
        tag = element.tag
        if tag == "br":
            self._line.append("\n" if self._preformatted else _BREAK)
        elif self._rows or self._preformatted:
            self._rows += tag == "tr"
            self._line.append(" " if tag in _BLOCKS and not self._preformatted else "")
        elif tag == "tr":
            self._flush()
            self._rows = 1
        elif tag == "pre":
            self._flush()
            self._preformatted = 1
        elif tag in _HEADINGS:
            self._flush()
            self._prefix = "#" * _HEADINGS[tag] + " "
        elif tag in _BLOCKS:
            self._flush()
            self._prefix = "- " if tag == "li" else self._prefix

    def _close(self, element: Any) -> None:
        tag = element.tag
        if tag in ("td", "th") and self._rows:
            self._line.append(_CELL)
        elif tag == "tr" and self._rows:
            self._rows -= 1
            if not self._rows:
                cells = [" ".join(cell.split()) for cell in "".join(self._line).split(_CELL)]
                self._line = [" | ".join(cells[:-1] if not cells[-1] else cells)]
                self._flush()
        elif self._rows:
            return
        elif tag == "pre" and self._preformatted:
            self._preformatted = 0
            code = "".join(self._line).strip("\n")
            named = _CODE.search(" ".join([element.get("class", ""), *element.xpath("./code/@class")]))
            if code.strip():
                self._blocks.append(code_block(code, named[1] if named else ""))
            self._line = []
        elif not self._preformatted and (tag in _BLOCKS or tag in _HEADINGS):
            self._flush()
            if tag in _HEADINGS or tag == "li":
                self._prefix = ""

    def _flush(self) -> None:
        """End a block."""
        lines = (" ".join(line.split()) for line in "".join(self._line).split(_BREAK))
        heading = self._prefix.startswith("#")
        text = (" " if heading else "\n").join(line for line in lines if line)
        self._line = []
        if text.strip(" |"):
            self._blocks.append(self._prefix + text)
            self._prefix = ""


def _is_boilerplate(element: Any, root: Any) -> bool:
    tag = element.tag
    if tag in _DROPPED or element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if element.get("role") in _DROPPED_ROLES:
        return True
    names = {*element.get("class", "").lower().split(), element.get("id", "").lower()}
    if names & _DROPPED_NAMES:
        return True
    return tag == "header" and root.tag == "body" and not element.xpath(".//h1")
