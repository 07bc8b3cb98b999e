"""The bot process: the product's rules and its durable truth. Never imports torch."""
