"""Where entries live. ``base`` is the contract; the other modules keep it."""
