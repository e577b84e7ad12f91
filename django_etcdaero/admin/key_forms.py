"""Forms for the values of keys: as text, or in hexadecimal."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_etcdaero.exceptions import InvalidRequest
from django_etcdaero.inspection.key_text import key_bytes, key_text

MOST_TEXT = 1_000_000
"""Bytes of a value that can be edited as text. Django takes forms of 2.5 MB by default."""
MOST_HEX = 500_000
"""Bytes of a value that can be edited in hexadecimal."""


def initial_value(value: bytes) -> dict[str, str] | None:
    """Return how a form shows a value so that it comes back as it is; ``None``: it is too large for one.

    A browser sends each end of a line as CR and LF, so a value with a CR cannot be text.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = None
    if text is not None and "\r" not in text and "\0" not in text:
        return {"form": "text", "value": text} if len(value) <= MOST_TEXT else None
    return {"form": "hex", "value": value.hex(" ", 1)} if len(value) <= MOST_HEX else None


class SeenForm(forms.Form):
    """A comment, and what the visitor had seen."""

    required_css_class = "required"
    comment = forms.CharField(
        label=_("Comment"),
        max_length=1000,
        required=False,
        help_text=_("Kept in the history of the key in the admin."),
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    seen = forms.IntegerField(label=_("Seen"), min_value=0, widget=forms.HiddenInput)


class ValueForm(SeenForm):
    """A value, and how it is written."""

    form = forms.ChoiceField(
        label=_("Written as"), choices=[("text", _("Text (UTF-8)")), ("hex", _("Hexadecimal digits"))]
    )
    value = forms.CharField(
        label=_("Value"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false", "autocomplete": "off", "dir": "auto"}),
    )
    field_order = ("key", "form", "value", "comment", "seen")

    def clean(self) -> dict[str, Any]:
        """Add the ``bytes`` that were meant."""
        data = super().clean() or {}
        text = data.get("value", "").replace("\r\n", "\n")
        if data.get("form") == "hex":
            try:
                data["bytes"] = bytes.fromhex(text)
            except ValueError:
                self.add_error("value", gettext("These are no pairs of hexadecimal digits."))
        else:
            data["bytes"] = text.encode(errors="surrogatepass")
        return data


class NewKeyForm(ValueForm):
    """A key as well."""

    key = forms.CharField(
        label=_("Key"),
        strip=False,
        max_length=4096,
        help_text=_("A byte that cannot be typed is written \\x41, a backslash \\\\."),
        widget=forms.TextInput(attrs={"size": 60, "spellcheck": "false", "autocomplete": "off"}),
    )

    def clean_key(self) -> str:
        """Refuse what is no key."""
        try:
            return key_text(key_bytes(self.cleaned_data["key"]))
        except InvalidRequest as error:
            raise forms.ValidationError(str(error)) from error
