"""What the model servers say of themselves, for the side of the cache's own numbers.

GPUs by NVIDIA's dcgm-exporter, queues and KV caches by vLLM. Only the metrics named
here are read, and only their numbers and the labels below go on.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import requests
from prometheus_client.parser import text_string_to_metric_families

from cachecore.errors import ConfigError

logger = logging.getLogger(__name__)

_PATIENCE: Final = (1.0, 2.0)  # seconds to connect, and between two reads
_DEADLINE: Final = 4.0  # seconds for all of it
_MAX_BODY: Final = 4 * 1024 * 1024
_MAX_LINE: Final = 1000
_MAX_ADDRESSES: Final = 8
_CHUNK: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class ModelServers:
    """Where they tell: addresses of /metrics, by who tells there."""

    gpu: tuple[str, ...] = ()
    vllm: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that goes up and down, with the labels' values of each."""

    name: str
    meaning: str
    labels: tuple[str, ...]
    values: dict[tuple[str, ...], float] = field(default_factory=dict)


type _Names = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A metric there, what it is called here, and what of its labels goes on."""

    theirs: str
    name: str
    meaning: str
    labels: _Names
    scale: float = 1.0


# What a label is called here, and there by one version or another.
_GPU: Final[_Names] = {
    "gpu": ("gpu",),
    "host": ("hostname", "Hostname"),
    "gpu_model": ("modelName",),
}
_VLLM: Final[_Names] = {"model": ("model_name",), "engine": ("engine",)}
_BUSY: Final = "Share of the time in which the GPU works."
_KV: Final = "Share of the KV cache in use."
_QUEUE: Final = "Requests that wait for a place."
_WORK: Final = "Requests at work."
_WANTED: Final[Mapping[str, Sequence[_Wanted]]] = {
    "gpu": (
        _Wanted("DCGM_FI_DEV_GPU_UTIL", "gpu_utilization_ratio", _BUSY, _GPU, 0.01),
    ),
    "vllm": (
        # Its name since vLLM 0.10, and the one before.
        _Wanted("vllm:kv_cache_usage_perc", "vllm_kv_cache_usage_ratio", _KV, _VLLM),
        _Wanted("vllm:gpu_cache_usage_perc", "vllm_kv_cache_usage_ratio", _KV, _VLLM),
        _Wanted("vllm:num_requests_waiting", "vllm_requests_waiting", _QUEUE, _VLLM),
        _Wanted("vllm:num_requests_running", "vllm_requests_running", _WORK, _VLLM),
    ),
}


def read(gpu: str, vllm: str) -> ModelServers:
    """The addresses in two fields of a form. Raises ConfigError."""
    return ModelServers(
        _addresses(gpu, "gpu_metrics_url", "GPU Metrics URL"),
        _addresses(vllm, "vllm_metrics_url", "vLLM Metrics URL"),
    )


def _addresses(text: str, name: str, label: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for address in found:
        try:
            parts = urlsplit(address)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname)
            sound = sound and (parts.port or 1) > 0 and not parts.username
        except ValueError:
            sound = False
        if not sound or len(found) > _MAX_ADDRESSES:
            raise ConfigError(
                name,
                f"{label} ({name}) must be at most {_MAX_ADDRESSES} addresses, with commas "
                "between them, as in http://gpu-host:9400/metrics.",
            )
    return found


def gauges(servers: ModelServers) -> list[Gauge]:
    """What they all say now. One that does not answer is not in it, but for ``up``."""
    asked = [("gpu", a) for a in servers.gpu] + [("vllm", a) for a in servers.vllm]
    if not asked:
        return []
    with ThreadPoolExecutor(len(asked)) as hands:
        answers = list(hands.map(_ask, asked))
    up = Gauge("model_server_up", "Whether its metrics could be read.", ("server",))
    found: dict[str, Gauge] = {up.name: up}
    for (_, address), told in zip(asked, answers, strict=True):
        server = _shown(address)
        up.values[(server,)] = float(told is not None)
        for wanted, labels, value in told or ():
            shown = ("server", *wanted.labels)
            gauge = found.setdefault(
                wanted.name, Gauge(wanted.name, wanted.meaning, shown)
            )
            # What differs in labels that don't go on (a slice of a GPU) is one here.
            which = (server, *labels)
            gauge.values[which] = max(value, gauge.values.get(which, value))
    return list(found.values())


def _shown(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.netloc}{parts.path}".removesuffix("/metrics")


type _Told = list[tuple[_Wanted, list[str], float]]


def _ask(who: tuple[str, str]) -> _Told | None:
    kind, address = who
    try:
        return list(_read(_WANTED[kind], _fetch(address)))
    except (requests.RequestException, ValueError) as error:
        logger.info("the metrics of a model server: %s", type(error).__name__)
        return None


def _fetch(address: str) -> str:
    ends = time.monotonic() + _DEADLINE
    with requests.get(
        address, timeout=_PATIENCE, stream=True, allow_redirects=False
    ) as response:
        response.raise_for_status()
        body = b""
        for part in response.iter_content(_CHUNK):
            body += part
            if len(body) > _MAX_BODY or time.monotonic() > ends:
                raise ValueError("too long")
    if response.is_redirect:
        raise ValueError("elsewhere")
    return body.decode("utf-8", "replace")


def _read(
    wanted: Sequence[_Wanted], text: str
) -> Iterator[tuple[_Wanted, list[str], float]]:
    # The whole of it takes long to parse, and all other requests would wait.
    names = "|".join(re.escape(one.theirs) for one in wanted)
    lines = re.findall(rf"^(?:{names})[{{ ].{{0,{_MAX_LINE}}}$", text, re.MULTILINE)
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = defaultdict(list)
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    seen: set[str] = set()
    for one in wanted:
        if one.name in seen or one.theirs not in samples:
            continue
        seen.add(one.name)
        for labels, value in samples[one.theirs]:
            ours = [
                next((labels[name] for name in names if name in labels), "")
                for names in one.labels.values()
            ]
            yield one, ours, value * one.scale
