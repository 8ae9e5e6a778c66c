"""The worker: it ships the events of answers to other systems, outside Dify.

``relay`` reads the stream of a namespace and sends it to Celery. ``tasks`` ships events to
Elasticsearch and runs the operator's own functions. No plugin of Dify depends on this, or
waits for it.
"""
