from typing import Any

from dify_plugin.entities import I18nObject, ParameterOption

from rag_cache import retrieval, shell, work
from rag_cache.caller import Caller


class CachedRetrieve(shell.Tool):
    def run(self, caller: Caller, asked: dict[str, Any]) -> shell.Messages:
        reranker = work.reranker(self.session, caller, asked)
        found = retrieval.retrieve(caller, retrieval.read(asked, reranker))
        yield from self.outcome(found.outcome)
        yield from self.variables(
            result=found.result,
            datasets=found.datasets,
            warning=" ".join(found.warnings),
            query_sent=found.query,
        )
        yield from self.texts(found.text)

    def _fetch_parameter_options(self, _parameter: str) -> list[ParameterOption]:
        return [
            ParameterOption(value=one, label=I18nObject(en_US=name))
            for one, name in retrieval.choices(self.runtime.credentials)
        ]
