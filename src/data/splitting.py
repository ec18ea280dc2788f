"""Which photos are held out where nobody says so."""

import hashlib
import os

TEST_EVERY = 5  # photos, one of them for testing


def splits_of(names):
    """Dict name -> "trainval" or "test" of photos, by a hash of the name alone, so that a new photo moves no other.

    Few photos may all be hashed to test: then all of them are trainval.
    """
    held_out = {name for name in names if int(hashlib.sha256(os.fsencode(name)).hexdigest(), 16) % TEST_EVERY == 0}
    return {name: "test" if name in held_out and len(held_out) < len(names) else "trainval" for name in names}
