"""The demo: a real workflow, a real model, a real Redis; all questions asked twice."""
