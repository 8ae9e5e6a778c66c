"""The machine of the figures, without anything that identifies it."""

import os
import platform
from pathlib import Path

import redis
from servers import redis as servers


def machine() -> dict[str, str]:
    """Processor, memory, system, Python and Redis."""
    with servers.redis_url() as url:
        client = redis.Redis.from_url(url)
        version = str(client.info("server")["redis_version"])
        client.close()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{os.cpu_count()} of {_processor()}",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "redis": version,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.machine()
