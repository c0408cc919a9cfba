"""No plugin."""

RUDE = frozenset({"stupid", "idiot"})
