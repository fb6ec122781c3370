import sys

import pytest

from kompakt_codec.allocator import keep_large_blocks


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's own setting")
def test_glibc_takes_the_setting():
    assert keep_large_blocks()
