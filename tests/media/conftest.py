from collections.abc import AsyncIterator, Iterator

import pytest

from tests.rtc import Server, a_server
from voxgender.analysis import Analyzer


@pytest.fixture(scope="session")
def analyzer() -> Iterator[Analyzer]:
    """Hears speech and silence; no gender is asked for where connections are tested."""
    analyzer = Analyzer(None)
    yield analyzer
    analyzer.close()


@pytest.fixture
async def server(analyzer: Analyzer) -> AsyncIterator[Server]:
    async with a_server(analyzer) as server:
        yield server
