"""Archives: the parts of ZIP-based formats and their XML, read within bounds.

A small archive can unpack to any size (a ZIP bomb), and a small XML file can expand to any size by entities. Here a
part is unpacked only up to a limit, and entities are not expanded.
"""

import io
import lzma
import posixpath
import struct
import zipfile
import zlib
from typing import Any

from indexing.errors import InputError

MOST_PART_BYTES = 32 * 1024 * 1024
"""Maximum size of one unpacked part."""
MOST_BYTES = 256 * 1024 * 1024
"""Maximum size of all unpacked parts of a file that are read."""
MOST_DIRECTORY_BYTES = 8 * 1024 * 1024
"""Maximum size of an archive's table of contents."""
# `zipfile` raises RuntimeError for a part that needs a password, and its subclass NotImplementedError for a version, or
# a method of compression or encryption, that it does not know; ValueError and struct.error for the place of a part.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
)
_END, _END_64, _END_LENGTH = b"PK\x05\x06", b"PK\x06\x07", 22


class Archive:
    """A ZIP archive in memory; raises an `InputError` for one that is damaged, encrypted or too large unpacked."""

    def __init__(self, data: bytes) -> None:
        _check_directory(data)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except _DAMAGE as error:
            raise InputError(f"is a damaged ZIP archive: {error}") from None
        self._names = set(self._zip.namelist())
        self._read = 0

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str) -> bytes:
        """Unpack one part; one that is missing is empty."""
        if name not in self._names:
            return b""
        if self._zip.getinfo(name).flag_bits & 1:
            raise InputError("is encrypted: remove the password")
        try:
            with self._zip.open(name) as part:
                data = part.read(MOST_PART_BYTES + 1)
        except _DAMAGE as error:
            raise InputError(f"is damaged at its part {name}: {error}") from None
        self._read += len(data)
        if len(data) > MOST_PART_BYTES or self._read > MOST_BYTES:
            raise InputError(
                f"unpacks to more than {(MOST_PART_BYTES if len(data) > MOST_PART_BYTES else MOST_BYTES) >> 20} MiB "
                f"at its part {name}: split the file"
            )
        return data

    def xml(self, name: str) -> Any:
        """Return the root element of an XML part, or None if the part is missing or empty."""
        data = self.read(name)
        return xml(data, name) if data else None

    def related(self, name: str) -> dict[str, tuple[str, str]]:
        """Return the relationships of an Office part: by id its kind (the last word of its type) and its target."""
        folder, file = posixpath.split(name)
        root = self.xml(f"{folder}/_rels/{file}.rels")
        found = {}
        for link in () if root is None else root:
            if isinstance(link.tag, str) and link.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, link.get("Target", ""))).lstrip("/")
                found[link.get("Id", "")] = (link.get("Type", "").rpartition("/")[2], target)
        return found


def xml(data: bytes, name: str) -> Any:
    """Parse XML without expanding entities or loading anything; raise an `InputError` if it is malformed."""
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise InputError(f"is damaged: {name} is not XML ({error})") from None
    return root


def local(element: Any) -> str:
    """Return the name of an element without its namespace; empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """Return an attribute by its name without namespace; empty if there is none."""
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _check_directory(data: bytes) -> None:
    """Check the size of the table of contents, which `zipfile` loads as a whole."""
    end = data.rfind(_END, max(0, len(data) - _END_LENGTH - (1 << 16)))
    if end < 0 or end + _END_LENGTH > len(data):
        raise InputError("is a damaged or cut-off ZIP archive: it has no end record")
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    if size > MOST_DIRECTORY_BYTES or data[max(0, end - 20) :].startswith(_END_64):
        raise InputError("is an archive of too many parts")
