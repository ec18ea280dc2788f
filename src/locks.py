"""Lock files: what one process writes, no other process may write."""

import errno
import os
import socket
import stat
import time
from contextlib import suppress
from pathlib import Path

from src import InputError

try:
    import fcntl

    LOCKS = True
except ImportError:  # Windows: two processes on one run directory are not told apart there
    LOCKS = False

HELD = []  # this process's locks
HOLDER = "process "  # what a lock file begins with
PATIENCE = 5.0  # seconds that a lock is waited for: a process that was just ended needs a moment to be gone


class Lock:
    """A lock file that one process holds: the next one is refused, and told who has it.

    The system lets go of it when the process ends, however that happens, so a dead one's lock does not hold.

    Args:
        path: of the lock file. what: words for what it guards. patience: seconds to wait for another process.

    Raises:
        InputError: another process has it, or something else has its name.
    """

    def __init__(self, path, what, patience=PATIENCE):
        self.path, self.file = Path(path), None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for ours in [lock for lock in HELD if lock.path == self.path]:  # this process was given up and tries again
            ours.release()
        if not LOCKS:
            return
        until = time.monotonic() + patience
        while not self._try():
            if time.monotonic() > until:
                raise InputError(f"{what} is in use by {self._holder()}; wait for it, or end it")
            time.sleep(0.1)

    def _holder(self):
        with suppress(OSError):
            return self.path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
        return "another process"

    def _try(self):
        """Whether the lock is ours now, or the disk has no locks."""
        in_the_way = InputError(f"{self.path} is in the way of a lock; move it")
        try:  # a link would lead elsewhere, and opening a pipe would wait
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise in_the_way from None
            raise
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise in_the_way
        file = os.fdopen(handle, "r+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_ino != os.stat(self.path).st_ino:
                raise FileNotFoundError(errno.ENOENT, "whoever had it has removed it since: a file without a name")
        except OSError as error:
            file.close()
            return error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.ENOENT)
        if file.read(len(HOLDER)).strip("\0") not in ("", HOLDER):  # a power cut may leave zeros
            file.close()
            raise in_the_way
        file.seek(0)
        file.truncate(0)
        file.write(f"{HOLDER}{os.getpid()} on {socket.gethostname()}")
        file.flush()
        self.file = file
        HELD.append(self)
        return True

    def release(self):
        """Remove the lock file and let go of it."""
        if self.file is not None:
            with suppress(OSError):  # the disk has become read-only, or is gone
                self.path.unlink()
            self.file.close()
            self.file = None
            HELD.remove(self)


def release_all():
    """Let go of all locks of this process."""
    for lock in list(HELD):
        lock.release()
