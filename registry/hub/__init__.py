"""The only rooms with a window to the network: what is asked of the Hub, and what comes of it."""
