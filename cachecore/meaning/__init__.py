"""The same question in other words; ``tier`` says how."""
