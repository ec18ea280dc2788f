"""Which photos are held out where nobody says so."""

import hashlib
import os

TEST_EVERY = 5  # photos, one of them for testing


def split_of(name):
    """ "trainval" or "test" by a hash of the photo's name alone, so that a new photo moves no other."""
    return "test" if int(hashlib.sha256(os.fsencode(name)).hexdigest(), 16) % TEST_EVERY == 0 else "trainval"
