"""The same question in other words; read ``tier`` first."""
