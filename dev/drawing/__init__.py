"""The pictures in docs/pictures, drawn from what they show."""
