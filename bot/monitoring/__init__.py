"""How the product is, for whoever looks after it: health, readiness and figures."""
