"""Views for operators: the summary of savings, Prometheus metrics, the dashboard."""

from rag_cache.observe.dashboard import act as act_on_dashboard
from rag_cache.observe.dashboard import show as show_dashboard
from rag_cache.observe.overview import table as summary_table
from rag_cache.observe.prometheus import CONTENT_TYPE
from rag_cache.observe.prometheus import text as metrics
from rag_cache.observe.savings import of as summary

__all__ = [
    "CONTENT_TYPE",
    "act_on_dashboard",
    "metrics",
    "show_dashboard",
    "summary",
    "summary_table",
]
