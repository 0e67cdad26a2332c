"""The kit: what every domain and face is built of. It imports nothing from the product."""
