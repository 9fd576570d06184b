"""Inside a network: its training done again from its key, with its parameters kept on the way."""
