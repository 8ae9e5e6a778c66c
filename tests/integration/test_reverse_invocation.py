"""A tool that calls a model of the workspace: through devhost, to Cached Model and back."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from devhost.failures import PluginError
from devhost.host import Host
from tests.fake_upstream import FakeUpstream, Script

MANIFEST = """
version: 0.0.1
type: plugin
author: tester
name: NAME
label: {en_US: Asker}
description: {en_US: Asks a model}
icon: icon.svg
created_at: "2026-01-01T00:00:00Z"
resource: {memory: 1048576, permission: {tool: {enabled: true}, model: {enabled: true, llm: ALLOWED}}}
plugins: {tools: [provider/asker.yaml]}
meta: {version: 0.0.1, arch: [amd64, arm64], runner: {language: python, version: "3.12", entrypoint: main}}
"""
PROVIDER = """
identity: {author: tester, name: NAME, label: {en_US: Asker}, description: {en_US: Asks}, icon: icon.svg}
tools: [tools/ask.yaml]
extra: {python: {source: provider/asker.py}}
"""
TOOL = """
identity: {author: tester, name: ask, label: {en_US: Ask}}
description: {human: {en_US: Asks}, llm: Asks}
parameters: []
extra: {python: {source: tools/ask.py}}
"""
FILES = {
    "provider/asker.py": """
from dify_plugin import ToolProvider
class Asker(ToolProvider):
    def _validate_credentials(self, credentials): pass
""",
    "tools/ask.py": """
from dify_plugin import Tool
from dify_plugin.entities.model.llm import LLMModelConfig
from dify_plugin.entities.model.message import UserPromptMessage
class Ask(Tool):
    def _invoke(self, tool_parameters):
        config = LLMModelConfig(
            provider="answercache/cached_model/cached_model", model="m", mode="chat",
            completion_params={"temperature": 0.5},
        )
        for chunk in self.session.model.llm.invoke(
            model_config=config, prompt_messages=[UserPromptMessage(content="hi")], stream=True
        ):
            yield self.create_text_message(chunk.delta.message.content)
""",
    "main.py": """
from dify_plugin import DifyPluginEnv, Plugin
plugin = Plugin(DifyPluginEnv(MAX_INVOCATION_TIMEOUT=10))
if __name__ == "__main__": plugin.run()
""",
    "requirements.txt": "dify-plugin>=0.10.2,<0.11\n",
    "_assets/icon.svg": "<svg/>",
    "tools/ask.yaml": TOOL,
}


def asker(tmp_path: Path, name: str, *, allowed: bool) -> Path:
    path = tmp_path / f"{name}.difypkg"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "manifest.yaml",
            MANIFEST.replace("NAME", name).replace("ALLOWED", str(allowed).lower()),
        )
        archive.writestr("provider/asker.yaml", PROVIDER.replace("NAME", name))
        for file, text in FILES.items():
            archive.writestr(file, text)
    return path


def ask(host: Host, name: str) -> str:
    request: dict[str, Any] = {
        "provider": name,
        "tool": "ask",
        "credentials": {},
        "tool_parameters": {},
    }
    chunks = host.plugin(f"tester/{name}").process.invoke(
        "tool", "invoke_tool", request
    )
    return "".join(chunk["message"]["text"] for chunk in chunks)


def test_a_tool_asks_a_model_through_the_host_and_the_cache(
    host: Host, upstream: FakeUpstream, form: dict[str, str], tmp_path: Path
) -> None:
    host.set_model("answercache/cached_model/cached_model", "m", form)
    host.install(asker(tmp_path, "asker", allowed=True))
    assert ask(host, "asker") == ask(host, "asker") == "echo: hi"
    assert upstream.calls == 1
    upstream.script = Script(status=500)
    host.set_model(
        "answercache/cached_model/cached_model", "m", {**form, "cache_ttl": "off"}
    )
    with pytest.raises(PluginError, match="HTTP 500"):
        ask(host, "asker")


def test_a_tool_without_the_permission_gets_a_sentence(
    host: Host, form: dict[str, str], tmp_path: Path
) -> None:
    host.set_model("answercache/cached_model/cached_model", "m", form)
    host.install(asker(tmp_path, "unallowed", allowed=False))
    with pytest.raises(
        PluginError, match="permission denied, you need to enable llm access"
    ):
        ask(host, "unallowed")
