"""Files: what is written is whole or not there, what is read is checked, what fails says so in one line."""

import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

from src import InputError, few


@contextmanager
def writing(path, mode="wb", flush=True, **options):
    """A file whose content appears under its path when the block ends well: a reader never sees half of it.

    Args:
        path: its folder is made where it is missing.
        flush: wait until the disk has the content, so that it survives a power cut as well. Without it `flush_all`
            must come before anything that says that the file is there.
        options: of `open`.

    Raises:
        InputError: it cannot be written, and why.
    """
    path = Path(path)
    # Always the same for a name, so that the next try replaces what a kill has left; the name may be too long for more.
    part = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
    try:
        check_is_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open(mode, **options) as file:
            yield file
            if flush:
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
        if flush:
            _flush_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            part.unlink()
        if isinstance(error, OSError):
            raise InputError(f"{path} cannot be written: {reason(error)}") from None
        raise


def check_is_file(path):
    """Raise OSError for a pipe or a device: reading one would wait for whoever writes, and none may be replaced."""
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError("a pipe or a device, no file")


@contextmanager
def appending(path):
    """A text file to add lines to.

    Raises:
        InputError: it cannot be written, and why.
    """
    try:
        with Path(path).open("a", encoding="utf-8", errors="backslashreplace") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be written: {reason(error)}") from None


@contextmanager
def replacing(folder, mark):
    """A folder to write into whose files take the places of those in `folder` when all are written.

    What else lies beside them stays.

    Args:
        folder: Path; made where it is missing. mark: name of a file that is always written; it comes last.

    Raises:
        InputError: the folder holds something, but not from here.
    """
    part = folder / ".part"
    ours = not folder.exists() or (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir())))
    if not ours and not part.is_dir():  # it is there where an earlier call was killed
        raise InputError(f"{folder} is in the way and no export; move it")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        for made in sorted(part.iterdir(), key=lambda path: path.name == mark):
            _replace(folder / made.name, made, part / f"{made.name}.old")
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # nothing was written
            folder.rmdir()


def _replace(target, made, old):
    """Move a file or folder into the place of another, which is moved aside, or back if that fails."""
    try:
        if target.is_dir():
            os.rename(target, old)
        os.replace(made, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise


def empty(folder, first, last, but):
    """Remove what a folder holds, the file `first` before all else, `last` after all else; the file `but` stays."""
    (folder / first).unlink(missing_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == last):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != but:
            path.unlink()


def digest(path):
    """The CRC of a file's bytes as a text: enough to see that it has changed."""
    return f"{zlib.crc32(Path(path).read_bytes()):08x}"


def digest_of(*what):
    """What tells whether values that JSON can hold are the same as before."""
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def resolved(path):
    """An absolute path without links; where they lead in a circle it stays as it is."""
    return Path(os.path.realpath(os.path.expanduser(path)))


def flush_all():
    """Wait until the disk has everything that was written."""
    if hasattr(os, "sync"):
        os.sync()


def _flush_folder(folder):
    """Wait until the disk has the names of a folder's files, where the system allows it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def reserve(path, size):
    """Make a file of `size` bytes whose place on the disk is taken.

    A memory-mapped file that only looks as long ends the process without a word (SIGBUS) when the disk is full.

    Raises:
        InputError: there is no room.
    """
    try:
        with Path(path).open("wb") as file:
            if not (hasattr(os, "posix_fallocate") and size and _allocate(file, size)):
                file.truncate(size)
    except OSError as error:
        with suppress(OSError):
            Path(path).unlink()
        raise InputError(f"{path}, {size / 1e6:.1f} MB, cannot be written: {reason(error)}") from None


def _allocate(file, size):
    """Whether the disk can set room aside."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    return True


PERMISSION = "no permission; change who may read and write there, or give another folder"
WRITING = {
    errno.ENOSPC: "the disk is full; make room, and the same command goes on",
    errno.EDQUOT: "the disk quota is used up; make room, and the same command goes on",
    errno.EROFS: "the disk is read-only; give another --runs-root or --out",
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "its folder is gone",
    errno.ENAMETOOLONG: "its name is too long for this disk",
    errno.ELOOP: "a link that leads to itself",
}
READING = WRITING | {errno.ENOENT: "no such file", errno.EACCES: "no permission to read it"}


def reason(error, words=WRITING):
    """What an OSError means, in words: those of WRITING or of READING."""
    return words.get(error.errno, error.strerror or str(error))


def read_text(path):
    """Text of a UTF-8 file, with or without byte-order mark.

    Raises:
        InputError: it is missing, unreadable or in another encoding.
    """
    try:
        check_is_file(path)
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error, READING)}") from None


def read_json(path, keys=(), advice=""):
    """The dict that a JSON file holds.

    Args:
        keys: that it must have. advice: what the message of a damaged file ends with.

    Raises:
        InputError: it is missing, damaged or something else.
    """
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({str(error)[:80]}){advice}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is damaged (it holds a {type(found).__name__}, not a dict){advice}")
    if missing := [key for key in keys if key not in found]:
        raise InputError(f"{path} is damaged (it lacks {few(missing)}){advice}")
    return found


def read_numbers(path, advice="", columns=None):
    """The rows of a CSV file of numbers as dicts name -> text; errors and `advice` as in `read_json`.

    Args:
        columns: that it must have, and no others; None for any.
    """
    text = read_text(path)
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
        if columns and list(rows[0]) != columns:
            raise ValueError
        if not rows or not all(math.isfinite(float(value)) for row in rows for value in row.values()):
            raise ValueError
    except (IndexError, TypeError, ValueError, csv.Error):
        raise InputError(f"{path} is damaged{advice}") from None
    return rows


def write_lines(path, lines):
    """Write a text file; names in it may hold what no encoding has."""
    with writing(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(lines) + "\n")


def write_json(path, value, **options):
    """Write a value as JSON; see `writing`."""
    with writing(path, "w", encoding="utf-8", **options) as file:
        file.write(json.dumps(value, indent=1, default=str) + "\n")
