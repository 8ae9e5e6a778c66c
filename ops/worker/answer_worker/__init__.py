"""The slow work behind the answers: what a cache tells, shipped and looked at elsewhere.

``relay`` reads the stream of a namespace and hands it to Celery; ``tasks`` ships to
Elasticsearch and runs what the operator has plugged in. No plugin of Dify knows of any
of this, or waits for it.
"""
