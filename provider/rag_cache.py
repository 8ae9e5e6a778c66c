from typing import Any

from dify_plugin import ToolProvider
from dify_plugin.errors.tool import ToolProviderCredentialValidationError

from cachecore.errors import ConfigError
from rag_cache import operating


class RagCacheProvider(ToolProvider):
    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        try:
            operating.advise(operating.check(credentials))
        except ConfigError as error:
            raise ToolProviderCredentialValidationError(str(error)) from error
