from collections.abc import Mapping

from dify_plugin import ModelProvider


class CachedModelProvider(ModelProvider):
    def validate_provider_credentials(self, credentials: Mapping) -> None:
        # There is no provider form: each model has its own (host contract 5.2).
        del credentials
