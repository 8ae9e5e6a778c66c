"""The demo: a real workflow, a real model, a real Redis, asked cold and warm."""
