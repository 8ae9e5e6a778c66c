"""The pictures in docs/pictures, drawn from the code and from measured figures."""
