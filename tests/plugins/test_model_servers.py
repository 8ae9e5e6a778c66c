"""GPUs and queues, as dcgm-exporter and vLLM write them, read from a real HTTP server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cachecore.errors import ConfigError
from rag_cache import exposition, model_servers

GPU = """# HELP DCGM_FI_DEV_GPU_UTIL GPU utilization (in %).
# TYPE DCGM_FI_DEV_GPU_UTIL gauge
DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",modelName="NVIDIA L4",hostname="h1"} 87
DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-2",modelName="NVIDIA L4",Hostname="h1"} 0
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-1",modelName="NVIDIA L4",hostname="h1"} 20000
"""
VLLM = """# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="qwen"} 12.0
vllm:num_requests_running{engine="0",model_name="qwen"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="qwen"} 0.93
vllm:gpu_cache_usage_perc{engine="0",model_name="qwen"} 0.5
vllm:prompt_tokens_total{engine="0",model_name="qwen"} 1.0
"""


@contextmanager
def serving(body: str, status: int = 200, location: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def told(gpu: str = "", vllm: str = "") -> dict[str, list[tuple[list[str], float]]]:
    found = model_servers.gauges(model_servers.read(gpu, vllm))
    return {
        gauge.name: [(list(labels), value) for labels, value in gauge.values.items()]
        for gauge in found
    }


def test_gpus_and_queues_are_read_with_their_own_labels_only() -> None:
    with serving(GPU) as gpu, serving(VLLM) as vllm:
        found = told(gpu, vllm)
    host, other = gpu.split("/")[2], vllm.split("/")[2]
    assert found["gpu_utilization_ratio"] == [
        ([host, "0", "h1", "NVIDIA L4"], 0.87),
        ([host, "1", "h1", "NVIDIA L4"], 0.0),
    ]
    assert found["vllm_requests_waiting"] == [([other, "qwen", "0"], 12.0)]
    assert found["vllm_kv_cache_usage_ratio"] == [([other, "qwen", "0"], 0.93)]
    assert set(found) == {
        *("model_server_up", "gpu_utilization_ratio", "vllm_kv_cache_usage_ratio"),
        *("vllm_requests_waiting", "vllm_requests_running"),
    }


@pytest.mark.parametrize(
    "answer",
    [
        {"body": "no metrics at all {"},
        {"body": GPU, "status": 500},
        {"body": "", "status": 302, "location": "http://127.0.0.1:9/metrics"},
        {"body": "x" * (5 * 1024 * 1024)},
    ],
)
def test_what_can_not_be_read_is_absent_and_not_zero(answer: dict) -> None:
    with serving(**answer) as address:
        found = told(gpu=address)
    assert set(found) == {"model_server_up"}


def test_one_that_is_gone_costs_the_others_nothing() -> None:
    with serving(VLLM) as address:
        found = told(vllm=f"http://127.0.0.1:9/metrics, {address}")
    assert [value for _, value in found["model_server_up"]] == [0.0, 1.0]
    assert found["vllm_requests_waiting"][0][1] == 12.0


@pytest.mark.parametrize(
    "text",
    ["gpu-host:9400", "ftp://h/m", "http://u:secret@h/m", ",".join(["http://h"] * 9)],
)
def test_an_address_that_is_none_is_one_sentence_naming_its_field(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"GPU Metrics URL \(gpu_metrics_url\)"
    ) as said:
        model_servers.read(text, "")
    assert "secret" not in str(said.value)


def test_they_stand_among_the_metrics() -> None:
    with serving(GPU) as gpu:
        form = {"cache_secret": "a long secret of mine", "gpu_metrics_url": gpu}
        text = exposition.text(form).decode()
    assert 'answer_cache_gpu_utilization_ratio{gpu="0",gpu_model="NVIDIA L4"' in text
