import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz", type=int, default=1, help="how many times as much as CI does (1)"
    )


@pytest.fixture
def much(request: pytest.FixtureRequest) -> int:
    factor: int = request.config.getoption("--fuzz")
    return factor
