"""How a model is run: eagerly, or by recorded graphs over a cache of fixed size."""
