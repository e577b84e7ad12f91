"""What a page must not have under the content security policy ``default-src 'self'``."""

from __future__ import annotations

from html.parser import HTMLParser

DATA = "application/json"


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.complaints: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        where = f"<{tag}> at line {self.getpos()[0]}"
        if tag == "style":
            self.complaints.append(f"{where}: a style sheet inside the page")
        if tag == "script" and "src" not in found and found.get("type") != DATA:
            self.complaints.append(f"{where}: a script inside the page")
        for name, value in found.items():
            if name == "style" or name.startswith("on"):
                self.complaints.append(f"{where}: the attribute {name}")
            if name in ("href", "src", "action", "formaction") and not _is_own(value or ""):
                self.complaints.append(f"{where}: {name}={value}")


def _is_own(address: str) -> bool:
    return "://" not in address and not address.startswith(("//", "javascript:", "data:"))


def complaints(page: str) -> list[str]:
    """Return what is against the policy in a page."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.complaints
