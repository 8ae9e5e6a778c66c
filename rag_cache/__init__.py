"""What RAG Cache knows: its settings, tickets, and wrapping any node."""
