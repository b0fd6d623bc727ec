"""Mail (.eml): its subject, sender, recipients, date and text, and the texts of its attachments."""

from collections.abc import Callable
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from typing import Any

from indexing.corpora.sources.formats.extracted import Extracted, bounded, one_line
from indexing.corpora.sources.formats.html_page import html
from indexing.corpora.sources.formats.plain import decode
from indexing.errors import InputError

MOST_ATTACHMENTS = 100
"""Maximum number of attachments of a message whose text is read."""
_SHOWN = ("From", "To", "Cc", "Date")


def mail(data: bytes, read: Callable[[bytes, str], Extracted]) -> Extracted:
    """Read a message.

    Parameters
    ----------
    data
        The message as it was sent.
    read
        Reads an attachment by its content and name; one that it refuses is only named.
    """
    try:
        message = message_from_bytes(data, policy=default)
        if not message.keys():
            raise InputError("is not a mail: it has no header")
        return _message(message, read)
    except InputError:
        raise
    # The standard library's parser raises all of these for malformed headers and parts.
    except (MessageError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise InputError(f"is not a readable mail: {error}") from None


def _message(message: EmailMessage, read: Callable[[bytes, str], Extracted]) -> Extracted:
    subject = one_line(str(message["Subject"] or ""))
    lines = [f"{name}: {one_line(str(message[name]), 1000)}" for name in _SHOWN if message[name]]
    body = message.get_body(("plain", "html"))
    parts = ["\n".join(lines)] if lines else []
    if body is not None:
        content = body.get_payload(decode=True) or b""
        data = content if isinstance(content, bytes) else b""
        if body.get_content_subtype() == "html":
            parts.append(html(_as_utf8(data, body)).text)
        else:
            parts.append(decode(_as_utf8(data, body)).strip())
    for number, attached in enumerate(message.iter_attachments() if message.is_multipart() else ()):
        if number == MOST_ATTACHMENTS:
            break
        parts.append(_attachment(attached, read))
    return Extracted(bounded("\n\n".join(part for part in parts if part)), "eml", subject)


def _attachment(part: Any, read: Callable[[bytes, str], Extracted]) -> str:
    name = one_line(part.get_filename() or "")
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        data = inner[0].as_bytes() if isinstance(inner, list) and inner else b""
        name = name or "message.eml"
    else:
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
    heading = f"# Attachment: {name or part.get_content_type()}"
    try:
        text = read(data, name).text.strip() if data else ""
    except InputError:
        text = ""
    return f"{heading}\n\n{text}" if text else heading


def _as_utf8(data: bytes, part: Any) -> bytes:
    """Return text in UTF-8, from the encoding that its header names; unchanged if that is wrong."""
    try:
        return data.decode(part.get_content_charset() or "").encode()
    except (LookupError, UnicodeError):
        return data
