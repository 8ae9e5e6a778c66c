from typing import Any

from dify_plugin import ToolProvider
from dify_plugin.errors.model import CredentialsValidateFailedError

from cachecore.errors import ConfigError
from rag_cache import operating


class RagCacheProvider(ToolProvider):
    def _validate_credentials(self, credentials: dict[str, Any]) -> None:
        try:
            operating.advise(operating.check(credentials))
        except ConfigError as error:
            # Dify's API unwraps this type; a tool's own type would be shown as a trace.
            raise CredentialsValidateFailedError(str(error)) from error
