"""Dify's types <-> plain data: messages, answers, embeddings. No HTTP, no clock."""
