"""The files of a text of any size: found, proven to be text, and read piece by piece."""
import codecs
import hashlib
import os
import re
from pathlib import Path

SUFFIXES = (".txt", ".md")
PIECE = 2**20      # bytes of a text that are read at once

# GPT-2's tokenizer never merges across such a place: a space or line end after something else, or a
# mark after a letter or digit. So the tokens are those of the whole text.
CUT = re.compile(r".*(?:\S(?=[ \r\n])|[^\W_](?=[.,;:!?，。、；：！？]))", re.DOTALL)


def find_texts(path: str | Path) -> list[Path]:
    """A text file itself; of a folder its .txt and .md files and those of its subfolders, sorted, none that is hidden or empty.

    Raises FileNotFoundError or ValueError when there is none, OSError when a subfolder cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no text at {path} (looked from {Path.cwd()}): check the name and the folder")
    found = [path]
    if path.is_dir():
        inside = [Path(folder, name) for folder, _, names in os.walk(path, onerror=_refuse) for name in names]
        found = [file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file()
                 and not any(part.startswith(".") for part in file.relative_to(path).parts)]
    found = [file for file in found if file.stat().st_size]
    if not found:
        raise ValueError(f"there is no text in {path}: need a UTF-8 file that is not empty, or a folder with some "
                         f"({' or '.join(SUFFIXES)})")
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def _refuse(error: OSError) -> None:
    """A subfolder that cannot be read is not left out in silence."""
    raise error


def read_piece(path: Path, start: int) -> tuple[str, int]:
    """The text of a file from byte `start` on, as far as it is read at once and may be cut, and the byte after it.

    Line ends become "\\n", as in `load_text`. A megabyte with no place to cut is cut at its end, which may cost a token.
    """
    with open(path, "rb") as file:
        file.seek(start)
        raw, ended = file.read(PIECE), not file.read(1)
    if not raw:
        raise OSError(f"{path} became shorter while it was read: run this again when nobody writes to it")
    text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=ended)
    if not ended:
        found = CUT.match(text)
        text = found.group() if found else text.removesuffix("\r")
    end = start + len(text.encode())
    text = text if start else text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n"), end


def digest_of_text(path: Path) -> str:
    """The sha256 of a file that is UTF-8 text, whatever its size. Raises ValueError where it is not, and says where."""
    digest, decoder, at, raw = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0, b"first"
    with open(path, "rb") as file:
        while raw:
            raw = file.read(PIECE)
            digest.update(raw)
            at -= len(decoder.getstate()[0])      # a character may have begun in the piece before
            try:
                text = decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise ValueError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset {at + error.start:,} "
                                 "fits no character; save the file as UTF-8 and encode it again") from None
            if "\0" in text:
                raise ValueError(f"{path} has NUL characters, as UTF-16 and binary files do: save it as UTF-8 text and encode it "
                                 "again")
            at = file.tell()
    return digest.hexdigest()
