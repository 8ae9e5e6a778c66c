from collections.abc import Generator
from typing import Any

from dify_plugin import Tool
from dify_plugin.entities import I18nObject, ParameterOption
from dify_plugin.entities.tool import ToolInvokeMessage

from rag_cache import retrieval, shell, work


class CachedRetrieve(Tool):
    def _invoke(
        self, tool_parameters: dict[str, Any]
    ) -> Generator[ToolInvokeMessage, None, None]:
        caller = shell.caller(self)
        reranker = work.reranker(self.session, caller, tool_parameters)
        found = retrieval.retrieve(caller, retrieval.read(tool_parameters, reranker))
        yield from shell.outcome(self, found.outcome)
        yield from shell.variables(
            self,
            result=found.result,
            datasets=found.datasets,
            warning=" ".join(found.warnings),
            query_sent=found.query,
        )
        yield from shell.texts(self, found.text)

    def _fetch_parameter_options(self, _parameter: str) -> list[ParameterOption]:
        return [
            ParameterOption(value=one, label=I18nObject(en_US=name))
            for one, name in retrieval.choices(self.runtime.credentials)
        ]
