"""The code of RAG Cache behind the classes that Dify loads."""
